//! Moving orders on: the machine's transitions, what they announce and ask for, and what they leave in the timeline and in the
//! saga's history, saved in one transaction.

use std::{collections::BTreeMap, time::Duration};

use ::store::Tx;
use contracts::{
    Cause, ChargeCard, Coordination, OrderId, RefundPayment, ReleaseStock, ReserveStock, Timestamp,
};
use runtime::{Metrics, Pulse, telemetry};

use crate::{
    machine::{Fact, Refused, Status, Step},
    metrics::Orders,
    order::{Entry, Order},
    store::{
        self,
        steps::{self, Answered, Asked, Kept},
    },
    waiting::Waiters,
};

/// Nobody is asked more often, whatever the settings say.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// After so long, what was under way when its customer was answered should have been done.
pub(crate) const MISSED: Duration = Duration::from_secs(120);
/// How much the clocks of two machines may differ.
const CLOCKS: Duration = Duration::from_secs(60);

/// How long others may take, and when they are asked again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// A step of a saga that isn't answered by then is given up.
    pub(crate) step_timeout: Duration,
    /// What undoes a step is asked for again after this; the pause doubles with each time.
    pub(crate) compensation_retry: Duration,
    /// The longest pause.
    pub(crate) compensation_retry_max: Duration,
}

impl Pace {
    /// Later than this no step can be due.
    pub(crate) fn latest(&self, now: Timestamp) -> Timestamp {
        now + self.compensation_retry_max.max(self.step_timeout).max(MISSED) + CLOCKS
    }

    /// When a step is due that was asked for so many times.
    pub(crate) fn due(&self, step: Step, attempt: u32, now: Timestamp) -> Timestamp {
        if !step.is_compensation() {
            return now + self.step_timeout;
        }
        let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1));
        let pause = self.compensation_retry.saturating_mul(doubled);
        now + pause.min(self.compensation_retry_max).max(SHORTEST_PAUSE)
    }
}

/// Locked orders that are being moved on.
pub(crate) struct Moving {
    orders: BTreeMap<OrderId, Order>,
    entries: Vec<Entry>,
    decided: Vec<Status>,
    settled: Vec<OrderId>,
    asked: Vec<Asked>,
    answered: Vec<Answered>,
    pace: Pace,
}

/// Why an order could not be moved on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is no order {0}")]
    Unknown(OrderId),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Store(#[from] ::store::Error),
}

impl Error {
    fn is_unavailable(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_unavailable())
    }
}

/// Who is told of it after the commit, and how long others may take for what they are asked.
#[derive(Debug, Clone)]
pub(crate) struct Watchers {
    pub(crate) waiters: Waiters,
    pub(crate) metrics: Orders,
    pub(crate) pace: Pace,
}

impl Moving {
    /// Locks the orders with these ids.
    ///
    /// # Errors
    /// When one of them can't be read.
    pub(crate) async fn lock(tx: &mut Tx, ids: &[OrderId], pace: Pace) -> ::store::Result<Self> {
        Ok(Self::new(store::lock_orders(tx, ids).await?.all()?, pace))
    }

    /// Orders that are locked already.
    pub(crate) fn new(locked: Vec<Order>, pace: Pace) -> Self {
        Self {
            orders: locked.into_iter().map(|order| (order.id, order)).collect(),
            entries: Vec::new(),
            decided: Vec::new(),
            settled: Vec::new(),
            asked: Vec::new(),
            answered: Vec::new(),
            pace,
        }
    }

    /// One of the orders as it is now.
    pub(crate) fn order(&self, id: OrderId) -> Option<&Order> {
        self.orders.get(&id)
    }

