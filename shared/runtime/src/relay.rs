//! The relay: moves the outbox to the broker.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use broker::{Broker, Message, Outcome};
use contracts::Header;
use store::{Chain, Db, Leased};
use tokio_util::sync::CancellationToken;

use crate::{CrashPoint, Metrics, Pulse, telemetry, watchdog::BROKER_CALL};

/// Rows that are leased and sent together.
const BATCH: usize = 512;
/// How often the outbox is polled without a wake-up, since a commit whose answer was lost may have filled
/// it; and how often rows are freed whose leases have ended.
const POLL: Duration = Duration::from_secs(1);
/// The pause after a failure doubles from the first to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Moves messages from a service's outbox to the broker. Several may work on one outbox.
#[derive(Debug)]
pub struct Relay {
    db: Db,
    broker: Broker,
    metrics: Metrics,
    crash: CrashPoint,
    pulse: Pulse,
    /// When ended leases were looked for last.
    reclaimed: Mutex<Option<Instant>>,
}

/// Why a drain ended early. What was not confirmed is still in the outbox.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The outbox can't be read or written.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The broker has not taken all.
    #[error("{failed} of {sent} messages were not taken by the broker: {reason}")]
    Broker {
        /// How many it didn't take.
        failed: usize,
        /// How many it was given.
        sent: usize,
        /// What it said to the first of them.
        reason: String,
    },
}

impl Relay {
    /// A relay from a database's outbox to a broker.
    #[must_use]
    pub fn new(db: Db, broker: Broker, metrics: Metrics, crash: CrashPoint) -> Self {
        let (pulse, reclaimed) = (Pulse::default(), Mutex::default());
        Self { db, broker, metrics, crash, pulse, reclaimed }
    }

    /// Sends what is in the outbox; how many messages the broker has confirmed. What no queue is bound to, or the broker refuses,
    /// stays there, and is an error in the log.
    ///
    /// # Errors
    /// When the database is unavailable, or the broker has not taken all.
    pub async fn drain(&self) -> Result<usize, Error> {
        let mut total = 0;
        loop {
            self.pulse.beat();
            self.reclaim().await?;
            let lease = self.db.lease_outbox(BATCH).await?;
            // What is committed from here on wakes the relay again.
            let more = lease.rows.len() + lease.unreadable.len() >= BATCH;
            for (seq, error) in lease.unreadable {
                self.metrics.unreadable("outbox", &seq, &error);
            }
            if !lease.rows.is_empty() {
                self.pulse.expect(BROKER_CALL);
                total += self.send(lease.rows).await?;
            }
            if !more {
                return Ok(total);
            }
        }
    }

    /// Frees rows whose leases have ended, now and then.
    async fn reclaim(&self) -> Result<(), Error> {
        let due = |at: &Instant| at.elapsed() >= POLL;
        if self.reclaimed.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_none_or(due) {
            self.db.reclaim_outbox().await?;
            *self.reclaimed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        Ok(())
    }

    async fn send(&self, rows: Vec<Leased>) -> Result<usize, Error> {
        let at = SystemTime::now();
        let (seqs, batch): (Vec<i64>, Vec<Message>) = rows
            .into_iter()
            .map(|Leased { seq, exchange, routing_key, body, .. }| {
                (seq, Message { exchange, routing_key, body })
            })
            .unzip();
        let outcomes = self.broker.publish(&batch).await;
        self.crash.pass("after_confirm");
        let (mut sent, mut unsent, mut reason) = (Vec::new(), Vec::new(), None);
        let mut stuck: BTreeMap<String, usize> = BTreeMap::new();
        for ((seq, message), outcome) in seqs.iter().zip(&batch).zip(outcomes) {
            match outcome {
                Outcome::Confirmed => {
                    self.observe(message, at, "confirmed", None);
                    sent.push(*seq);
                }
                // These keep their leases, and are tried again when those end: they must not lead every batch, nor hold the others up.
                Outcome::Unroutable => {
                    let error = format!("no queue is bound to {:?}", message.routing_key);
                    self.observe(message, at, "unroutable", Some(&error));
                    *stuck.entry(error).or_default() += 1;
                }
                Outcome::Refused(error) => {
                    self.observe(message, at, "refused", Some(&error));
                    *stuck.entry(error).or_default() += 1;
                }
                Outcome::Failed(error) => {
                    self.observe(message, at, "unconfirmed", Some(&error));
                    unsent.push(*seq);
                    reason.get_or_insert(error);
                }
            }
        }
        for (error, messages) in stuck {
            tracing::error!(error, messages, "messages stay in the outbox; they are tried again");
        }
        self.db.settle_outbox(&sent, &unsent).await?;
        match reason {
            None => Ok(sent.len()),
            Some(reason) => Err(Error::Broker { failed: unsent.len(), sent: seqs.len(), reason }),
        }
    }

    fn observe(
        &self,
        message: &Message,
        at: SystemTime,
        outcome: &'static str,
        error: Option<&str>,
    ) {
        self.metrics.sent.get_or_create(&vec![("outcome", outcome.to_owned())]).inc();
        if tracing::enabled!(tracing::Level::INFO)
            && let Some(header) = Header::of(&message.body)
        {
            telemetry::record_publish(&telemetry::Published {
                header: &header,
                system: self.broker.system(),
                exchange: message.exchange.name(),
                routing_key: &message.routing_key,
                at,
                failure: error.map(|error| (outcome, error)),
            });
        }
    }

    /// Drains whenever something was committed, until told to stop; then once more.
    pub async fn run(mut self, pulse: Pulse, shutdown: CancellationToken) {
        self.pulse = pulse;
        let mut pause = PAUSES.0;
        let mut failing = false;
        loop {
            let stopping = shutdown.is_cancelled();
            match self.drain().await {
                Ok(_) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!("the outbox drains again");
                    }
                    pause = PAUSES.0;
                    if stopping {
                        return;
                    }
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        () = self.db.outbox_filled() => {}
                        () = tokio::time::sleep(POLL) => {}
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        let error = tracing::field::display(Chain(&error));
                        tracing::warn!(
                            error,
                            "the outbox doesn't drain; trying again until it does"
                        );
                    }
                    if stopping {
                        return;
                    }
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }
}
