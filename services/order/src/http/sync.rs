//! `POST /checkout?style=sync`: the order is made by calls, and answered when all of them are.

use std::{sync::Arc, time::Duration};

use ::store::idempotency::{Answer, Keyed};
use axum::{http::StatusCode, response::Response};
use contracts::{Cancellation, OrderId, Timestamp};
use runtime::{Chain, Problem, telemetry};
use tokio::time::{Instant, sleep};
use tracing::{Instrument as _, Span};

use super::{Shop, checkout, keys::InUse};
use crate::{
    calls::Failed,
    machine::{Fact, Payment, Status, Step, Stock},
    moving::{self, MISSED, Moving},
    order::{Entry, Order},
};

/// How long writing down what came of the calls is tried, and the pause between two tries.
const WRITING: Duration = Duration::from_secs(20);
const WRITING_PAUSE: Duration = Duration::from_millis(300);

/// A checkout under way; its key is in use until it is answered.
pub(super) struct Conducted {
    pub(super) shop: Arc<Shop>,
    pub(super) order: Order,
    pub(super) card_token: String,
    pub(super) keyed: Option<(Keyed, Arc<InUse>)>,
}

/// What became of the calls.
#[derive(Debug, Default)]
struct Outcome {
    /// What is known, in its order, and who said so.
    facts: Vec<(Fact, Option<&'static str>)>,
    /// Why the order can't be, if it can't.
    failure: Option<Failed>,
    /// What was undone, in words.
    undone: Vec<&'static str>,
    /// What could not be undone, or is not known to be, and why.
    left: Vec<(Step, String)>,
    /// Whether payment has said that it gives the money back, and not yet that it has.
    refunding: bool,
}

impl Outcome {
    fn heard(&mut self, teller: &'static str, fact: Fact) {
        self.facts.push((fact, Some(teller)));
    }

    /// What follows from who was asked, and what they said.
    fn know(&mut self, fact: Fact) {
        self.facts.push((fact, None));
    }

    /// What a failure tells: who refused has said so, and who was not asked has done nothing.
    fn learn(&mut self, failure: &Failed, teller: &'static str, refused: Fact, unasked: Fact) {
        match failure {
            Failed::Refused { .. } => self.heard(teller, refused),
            Failed::NoAnswer { asked: false, .. } => self.know(unasked),
            Failed::NoAnswer { .. } => {}
        }
    }

    fn knows(&self, what: impl Fn(Fact) -> bool) -> bool {
        self.facts.iter().any(|(fact, _)| what(*fact))
    }

    fn leave(&mut self, step: Step, failed: &Failed) {
        self.left.push((step, failed.detail().to_owned()));
    }
}

impl Conducted {
    /// Makes the order. A customer who hangs up doesn't end that.
    pub(super) async fn answer(self) -> Result<Response, Problem> {
        let conducting = async move {
            let (order, token, keyed) =
                (self.order.clone(), self.card_token.clone(), self.keyed.clone());
            match checkout::place(&self.shop, order, token, keyed).await? {
                Some(answered) => Ok(answered),
                None => self.conduct().await.map(|order| created(&order)),
            }
        };
        let conducted = tokio::spawn(conducting.instrument(Span::current())).await;
        conducted.map_err(|_| Problem::internal())?
    }

    async fn conduct(&self) -> Result<Order, Problem> {
        let Self { shop, card_token, .. } = self;
        let outcome = self.call(card_token).await;
        let order = self.write_patiently(&outcome).await?;
        verdict(&outcome, &order)?;
        // The order is confirmed whatever comes of this; until it is answered, it is a step that somebody would miss.
        let shipped = shop.callees.ship(&order).await;
        self.note_shipping(shipped.err().as_ref().map(Failed::detail)).await;
        Ok(order)
    }

