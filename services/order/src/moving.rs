//! Moving orders on: the machine's transitions, what they announce and ask for, and what they leave in the timeline and in the
//! saga's history, saved in one transaction.

mod telling;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ::store::Tx;
use contracts::{Cause, Coordination, OrderId, Timestamp};
use runtime::{Metrics, Pulse};

use crate::{
    machine::{Fact, Refused, State, Status, Step},
    metrics::Orders,
    order::{Entry, Order},
    store::{
        self,
        steps::{self, Answered, Asked, Change},
    },
    waiting::Waiters,
};
pub(crate) use telling::report_wrong_amount;
pub(crate) use telling::send;
use telling::{announce, decision, record};

/// No step is asked for more often, whatever the settings say.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// After so long, what was under way when its customer was answered should have been done.
pub(crate) const MISSED: Duration = Duration::from_secs(120);
/// How much the clocks of two machines may differ.
pub(crate) const CLOCKS: Duration = Duration::from_secs(60);

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
        if !step.is_repeated() {
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
    changed: BTreeSet<OrderId>,
    entries: Vec<Entry>,
    decided: Vec<Status>,
    settled: Vec<OrderId>,
    wrong_amounts: Vec<OrderId>,
    steps: Vec<Change>,
    pace: Pace,
}

/// Why an order could not be moved on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is no order {0}")]
    Unknown(OrderId),
    #[error("name the step to resolve: {}", names(.0))]
    WhichStep(Vec<Step>),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Store(#[from] ::store::Error),
}