    /// Notes something in the timelines.
    pub(crate) fn note(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Leaves a step, which nobody will try again by itself, for a person to look at.
    pub(crate) fn park(&mut self, id: OrderId, step: Step, error: String) {
        let at = Timestamp::now();
        self.asked.push(Asked { order_id: id, step, at, due_at: None, error: Some(error) });
    }

    /// Notes that a step is under way, and when a person should look if it isn't answered by then.
    pub(crate) fn expect(&mut self, id: OrderId, step: Step, due_at: Timestamp) {
        let (at, due_at) = (Timestamp::now(), Some(due_at));
        self.asked.push(Asked { order_id: id, step, at, due_at, error: None });
    }

    /// Notes that a step is done that no fact speaks of.
    pub(crate) fn answer(&mut self, id: OrderId, step: Step, answer: &str) {
        let (answer, at) = (answer.to_owned(), Timestamp::now());
        self.answered.push(Answered { order_id: id, step, answer, at });
    }

    /// Takes a fact: announces what it decides and asks for what follows, all led to by `cause`.
    ///
    /// # Errors
    /// When there is no such order, or the machine refuses the fact.
    pub(crate) fn take(
        &mut self,
        tx: &mut Tx,
        id: OrderId,
        fact: Fact,
        cause: &Cause,
    ) -> Result<(), Error> {
        let order = self.orders.get_mut(&id).ok_or(Error::Unknown(id))?;
        let open: Vec<Step> = order.state.open().collect();
        let transition = order.state.take(fact)?;
        order.state = transition.state;
        let at = Timestamp::now();
        for step in open.into_iter().filter(|step| !transition.state.open().any(|s| s == *step)) {
            let answer = fact.as_str().to_owned();
            self.answered.push(Answered { order_id: id, step, answer, at });
        }
        if let Some(decided) = transition.decided {
            announce(tx, order, decided, cause)?;
            self.entries.extend(decision(order, decided, at));
            self.decided.push(decided);
        }
        if let Some(step) = transition.ask {
            send(tx, order, step, cause)?;
            let due_at = Some(self.pace.due(step, 1, at));
            self.asked.push(Asked { order_id: id, step, at, due_at, error: None });
        }
        if order.state.is_settled() && order.settled_at.is_none() {
            order.settled_at = Some(at);
            self.settled.push(id);
        }
        Ok(())
    }

    /// Takes a person's word that what could not be undone, the `open` steps, is dealt with.
    ///
    /// # Errors
    /// When there is no such order, or nothing of it waits to be undone.
    pub(crate) fn resolve(
        &mut self,
        tx: &mut Tx,
        id: OrderId,
        open: &[Step],
        reason: &str,
        cause: &Cause,
    ) -> Result<(), Error> {
        match self.take(tx, id, Fact::Resolved, cause) {
            Ok(()) => {}
            // A confirmed order is settled; of it, there may be goods that are still on the books.
            Err(Error::Refused(Refused::NothingToResolve)) if !open.is_empty() => {}
            Err(error) => return Err(error),
        }
        for step in open {
            self.answer(id, *step, "resolved");
        }
        let order = self.orders.get_mut(&id).ok_or(Error::Unknown(id))?;
        order.resolution = Some(reason.to_owned());
        self.entries.push(order.entry("Resolved", Timestamp::now(), Some(reason.to_owned())));
        Ok(())
    }

    /// Writes the orders, their timelines and their steps. After the commit, the watchers are told.
    pub(crate) async fn save(self, tx: &mut Tx, watchers: &Watchers) -> ::store::Result<()> {
        let orders: Vec<&Order> = self.orders.values().collect();
        store::save_states(tx, &orders).await?;
        store::add_entries(tx, &self.entries).await?;
        steps::ask(tx, &self.asked).await?;
        let ended = steps::answer(tx, &self.answered).await?.all()?;
        let watchers = watchers.clone();
        tx.on_commit(move || {
            for status in &self.decided {
                watchers.metrics.count(*status);
            }
            for order in self.settled.iter().filter_map(|id| self.orders.get(id)) {
                watchers.metrics.settled(order);
            }
            for step in &ended {
                record(step, self.orders.get(&step.order_id));
            }
            watchers.waiters.wake(&self.settled);
        });
        Ok(())
    }
}

/// Moves orders on together, or, when that fails, each by itself: one that can't be moved costs no other, and is reported. How many
/// moved.
///
/// # Errors
/// When the database is unavailable.
pub(crate) async fn each_by_itself<F>(
    orders: Vec<OrderId>,
    pulse: &Pulse,
    metrics: &Metrics,
    step: impl Fn(Vec<OrderId>) -> F,
) -> Result<usize, Error>
where
    F: Future<Output = Result<usize, Error>>,
{
    match step(orders.clone()).await {
        Err(error) if !error.is_unavailable() => {}
        outcome => return outcome,
    }
    let mut moved = 0;
    for order_id in orders {
        pulse.beat();
        match step(vec![order_id]).await {
            Ok(one) => moved += one,
            Err(error) if error.is_unavailable() => return Err(error),
            Err(error) => metrics.unreadable("orders", &order_id, &error),
        }
    }
    Ok(moved)
}

/// Announces what was decided. Who coordinates by calls has told everybody already.
fn announce(tx: &mut Tx, order: &Order, decided: Status, cause: &Cause) -> ::store::Result<()> {
    match (order.state.coordination, decided) {
        (Coordination::Sync, _) | (_, Status::Placed) => Ok(()),
        (_, Status::Confirmed) => tx.publish(&order.confirmed(), cause).map(drop),
        (_, Status::Cancelled(reason)) => tx.publish(&order.cancelled(reason), cause).map(drop),
    }
}

/// What the timeline says of a decision.
fn decision(order: &Order, decided: Status, at: Timestamp) -> Option<Entry> {
    match decided {
        Status::Placed => None,
        Status::Confirmed => Some(order.entry("OrderConfirmed", at, None)),
        Status::Cancelled(reason) => {
            Some(order.entry("OrderCancelled", at, Some(reason.as_str().to_owned())))
        }
    }
}

/// Sends the command of a step to who carries it out.
///
/// # Errors
/// When it can't be written, or the card isn't known any more.
pub(crate) fn send(tx: &mut Tx, order: &Order, step: Step, cause: &Cause) -> ::store::Result<()> {
    let order_id = order.id;
    match step {
        Step::ReserveStock => {
            tx.send(&ReserveStock { order_id, lines: order.lines.clone() }, cause)
        }
        Step::ChargeCard => {
            let card_token = order.card_token.clone().ok_or_else(|| {
                ::store::Error::Value(format!("the card of order {order_id} is not kept"))
            })?;
            tx.send(&ChargeCard { order_id, amount: order.total.clone(), card_token }, cause)
        }
        Step::RefundPayment => {
            tx.send(&RefundPayment { order_id, amount: order.total.clone() }, cause)
        }
        Step::ReleaseStock => tx.send(&ReleaseStock { order_id }, cause),
        // Inventory hears of the confirmation.
        Step::ShipStock => return Ok(()),
    }
    .map(drop)
}

/// The step as a span of its order's trace, from its first asking to its answer.
fn record(step: &Kept, order: Option<&Order>) {
    let Some(traceparent) = order.and_then(|order| order.traceparent.as_deref()) else { return };
    let end = step.answered_at.unwrap_or_default();
    let answer = step.answer.clone().unwrap_or_default();
    telemetry::record_step(&telemetry::Took {
        traceparent,
        name: format!("saga {}", step.step.as_str()),
        from: step.asked_at,
        to: end,
        attributes: vec![
            ("shop.saga.step", step.step.as_str().to_owned()),
            ("shop.saga.attempts", step.attempt.to_string()),
            ("shop.saga.answer", answer),
        ],
    });
}