    /// Writes down what came of the calls, again and again for a while: they can't be taken back.
    async fn write_patiently(&self, outcome: &Outcome) -> Result<Order, Problem> {
        let until = Instant::now() + WRITING;
        loop {
            let error = match self.write(outcome).await {
                Ok(order) => return Ok(order),
                Err(error) => error,
            };
            if Instant::now() >= until {
                let order_id = self.order.id;
                let error = tracing::field::display(Chain(&error));
                tracing::error!(error, %order_id, "what came of an order's calls was not written down");
                // The deadline leaves it to a person.
                return Err(Problem::unavailable(
                    "what came of the order isn't known; look at it, or repeat this with the same Idempotency-Key",
                )
                .with("order", format!("/orders/{order_id}")));
            }
            sleep(WRITING_PAUSE).await;
        }
    }

    /// Goods, money, mail: and back again at the first failure.
    async fn call(&self, card_token: &str) -> Outcome {
        let (callees, order) = (&self.shop.callees, &self.order);
        let mut outcome = Outcome::default();
        match callees.reserve(order).await {
            Ok(reserved) => outcome.heard("inventory", Fact::Stock(reserved)),
            Err(failure) => {
                let (refused, unasked) = (Stock::Rejected, Stock::Released);
                outcome.learn(&failure, "inventory", Fact::Stock(refused), Fact::Stock(unasked));
                // Nobody was asked for money, and nobody will be.
                outcome.know(Fact::Payment(Payment::Voided));
                return self.undo(outcome, failure).await;
            }
        }
        match callees.charge(order, card_token).await {
            Ok(taken) => outcome.heard("payment", Fact::Payment(taken)),
            Err(failure) => {
                let (refused, unasked) = (Payment::Declined, Payment::Voided);
                outcome.learn(&failure, "payment", Fact::Payment(refused), Fact::Payment(unasked));
                return self.undo(outcome, failure).await;
            }
        }
        if let Err(failure) = callees.send_receipt(order).await {
            return self.undo(outcome, failure).await;
        }
        outcome.know(Fact::CallsDone);
        outcome
    }

    /// Undoes, in reverse, what was or may have been done.
    async fn undo(&self, mut outcome: Outcome, failure: Failed) -> Outcome {
        outcome.know(Fact::CallFailed(failure.reason()));
        outcome.failure = Some(failure);
        if !outcome.knows(|fact| matches!(fact, Fact::Payment(payment) if payment.is_undone())) {
            match self.shop.callees.refund(&self.order).await {
                Ok(Payment::Unknown) => {
                    outcome.refunding = true;
                    outcome.undone.push("the money is being given back");
                }
                Ok(payment) => {
                    outcome.heard("payment", Fact::Payment(payment));
                    outcome.undone.push("no money is kept");
                }
                Err(failed) => outcome.leave(Step::RefundPayment, &failed),
            }
        }
        if !outcome.knows(|fact| matches!(fact, Fact::Stock(stock) if stock.is_undone())) {
            match self.shop.callees.release(&self.order).await {
                Ok(released) => {
                    outcome.heard("inventory", Fact::Stock(released));
                    outcome.undone.push("no goods are kept aside");
                }
                Err(failed) => outcome.leave(Step::ReleaseStock, &failed),
            }
        }
        outcome
    }

    /// Writes down what came of the calls, and the answer for whoever repeats the request; the order as it is then.
    async fn write(&self, outcome: &Outcome) -> Result<Order, moving::Error> {
        let Self { shop, order, keyed, .. } = self;
        let cause = telemetry::cause(&Span::current());
        let mut tx = shop.db.begin().await?;
        let mut moving = Moving::lock(&mut tx, &[order.id], shop.watchers.pace).await?;
        let placed = moving.order(order.id).is_some_and(|o| o.state.status == Status::Placed);
        for (fact, teller) in &outcome.facts {
            moving.take(&mut tx, order.id, *fact, &cause)?;
            if let Some(service) = *teller {
                let (at, fact) = (Timestamp::now(), fact.as_str());
                moving.note(Entry { order_id: order.id, fact, service, at, detail: None });
            }
        }
        for (step, error) in &outcome.left {
            moving.park(order.id, *step, error.clone());
        }
        let order = moving.order(order.id).cloned().ok_or(moving::Error::Unknown(order.id))?;
        // What is under way, and would be missed if this process ended now.
        let due_at = Timestamp::now() + MISSED;
        if outcome.refunding {
            moving.expect(order.id, Step::RefundPayment, due_at);
        }
        if placed && order.state.status == Status::Confirmed {
            moving.expect(order.id, Step::ShipStock, due_at);
        }
        moving.save(&mut tx, &shop.watchers).await?;
        if let Some((keyed, _in_use)) = keyed {
            let answer = kept(keyed, &order, &verdict(outcome, &order));
            tx.replace_answer(&keyed.key, &answer).await?;
        }
        tx.commit().await?;
        Ok(order)
    }

