//! Sagas that wait: a step that is not answered in time is given up, and what must be undone is asked for again, without end.

use std::time::Duration;

use ::store::{Chain, Db};
use contracts::{Cause, Coordination, OrderId, Timestamp};
use runtime::{Metrics, Pulse};
use tokio_util::sync::CancellationToken;

use crate::{
    machine::Fact,
    moving::{self, Moving, Watchers},
    store::{
        self,
        steps::{self, Kept},
    },
};

/// How often steps that are due are looked for.
const POLL: Duration = Duration::from_millis(500);
/// Orders that are moved on in one transaction at most.
const BATCH: i64 = 100;
/// After so many askings in vain a person should look.
const PARK_AFTER: u32 = 3;

/// Moves on what is due. Several replicas may do this at once.
#[derive(Debug)]
pub(crate) struct Sagas {
    pub(crate) db: Db,
    pub(crate) watchers: Watchers,
    pub(crate) plumbing: Metrics,
}

impl Sagas {
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
        let mut again = Vec::new();
        for step in &due {
            let Some(order) = moving.order(step.order_id) else { continue };
            let cause = Cause { message: None, traceparent: order.traceparent.clone() };
            if order.state.coordination == Coordination::Sync {
                // Nobody asks again by himself where everything is a call.
                again.push(left_to_a_person(step, now));
            } else if step.step.is_compensation() {
                moving::send(&mut tx, order, step.step, &cause)?;
                again.push(self.asked_again(step, now));
            } else {
                moving.take(&mut tx, step.order_id, Fact::StepTimedOut, &cause)?;
            }
        }
        steps::ask_again(&mut tx, &again).await?;
        moving.save(&mut tx, &self.watchers).await?;
        tx.commit().await?;
        Ok(due.len())
    }

    /// A step after it was asked for once more. Says once, loudly, that it resists; the metrics say that it still does.
    fn asked_again(&self, step: &Kept, now: Timestamp) -> Kept {
        let attempt = step.attempt.saturating_add(1);
        let mut next = step.clone();
        next.attempt = attempt;
        next.due_at = Some(self.watchers.pace.due(step.step, attempt, now));
        if attempt > PARK_AFTER && step.parked_at.is_none() {
            next.parked_at = Some(now);
            next.error = Some(format!("no answer to {} askings", step.attempt));
            let (order_id, step) = (step.order_id, step.step.as_str());
            tracing::error!(%order_id, step, attempt, "a cancelled order can't be undone; still trying");
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
            if let Ok(now_waiting) = store::waiting(&self.db).await {
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
    step.due_at.is_some_and(|at| at <= now || (at > latest && step.step.is_compensation()))
}

/// A step that should have been answered by now.
fn left_to_a_person(step: &Kept, now: Timestamp) -> Kept {
    let (order_id, name) = (step.order_id, step.step.as_str());
    tracing::error!(%order_id, step = name, "what became of a call isn't known; a person should look");
    let error = Some("it isn't known to be done".to_owned());
    Kept { due_at: None, parked_at: Some(now), error, ..step.clone() }
}
