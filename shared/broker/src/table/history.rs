//! The events of the last days: a table of their own, which deliveries don't wait for.

use std::time::Duration;

use contracts::{Exchange, Timestamp};
use store::Tx;

use super::{LONGEST, Table};
use crate::{Error, HISTORY_DAYS, Message, Result};

/// How long an event is kept.
const KEPT: Duration = Duration::from_secs(HISTORY_DAYS as u64 * 24 * 60 * 60);

/// Events that are forgotten in one transaction: others want to write, too.
const FORGOTTEN_AT_ONCE: i64 = 5_000;

/// Keeps the events of a batch.
pub(super) async fn keep(tx: &mut Tx, batch: &[Message], now: i64) -> store::Result<()> {
    let events: Vec<&Message> =
        batch.iter().filter(|message| message.exchange == Exchange::Events).collect();
    tx.execute_many(
        "INSERT INTO history (routing_key, body, published_at) VALUES {}",
        &events,
        |row, event| row.bind(event.routing_key.clone()).bind(event.body.clone()).bind(now),
    )
    .await
    .map(drop)
}

impl Table {
    /// Forgets what is too old.
    pub(super) async fn forget(&self, now: Timestamp) -> Result<()> {
        self.declare().await?;
        loop {
            let mut tx = self.db.begin().await?;
            let forgotten = tx
                .query(
                    "DELETE FROM history WHERE seq IN (
                         SELECT seq FROM history WHERE published_at < $1 ORDER BY published_at LIMIT $2)",
                )
                .bind((now - KEPT).as_micros())
                .bind(FORGOTTEN_AT_ONCE)
                .execute()
                .await?;
            tx.commit().await?;
            if forgotten < FORGOTTEN_AT_ONCE.cast_unsigned() {
                return Ok(());
            }
        }
    }

    pub(crate) async fn recall(&self, queue: &str, since: Timestamp) -> Result<u64> {
        if !self.topology.may_recall(queue) {
            return Err(Error::no_right_to_history(queue));
        }
        self.find(queue).await?;
        let mut tx = self.db.begin().await?;
        // Whoever publishes at this moment may have read the bindings before this queue was among them.
        tx.wait_for_writers("history").await?;
        tx.may_take(LONGEST).await?;
        let count = tx
            .query(
                "INSERT INTO deliveries (queue, routing_key, body, due_at, times, history)
                 SELECT bindings.queue, history.routing_key, history.body, $1, 0, '{}'
                 FROM history JOIN bindings ON bindings.routing_key = history.routing_key
                 WHERE bindings.queue = $2 AND history.published_at >= $3
                 ORDER BY history.seq",
            )
            .bind(Timestamp::now().as_micros())
            .bind(queue.to_owned())
            .bind(since.as_micros())
            .execute()
            .await?;
        tx.commit().await?;
        Ok(count)
    }
}
