//! Sagas that wait: a step that is not answered in time is given up, and what must be undone is asked for again, without end. When a
//! process ends in the middle of a checkout by calls, what it has left open is called for in the same way.

use std::{sync::Arc, time::Duration};

use ::store::{Chain, Db};
use contracts::{Cause, Coordination, OrderId, Timestamp};
use runtime::{Metrics, Pulse};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    call_again::call_again,
    calls::Callees,
    machine::{Fact, Step},
    moving::{self, Moving, Watchers},
    order::Order,
    store::{
        self,
        steps::{self, Kept},
    },
};

/// How often steps that are due are looked for.
const POLL: Duration = Duration::from_millis(500);
/// Orders that are moved on in one transaction at most.
const BATCH: i64 = 100;
/// After this many requests without an answer an operator should look.
const PARK_AFTER: u32 = 3;
/// Calls to one service at once at most. They are made in tasks of their own: a service that doesn't answer holds up neither the sagas
/// nor the calls to another one.
const CALLS_AT_ONCE: usize = 10;

/// Moves on what is due. Several replicas may do this at once.
#[derive(Debug)]
pub(crate) struct Sagas {
    db: Db,
    callees: Callees,
    watchers: Watchers,
    plumbing: Metrics,
    to_payment: Arc<Semaphore>,
    to_inventory: Arc<Semaphore>,
}

/// A call to be made for an order.
struct Call {
    order: Order,
    step: Step,
    permit: OwnedSemaphorePermit,
}

impl Sagas {
    pub(crate) fn new(db: Db, callees: Callees, watchers: Watchers, plumbing: Metrics) -> Self {
        let [to_payment, to_inventory] = [(); 2].map(|()| Arc::new(Semaphore::new(CALLS_AT_ONCE)));
        Self { db, callees, watchers, plumbing, to_payment, to_inventory }
    }

    /// Moves on every saga of which a step was due at `now`; how many steps those were. An order that can't be read, or moved on,
    /// keeps none of the others.
    pub(crate) async fn drain(
        &self,
        now: Timestamp,
        pulse: &Pulse,
    ) -> Result<usize, moving::Error> {
        let (mut moved, mut after) = (0, store::FIRST);
        let latest = self.watchers.pace.latest(now);
        loop {
            pulse.beat();
            let due = steps::due(&self.db, now, latest, after, BATCH).await?;
            let Some(last) = due.last() else { return Ok(moved) };
            after = *last;
            let mut orders: Vec<OrderId> = due.into_iter().map(|(_, order_id)| order_id).collect();
            orders.sort_unstable();
            orders.dedup();
            let step = |orders| self.step(orders, now, latest);
            moved += moving::each_by_itself(orders, pulse, &self.plumbing, step).await?;
        }
    }

    /// Moves these orders on, as far as a step of them is still due.
    async fn step(
        &self,
        orders: Vec<OrderId>,
        now: Timestamp,
        latest: Timestamp,
    ) -> Result<usize, moving::Error> {
        let mut tx = self.db.begin().await?;
        let locked =
            store::lock_free_orders(&mut tx, &orders).await?.reported("orders", &self.plumbing);
        let mut moving = Moving::new(locked, self.watchers.pace);
        let mut due = steps::of_orders(&mut tx, &orders).await?.reported("steps", &self.plumbing);
        due.retain(|step| is_due(step, now, latest));
        let (mut again, mut calls) = (Vec::new(), Vec::new());
        for step in &due {
            let Some(order) = moving.order(step.order_id) else { continue };
            let cause = Cause { message: None, traceparent: order.traceparent.clone() };
            if !step.step.is_repeated() {
                moving.take(&mut tx, step.order_id, Fact::StepTimedOut, &cause)?;
                continue;
            }
            if order.state.coordination == Coordination::Sync {
                let service = match step.step {
                    Step::RefundPayment => &self.to_payment,
                    _ => &self.to_inventory,
                };
                // Without a permit, it stays due.
                let Ok(permit) = service.clone().try_acquire_owned() else { continue };
                calls.push(Call { order: order.clone(), step: step.step, permit });
            } else {
                moving::send(&mut tx, order, step.step, &cause)?;
            }
            again.push(self.asked_again(step, now));
        }
        steps::ask_again(&mut tx, &again).await?;
        moving.save(&mut tx, &self.watchers).await?;
        tx.commit().await?;
        for call in calls {
            self.call(call);
        }
        Ok(due.len())
    }

    /// Makes a call in a task of its own. The step was put off in the transaction that took it, so no other replica makes the call at the
    /// same time, and if this process ends, one makes it later.
    fn call(&self, Call { order, step, permit }: Call) {
        let (db, callees, watchers) =
            (self.db.clone(), self.callees.clone(), self.watchers.clone());
        tokio::spawn(async move {
            if let Err(error) = call_again(&db, &callees, &watchers, &order, step).await {
                let error = tracing::field::display(Chain(&error));
                tracing::warn!(error, order_id = %order.id, step = step.as_str(), "what a call came to was not written down");
            }
            drop(permit);
        });
    }

    /// A step after it was asked for once more. Says once, loudly, that it resists; the metrics say that it still does.
    fn asked_again(&self, step: &Kept, now: Timestamp) -> Kept {
        let attempt = step.attempt.saturating_add(1);
        let mut next = step.clone();
        next.attempt = attempt;
        next.due_at = Some(self.watchers.pace.due(step.step, attempt, now));
        if attempt > PARK_AFTER && step.parked_at.is_none() {
            next.parked_at = Some(now);
            next.error.get_or_insert_with(|| format!("no answer to {} requests", step.attempt));
            let (order_id, step) = (step.order_id, step.step.as_str());
            tracing::error!(%order_id, step, attempt, "a step of an order can't be done; still trying");
        }
        next
    }

    /// Moves on what is due, until told to stop.
    pub(crate) async fn run(self, pulse: Pulse, shutdown: CancellationToken) {
        let (mut failing, mut waiting) = (false, store::Waiting::default());
        loop {
            match self.drain(Timestamp::now(), &pulse).await {
                Ok(_) => failing = false,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        let error = tracing::field::display(Chain(&error));
                        tracing::warn!(error, "sagas that wait can't be looked for");
                    }
                }
            }
            if let Ok(now_waiting) = store::waiting(&self.db, Timestamp::now()).await {
                waiting = now_waiting;
                self.plumbing.refreshed("orders");
            }
            // While the database can't say, what waited grows older.
            self.watchers.metrics.waiting(&waiting, Timestamp::now());
            if shutdown.run_until_cancelled(tokio::time::sleep(POLL)).await.is_none() {
                return;
            }
        }
    }
}

fn is_due(step: &Kept, now: Timestamp, latest: Timestamp) -> bool {
    step.due_at.is_some_and(|at| at <= now || (at > latest && step.step.is_repeated()))
}
