//! Sagas that wait: a step that is not answered in time is given up, and what must be undone is asked for again, without end.

use std::time::Duration;

use ::store::Db;
use contracts::{Cause, Coordination, OrderId, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::{
    machine::Fact,
    moving::{self, Moving, Watchers},
    store::steps::{self, Kept},
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
}

impl Sagas {
    /// Moves on every saga of which a step was due at `now`; how many steps those were.
    pub(crate) async fn drain(&self, now: Timestamp) -> Result<usize, moving::Error> {
        let mut total = 0;
        loop {
            let orders = steps::due_orders(&self.db, now, BATCH).await?;
            let moved = match self.step(&orders, now).await {
                Ok(moved) => moved,
                Err(moving::Error::Store(error)) if error.is_unavailable() => {
                    return Err(moving::Error::Store(error));
                }
                // One bad order must cost only itself.
                Err(_) => self.one_by_one(&orders, now).await,
            };
            total += moved;
            // Another replica may have been faster.
            if moved == 0 {
                return Ok(total);
            }
        }
    }

    /// Moves orders on, each by itself; how many steps those were. What is wrong with one is told each time.
    async fn one_by_one(&self, orders: &[OrderId], now: Timestamp) -> usize {
        let mut moved = 0;
        for order_id in orders {
            match self.step(std::slice::from_ref(order_id), now).await {
                Ok(steps) => moved += steps,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(%order_id, error, "a saga can't be moved on");
                }
            }
        }
        moved
    }

    /// Moves these orders on, as far as a step of them is still due.
    async fn step(&self, orders: &[OrderId], now: Timestamp) -> Result<usize, moving::Error> {
        if orders.is_empty() {
            return Ok(0);
        }
        let mut tx = self.db.begin().await?;
        let mut moving = Moving::lock(&mut tx, orders, self.watchers.pace).await?;
        let mut due = steps::of_orders(&mut tx, orders).await?;
        due.retain(|step| step.due_at.is_some_and(|at| at <= now));
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
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut failing = false;
        loop {
            match self.drain(Timestamp::now()).await {
                Ok(_) => {
                    failing = false;
                    if let Ok(parked) = steps::count_parked(&self.db).await {
                        self.watchers.metrics.parked(parked);
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(error, "sagas that wait can't be looked for");
                    }
                }
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(POLL)).await.is_none() {
                return;
            }
        }
    }
}

/// A step that should have been answered by now.
fn left_to_a_person(step: &Kept, now: Timestamp) -> Kept {
    let (order_id, name) = (step.order_id, step.step.as_str());
    tracing::error!(%order_id, step = name, "what became of a call isn't known; a person should look");
    let error = Some("it isn't known to be done".to_owned());
    Kept { due_at: None, parked_at: Some(now), error, ..step.clone() }
}
