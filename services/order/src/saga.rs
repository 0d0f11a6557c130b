//! Sagas that wait: a step that is not answered in time is given up, and what must be undone is asked for again, without end.

use std::time::Duration;

use ::store::Db;
use contracts::{Cause, OrderId, Timestamp};
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
            let moved = if orders.is_empty() { 0 } else { self.step(&orders, now).await? };
            total += moved;
            // Another replica may have been faster.
            if moved == 0 {
                return Ok(total);
            }
        }
    }

    /// Moves these orders on, as far as a step of them is still due.
    async fn step(&self, orders: &[OrderId], now: Timestamp) -> Result<usize, moving::Error> {
        let mut tx = self.db.begin().await?;
        let mut moving = Moving::lock(&mut tx, orders, self.watchers.pace).await?;
        let mut due = steps::of_orders(&mut tx, orders).await?;
        due.retain(|step| step.due_at.is_some_and(|at| at <= now));
        let mut again = Vec::new();
        for step in &due {
            let Some(order) = moving.order(step.order_id) else { continue };
            let cause = Cause { message: None, traceparent: order.traceparent.clone() };
            if step.step.is_compensation() {
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
