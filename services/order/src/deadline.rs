//! Orders that are not settled in time are cancelled.

use std::time::Duration;

use ::store::Db;
use contracts::{Cause, Coordination, OrderId, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::{
    machine::Fact,
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
}

impl Deadlines {
    /// Cancels every order whose time was up at `now`; how many those were.
    pub(crate) async fn expire(&self, now: Timestamp) -> Result<usize, moving::Error> {
        let mut expired = 0;
        while store::any_overdue(&self.db, now).await? {
            let mut tx = self.db.begin().await?;
            let orders = store::lock_overdue(&mut tx, now, BATCH).await?;
            if orders.is_empty() {
                // Another replica has them.
                break;
            }
            expired += orders.len();
            let overdue: Vec<_> =
                orders.iter().map(|order| (order.id, order.traceparent.clone())).collect();
            let mut moving = Moving::new(orders, self.watchers.pace);
            for (id, traceparent) in overdue {
                let cause = Cause { message: None, traceparent };
                moving.take(&mut tx, id, Fact::DeadlinePassed, &cause)?;
                leave_to_a_person(&mut moving, id);
            }
            moving.save(&mut tx, &self.watchers).await?;
            tx.commit().await?;
        }
        Ok(expired)
    }

    /// Cancels what is overdue, until told to stop.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut failing = false;
        loop {
            match self.expire(Timestamp::now()).await {
                Ok(expired) => {
                    failing = false;
                    if expired > 0 {
                        tracing::info!(expired, "orders were cancelled by their deadline");
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "overdue orders can't be looked for"
                        );
                    }
                }
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(POLL)).await.is_none() {
                return;
            }
        }
    }
}

/// Of an order that is made by calls, whoever made them is gone: what they came to isn't known, and nobody goes on with them.
fn leave_to_a_person(moving: &mut Moving, id: OrderId) {
    let Some(order) = moving.order(id) else { return };
    if order.state.coordination == Coordination::Sync {
        for step in order.state.open().collect::<Vec<_>>() {
            moving.park(id, step, "the checkout ended in the middle of its calls".to_owned());
        }
    }
}
