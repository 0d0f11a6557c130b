//! Orders that are not settled in time are cancelled.

use std::time::Duration;

use ::store::{Chain, Db};
use contracts::{Cause, OrderId, Timestamp};
use runtime::{Metrics, Pulse};
use tokio_util::sync::CancellationToken;

use crate::{
    machine::{Fact, Status},
    moving::{self, Moving, Watchers},
    store,
};

/// How often overdue orders are looked for.
const POLL: Duration = Duration::from_secs(1);
/// Orders that are cancelled in one transaction at most.
const BATCH: i64 = 100;

/// Cancels what is overdue. Several replicas may do this at once.
#[derive(Debug)]
pub(crate) struct Deadlines {
    pub(crate) db: Db,
    pub(crate) watchers: Watchers,
    pub(crate) plumbing: Metrics,
}

impl Deadlines {
    /// Cancels every order whose time was up at `now`; how many those were. An order that can't be read, or cancelled, keeps none of
    /// the others.
    pub(crate) async fn expire(
        &self,
        now: Timestamp,
        pulse: &Pulse,
    ) -> Result<usize, moving::Error> {
        let (mut expired, mut after) = (0, store::FIRST);
        loop {
            pulse.beat();
            let due = store::overdue(&self.db, now, after, BATCH).await?;
            let Some(last) = due.last() else { return Ok(expired) };
            after = *last;
            let orders: Vec<OrderId> = due.into_iter().map(|(_, order_id)| order_id).collect();
            let cancel = |orders| self.cancel(orders, now);
            expired += moving::each_by_itself(orders, pulse, &self.plumbing, cancel).await?;
        }
    }

    /// Cancels these orders, as far as they are still overdue.
    async fn cancel(&self, orders: Vec<OrderId>, now: Timestamp) -> Result<usize, moving::Error> {
        let mut tx = self.db.begin().await?;
        let mut overdue =
            store::lock_free_orders(&mut tx, &orders).await?.reported("orders", &self.plumbing);
        overdue.retain(|order| order.state.status == Status::Placed && order.deadline_at <= now);
        let causes: Vec<(OrderId, Cause)> = overdue
            .iter()
            .map(|order| {
                (order.id, Cause { message: None, traceparent: order.traceparent.clone() })
            })
            .collect();
        let mut moving = Moving::new(overdue, self.watchers.pace);
        for (id, cause) in &causes {
            moving.take(&mut tx, *id, Fact::DeadlinePassed, cause)?;
        }
        moving.save(&mut tx, &self.watchers).await?;
        tx.commit().await?;
        Ok(causes.len())
    }

    /// Cancels what is overdue, until told to stop.
    pub(crate) async fn run(self, pulse: Pulse, shutdown: CancellationToken) {
        let mut failing = false;
        loop {
            match self.expire(Timestamp::now(), &pulse).await {
                Ok(expired) => {
                    failing = false;
                    if expired > 0 {
                        tracing::info!(expired, "orders were cancelled by their deadline");
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        let error = tracing::field::display(Chain(&error));
                        tracing::warn!(error, "overdue orders can't be looked for");
                    }
                }
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(POLL)).await.is_none() {
                return;
            }
        }
    }
}
