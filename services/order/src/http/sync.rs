//! `POST /checkout?style=sync`: the order is made by calls, and answered when all of them are.

mod answers;

use std::{sync::Arc, time::Duration};

use ::store::idempotency::Keyed;
use axum::response::Response;
use contracts::Timestamp;
use runtime::{Chain, Problem, telemetry};
use tokio::time::{Instant, sleep};
use tracing::{Instrument as _, Span};

use super::{Shop, checkout, keys::InUse};
use crate::{
    calls::{Callees, Failed},
    machine::{Fact, Payment, Status, Step, Stock},
    moving::{self, MISSED, Moving},
    order::{Entry, Order},
    store::steps,
};

pub(super) use answers::repeated;
use answers::{created, kept, verdict};

/// How long writing down what came of the calls is tried, and the pause between two tries.
const WRITING: Duration = Duration::from_secs(20);
const WRITING_PAUSE: Duration = Duration::from_millis(300);

/// Longer than a checkout can take from its placing until it is written down what came of it, as another replica's clock measures it.
pub(super) const fn longest(callees: &Callees) -> Duration {
    callees.longest().saturating_add(WRITING).saturating_add(moving::CLOCKS)
}

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
            // By payment, the only one that charges.
            Failed::WrongAmount { charged: Some(_), .. } => self.heard(teller, Fact::WrongAmount),
            Failed::WrongAmount { charged: None, .. } => {}
        }
    }

    fn knows(&self, what: impl Fn(Fact) -> bool) -> bool {
        self.facts.iter().any(|(fact, _)| what(*fact))
    }

    /// The wrong amount that was charged, and the right one.
    fn charged(&self) -> Option<String> {
        match &self.failure {
            Some(Failed::WrongAmount { charged, .. }) => charged.clone(),
            _ => None,
        }
    }

    const fn is_wrong_amount(&self) -> bool {
        matches!(self.failure, Some(Failed::WrongAmount { .. }))
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
                Some(answered) => repeated(&self.shop, answered).await,
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
                // Its deadline cancels it, and what was done is undone.
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
                // Where payment says which amount, that is a fact, and reported as such.
                if let Failed::WrongAmount { charged: None, detail } = &failure {
                    moving::report_wrong_amount(order.id, Some(detail));
                }
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
            let known = moving.order(order.id).map(|order| order.state);
            // What is inferred counts for less than what was announced meanwhile.
            if teller.is_none() && known.is_some_and(|state| state.knows_of(*fact)) {
                continue;
            }
            if let Some(service) = *teller {
                let detail = outcome.charged().filter(|_| *fact == Fact::WrongAmount);
                let (at, fact) = (Timestamp::now(), fact.as_str());
                moving.note(Entry { order_id: order.id, fact, service, at, detail });
            }
            moving.take(&mut tx, order.id, *fact, &cause)?;
        }
        let order = moving.order(order.id).cloned().ok_or(moving::Error::Unknown(order.id))?;
        // What is under way, and would be missed if this process ended now.
        let due_at = Timestamp::now() + MISSED;
        for step in order.state.open() {
            match outcome.left.iter().find(|(left, _)| *left == step) {
                Some((_, error)) if !outcome.is_wrong_amount() => {
                    moving.park(order.id, step, error.clone());
                }
                None if outcome.refunding && step == Step::RefundPayment => {
                    moving.expect(order.id, step, due_at);
                }
                // A wrong charge, and one that this checkout did not ask for, is not left to an operator.
                _ => moving.call(order.id, step),
            }
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
            let (step, parked_at) = (Step::ShipStock, Some(Timestamp::now()));
            let mut moving = Moving::new(Vec::new(), shop.watchers.pace);
            match error {
                None => moving.answer(id, step, "done"),
                Some(error) => steps::failed(&mut tx, id, step, error, parked_at).await?,
            }
            moving.save(&mut tx, &shop.watchers).await?;
            tx.commit().await
        };
        if let Err(error) = noting.await {
            // The step is open, and is called for again when it is due.
            tracing::warn!(error = %Chain(&error), order_id = %id, "a step was not noted");
        }
    }
}