fn names(steps: &[Step]) -> String {
    steps.iter().map(|step| step.as_str()).collect::<Vec<_>>().join(", ")
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
            changed: BTreeSet::new(),
            entries: Vec::new(),
            decided: Vec::new(),
            settled: Vec::new(),
            wrong_amounts: Vec::new(),
            steps: Vec::new(),
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

    /// Leaves a step, for which a call has failed, to an operator: what a checkout could not undo is not called for again, unless it is
    /// due already.
    pub(crate) fn park(&mut self, id: OrderId, step: Step, error: String) {
        self.called(id, step, None, Some(error));
    }

    /// Has a step called for at once, unless it is due already.
    pub(crate) fn call(&mut self, id: OrderId, step: Step) {
        let at = Timestamp::now();
        let asked = Asked { order_id: id, step, attempts: 0, at, due_at: Some(at), error: None };
        self.steps.push(Change::Asked(asked));
    }

    /// Notes that a step is under way, and when it is called for again if it isn't answered by then.
    pub(crate) fn expect(&mut self, id: OrderId, step: Step, due_at: Timestamp) {
        self.called(id, step, Some(due_at), None);
    }

    /// A step that was answered meanwhile stays so. (Of shipping, no state says whether it is done; it is expected once.)
    fn called(
        &mut self,
        id: OrderId,
        step: Step,
        due_at: Option<Timestamp>,
        error: Option<String>,
    ) {
        let is_open = |order: &Order| order.state.open().any(|open| open == step);
        if step == Step::ShipStock || self.orders.get(&id).is_some_and(is_open) {
            let at = Timestamp::now();
            let asked = Asked { order_id: id, step, attempts: 1, at, due_at, error };
            self.steps.push(Change::Asked(asked));
        }
    }

    /// Notes that a step is done that no fact speaks of.
    pub(crate) fn answer(&mut self, id: OrderId, step: Step, answer: &str) {
        let (answer, at) = (answer.to_owned(), Timestamp::now());
        self.steps.push(Change::Answered(Answered { order_id: id, step, answer, at }));
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
        let before = order.state;
        let transition = before.take(fact)?;
        order.state = transition.state;
        self.changed.insert(id);
        let at = Timestamp::now();
        self.steps.extend(changed_steps(order, before, fact, at));
        if fact == Fact::WrongAmount && order.state != before {
            self.wrong_amounts.push(id);
        }
        if let Some(decided) = transition.decided {
            announce(tx, order, decided, cause)?;
            self.entries.extend(decision(order, decided, at));
            self.decided.push(decided);
        }
        if let Some(step) = transition.ask {
            send(tx, order, step, cause)?;
            let due_at = Some(self.pace.due(step, 1, at));
            let asked = Asked { order_id: id, step, attempts: 1, at, due_at, error: None };
            self.steps.push(Change::Asked(asked));
        }
        match (order.state.is_settled(), order.settled_at) {
            (true, None) => {
                order.settled_at = Some(at);
                self.settled.push(id);
            }
            (false, Some(_)) => order.settled_at = None,
            (true, Some(_)) | (false, None) => {}
        }
        // Where no step asks for it, the cancellation is announced again.
        if order.state.coordination == Coordination::Choreography && order.state.reopens(before) {
            announce(tx, order, order.state.status, cause)?;
        }
        Ok(())
    }

    /// Takes an operator's word that a step is dealt with: `step`, or the only one that can be; which one that was. `open` are the steps
    /// that are not answered.
    ///
    /// # Errors
    /// When there is no such order, or not this step to resolve, or more than one and none is named.
    pub(crate) fn resolve(
        &mut self,
        tx: &mut Tx,
        id: OrderId,
        open: &[Step],
        step: Option<Step>,
        reason: &str,
        cause: &Cause,
    ) -> Result<Step, Error> {
        let resolvable = resolvable(self.orders.get(&id).ok_or(Error::Unknown(id))?, open);
        let step = match (step, &resolvable[..]) {
            (Some(step), resolvable) if resolvable.contains(&step) => step,
            (None, [step]) => *step,
            (None, [_, _, ..]) => return Err(Error::WhichStep(resolvable)),
            (Some(_), _) | (None, []) => return Err(Refused::NothingToResolve.into()),
        };
        let fact = match step {
            Step::RefundPayment => "PaymentResolved",
            Step::ReleaseStock => "StockResolved",
            Step::ReserveStock | Step::ChargeCard | Step::ShipStock => "ShipmentResolved",
        };
        if step == Step::ShipStock {
            self.answer(id, step, Fact::Resolved(step).as_str());
        } else {
            self.take(tx, id, Fact::Resolved(step), cause)?;
        }
        let order = self.orders.get_mut(&id).ok_or(Error::Unknown(id))?;
        order.resolution = Some(reason.to_owned());
        self.changed.insert(id);
        self.entries.push(order.entry(fact, Timestamp::now(), Some(reason.to_owned())));
        Ok(step)
    }

    /// Writes the orders, their timelines and their steps. After the commit, the watchers are told.
    pub(crate) async fn save(self, tx: &mut Tx, watchers: &Watchers) -> ::store::Result<()> {
        let changed = |order: &&Order| self.changed.contains(&order.id);
        let orders: Vec<&Order> = self.orders.values().filter(changed).collect();
        store::save_states(tx, &orders).await?;
        store::add_entries(tx, &self.entries).await?;
        let ended = steps::change(tx, &self.steps).await?.all()?;
        let watchers = watchers.clone();
        tx.on_commit(move || {
            for status in &self.decided {
                watchers.metrics.count(*status);
            }
            for order_id in &self.wrong_amounts {
                let mut entries = self.entries.iter().rev();
                let taken = Fact::WrongAmount.as_str();
                let charged = entries.find(|e| e.order_id == *order_id && e.fact == taken);
                report_wrong_amount(*order_id, charged.and_then(|e| e.detail.as_deref()));
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

/// What a fact answers, and, of an order that is made by calls, what it leaves to be undone: that is called for at once. (Unless a
/// call has failed: then its checkout undoes what it has done.)
fn changed_steps(order: &Order, before: State, fact: Fact, at: Timestamp) -> Vec<Change> {
    let (order_id, after) = (order.id, order.state);
    let closed = before.open().filter(|step| !after.open().any(|open| open == *step));
    let answered = closed.map(|step| {
        Change::Answered(Answered { order_id, step, answer: fact.as_str().to_owned(), at })
    });
    let called = after.coordination == Coordination::Sync && !matches!(fact, Fact::CallFailed(_));
    let opened = after.open().filter(|step| called && !before.open().any(|open| open == *step));
    let asked = opened.map(|step| {
        let due_at = Some(at);
        Change::Asked(Asked { order_id, step, attempts: 0, at, due_at, error: None })
    });
    answered.chain(asked).collect()
}

/// What an operator can resolve of an order, of which the `open` steps are not answered.
pub(crate) fn resolvable(order: &Order, open: &[Step]) -> Vec<Step> {
    // The goods of a confirmed order may still be on the books: no state of the order says so.
    let unshipped = open.iter().copied().filter(|step| *step == Step::ShipStock);
    order.state.resolvable().chain(unshipped).collect()
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

#[cfg(test)]
mod tests;