    /// Notes that the goods have left the books, or why they have not.
    async fn note_shipping(&self, error: Option<&str>) {
        let (id, shop) = (self.order.id, &self.shop);
        let noting = async {
            let mut tx = shop.db.begin().await?;
            let mut moving = Moving::new(Vec::new(), shop.watchers.pace);
            match error {
                None => moving.answer(id, Step::ShipStock, "done"),
                Some(error) => moving.park(id, Step::ShipStock, error.to_owned()),
            }
            moving.save(&mut tx, &shop.watchers).await?;
            tx.commit().await
        };
        if let Err(error) = noting.await {
            // The step is open, and comes to a person's notice when it is due.
            tracing::warn!(error = %Chain(&error), order_id = %id, "a step was not noted");
        }
    }
}

/// What the customer is told.
fn verdict(outcome: &Outcome, order: &Order) -> Result<(), Problem> {
    if let Some(failure) = &outcome.failure {
        return Err(problem(failure, outcome, order.id));
    }
    if order.state.status != Status::Confirmed {
        let detail = "the order's time was up before its calls were done; it was cancelled, and needs attention";
        let title = "The order took too long";
        return Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, "too-slow", title, detail)
            .with("order", format!("/orders/{}", order.id)));
    }
    Ok(())
}

impl Failed {
    const fn reason(&self) -> Cancellation {
        match self {
            Self::Refused { reason, .. } => *reason,
            Self::NoAnswer { .. } => Cancellation::NoAnswer,
        }
    }
}

fn created(order: &Order) -> Response {
    let location = format!("/orders/{}", order.id);
    runtime::http::located(StatusCode::CREATED, &location, checkout::Accepted::of(order))
}

/// The problem that the customer has.
fn problem(failure: &Failed, outcome: &Outcome, order: OrderId) -> Problem {
    let problem = match failure {
        Failed::Refused { reason: Cancellation::PaymentDeclined, detail } => Problem::new(
            StatusCode::PAYMENT_REQUIRED,
            "payment-declined",
            "The card was declined",
            detail.clone(),
        ),
        Failed::Refused { reason: Cancellation::StockRejected, detail } => {
            Problem::conflict("out-of-stock", "Out of stock", detail.clone())
        }
        Failed::Refused { detail, .. } => Problem::invalid_field("customer.email", detail.clone()),
        Failed::NoAnswer { callee, late, detail, .. } => {
            let status = if *late { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY };
            let what_now = if !outcome.left.is_empty() {
                "the order needs attention; somebody looks after it"
            } else if outcome.refunding {
                "the order was cancelled, and the money is being given back"
            } else {
                "nothing is kept of the order; try again"
            };
            Problem::new(
                status,
                "callee-failed",
                "A service that the order needs has failed",
                format!("{detail}; {what_now}"),
            )
            .with("callee", *callee)
        }
    };
    let left: Vec<String> =
        outcome.left.iter().map(|(step, why)| format!("{}: {why}", step.as_str())).collect();
    problem
        .with("order", format!("/orders/{order}"))
        .with("undone", outcome.undone.clone())
        .with("needs_attention", left)
}

/// The answer as it is given to whoever repeats the request.
fn kept(keyed: &Keyed, order: &Order, answer: &Result<(), Problem>) -> Answer {
    let (status, body) = match answer {
        Ok(()) => {
            let body = serde_json::to_string(&checkout::Accepted::of(order));
            (StatusCode::CREATED.as_u16(), body)
        }
        Err(problem) => (problem.status, serde_json::to_string(problem)),
    };
    Answer {
        fingerprint: keyed.fingerprint.clone(),
        status: i32::from(status),
        location: Some(format!("/orders/{}", order.id)),
        body: body.unwrap_or_default(),
    }
}
