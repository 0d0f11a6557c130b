//! The gauges of what waits: in the outbox, and in the service's queue.

use std::time::{Duration, Instant};

use broker::Broker;
use contracts::Timestamp;
use store::Db;
use tokio_util::sync::CancellationToken;

use crate::{Metrics, Pulse, watchdog::BROKER_CALL};

/// How often the outbox is counted.
const OUTBOX_POLL: Duration = Duration::from_secs(1);
/// Counting a large outbox costs the database time, so the pause is this many times what the last count took...
const COUNTING_SHARE: u32 = 20;
/// ...up to this.
const OUTBOX_POLL_MAX: Duration = Duration::from_secs(15);
/// How often the queue's depth is asked for.
const QUEUE_POLL: Duration = Duration::from_secs(5);

/// Keeps the gauges of the outbox, and of the database that it is in, up to date, until told to stop.
pub(crate) async fn watch_outbox(
    db: Db,
    metrics: Metrics,
    pulse: Pulse,
    shutdown: CancellationToken,
) {
    let mut pause = OUTBOX_POLL;
    // What the oldest row's age was, and when. While the outbox can't be looked at, it is taken to grow older.
    let mut known = (Instant::now(), Duration::ZERO);
    metrics.refreshed("outbox");
    while shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
        pulse.beat();
        let began = Instant::now();
        let backlog = db.outbox_backlog().await;
        pause = pause_after(began.elapsed());
        metrics.database_connected.set(i64::from(backlog.is_ok()));
        if let Ok(backlog) = backlog {
            let age = backlog.oldest.map_or(Duration::ZERO, |at| Timestamp::now().since(at));
            known = (Instant::now(), age);
            metrics.outbox_rows.set(backlog.rows.cast_signed());
            metrics.refreshed("outbox");
        }
        metrics.outbox_age.set((known.1 + known.0.elapsed()).as_secs_f64());
    }
}

/// The pause before the outbox is counted again, after counting took so long.
fn pause_after(took: Duration) -> Duration {
    (took * COUNTING_SHARE).clamp(OUTBOX_POLL, OUTBOX_POLL_MAX)
}

/// Keeps the gauges of the service's queue up to date, until told to stop.
pub(crate) async fn watch_queue(
    queue: &'static str,
    broker: Broker,
    metrics: Metrics,
    pulse: Pulse,
    shutdown: CancellationToken,
) {
    // Until the first look succeeds, the gauges are as old as this loop.
    metrics.refreshed("queue");
    loop {
        pulse.expect(BROKER_CALL);
        if let Ok(depth) = broker.depth(queue).await {
            metrics.queue_ready.set(depth.ready.cast_signed());
            metrics.dead_letters.set(depth.dead.cast_signed());
            metrics.refreshed("queue");
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(QUEUE_POLL)).await.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_a_large_outbox_takes_a_twentieth_of_the_time_at_most() {
        assert_eq!(pause_after(Duration::from_millis(2)), OUTBOX_POLL);
        assert_eq!(pause_after(Duration::from_millis(200)), Duration::from_secs(4));
        assert_eq!(pause_after(Duration::from_secs(10)), OUTBOX_POLL_MAX);
    }
}
