//! Undoing payments: the compensation that never gives up.
//!
//! A cancellation marks the payment as reversing; from here the processor is asked to undo it, by the charge's key, until it
//! has answered. A charge that nobody saw the end of is found that way too.

mod metrics;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use contracts::{Cause, OrderId, Timestamp};
use futures_util::future::join_all;
use runtime::{Chain, Failure, Pulse, telemetry};
use store::Db;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span, field::Empty};

use crate::{
    Config, books,
    payment::{Happened, Payment, State},
    processor::{Processor, Reversal},
    store as sql,
};

pub use metrics::Metrics;

/// Payments that are undone at a time at most.
const BATCH: usize = 16;
/// How often the books are looked at when nobody says that there is something to undo.
const POLL: Duration = Duration::from_secs(1);
/// Beyond the processor's time limit, how long a payment is kept from other replicas while it is being undone.
const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// After so many failures somebody should know.
const ALERT_AFTER: u32 = 3;

/// When a payment is tried again.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How long a try may take before another replica takes over.
    pub lease: Duration,
    /// The pause after the first failure; it doubles with each further one.
    pub backoff: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
}

impl From<&Config> for Pace {
    fn from(config: &Config) -> Self {
        Self {
            lease: config.processor_timeout + LEASE_MARGIN,
            backoff: config.reversal_backoff,
            backoff_max: config.reversal_backoff_max,
        }
    }
}

impl Pace {
    /// Later than this no payment can be due; clocks may differ by a lease.
    fn latest(&self, now: Timestamp) -> Timestamp {
        now + self.backoff_max.max(self.lease) + self.lease
    }

    /// The pause after so many failures.
    fn pause(&self, failures: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        self.backoff.saturating_mul(doubled).min(self.backoff_max)
    }
}

/// The worker that undoes payments.
#[derive(Debug)]
pub struct Reversals {
    /// The service's database.
    pub db: Db,
    /// Whom to ask.
    pub processor: Processor,
    /// Tells that there is something to undo.
    pub woken: Arc<Notify>,
    /// What it counts.
    pub metrics: Metrics,
    /// What every service counts.
    pub plumbing: runtime::Metrics,
    /// When it tries again.
    pub pace: Pace,
}

/// A try to undo a payment.
struct Attempt {
    payment: Payment,
    span: Span,
    outcome: Result<Reversal, Failure>,
}

impl Reversals {
    /// Undoes what is due, again and again, until told to stop.
    pub async fn run(self, pulse: Pulse, shutdown: CancellationToken) {
        let mut failed = false;
        while !shutdown.is_cancelled() {
            pulse.expect(self.pace.lease);
            match self.step().await {
                Ok(tried) => {
                    failed = false;
                    if tried > 0 {
                        continue;
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut failed, true) {
                        let error = tracing::field::display(Chain(&error));
                        tracing::warn!(error, "payments can't be undone at the moment");
                    }
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.woken.notified() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Undoes what is due now.
    ///
    /// # Errors
    /// When the database is away. What the processor has undone by then is asked about again later.
    pub async fn drain(&self) -> store::Result<()> {
        while self.step().await? > 0 {}
        Ok(())
    }

    /// Tries to undo one batch; how many payments were taken.
    async fn step(&self) -> store::Result<usize> {
        let now = Timestamp::now();
        let latest = self.pace.latest(now);
        let backlog = sql::backlog(&self.db, now, latest, ALERT_AFTER).await?;
        self.metrics.failing.set(backlog.failing.cast_signed());
        self.plumbing.refreshed("reversals");
        // Reading first: on SQLite a look costs nothing then, and on neither a transaction.
        if !backlog.due {
            return Ok(0);
        }
        let mut tx = self.db.begin().await?;
        let claimed = sql::claim_due(&mut tx, now, latest, self.pace.lease, BATCH).await?;
        tx.commit().await?;
        let taken = claimed.len();
        let due = claimed.into_iter().filter_map(|payment| {
            payment
                .inspect_err(|(order_id, error)| {
                    self.plumbing.unreadable("payments", order_id, error);
                })
                .ok()
        });
        let attempts = join_all(due.map(|payment| self.attempt(payment))).await;
        self.settle(attempts).await?;
        Ok(taken)
    }

    /// Asks the processor, in a span that goes on with the trace of the cancellation.
    async fn attempt(&self, payment: Payment) -> Attempt {
        let span = tracing::info_span!(
            "reverse payment",
            otel.status_code = Empty,
            trace_id = Empty,
            error.type = Empty,
            shop.order_id = %payment.order_id,
            shop.attempt = payment.failed_reversals + 1,
        );
        if !span.is_disabled() {
            telemetry::continue_trace(&span, payment.cause.traceparent.as_deref());
        }
        let outcome = match payment.charge_key {
            Some(key) => self.processor.reverse(key).instrument(span.clone()).await,
            // No charge was ever asked for. (The schema doesn't let this happen.)
            None => Ok(Reversal::Voided),
        };
        self.metrics.count(&outcome);
        if let Err(failure) = &outcome {
            span.record("otel.status_code", "ERROR");
            span.record("error.type", "transient");
            span.in_scope(|| report(&payment, failure));
        }
        Attempt { payment, span, outcome }
    }

    /// Enters what came of the attempts, in one transaction.
    async fn settle(&self, attempts: Vec<Attempt>) -> store::Result<()> {
        let attempts: BTreeMap<OrderId, Attempt> =
            attempts.into_iter().map(|attempt| (attempt.payment.order_id, attempt)).collect();
        let order_ids: Vec<OrderId> = attempts.keys().copied().collect();
        let now = Timestamp::now();
        let mut tx = self.db.begin().await?;
        let mut changed = Vec::new();
        for payment in sql::lock(&mut tx, &order_ids).await? {
            let Some(attempt) = attempts.get(&payment.order_id) else { continue };
            let happened = match attempt.outcome {
                Ok(Reversal::Refunded) => Happened::Refunded,
                Ok(Reversal::Voided) => Happened::Voided,
                Err(_) => {
                    // Unless another replica got through meanwhile.
                    if payment.state == State::Reversing {
                        let pause = self.pace.pause(payment.failed_reversals.saturating_add(1));
                        changed.push(payment.put_off(now + pause));
                    }
                    continue;
                }
            };
            let order_id = payment.order_id;
            match Payment::after(Some(payment), order_id, &happened, now) {
                Ok((after, effect)) => {
                    if let Some(effect) = effect {
                        books::announce(&mut tx, effect, &after, &attempt.cause())?;
                    }
                    changed.push(after);
                }
                Err(error) => attempt.span.in_scope(|| {
                    tracing::error!(%order_id, %error, "the card processor contradicts the books");
                }),
            }
        }
        sql::save(&mut tx, &changed).await?;
        tx.commit().await
    }
}

impl Attempt {
    /// What the announcement says about its origin: the cancellation, and this try in its trace.
    fn cause(&self) -> Cause {
        let cause = self.payment.cause.clone();
        Cause { traceparent: telemetry::traceparent(&self.span).or(cause.traceparent), ..cause }
    }
}

/// Says once that a payment resists, loudly; the metrics say that it still does.
fn report(payment: &Payment, failure: &Failure) {
    let failures = payment.failed_reversals.saturating_add(1);
    let error = Chain(failure).to_string();
    let order_id = payment.order_id;
    if failures == ALERT_AFTER {
        tracing::error!(%order_id, failures, error, "a cancelled order's payment can't be undone; still trying");
    } else {
        tracing::debug!(%order_id, failures, error, "undoing a payment failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_never_end() {
        let seconds = Duration::from_secs;
        let pace = Pace { lease: seconds(10), backoff: seconds(1), backoff_max: seconds(60) };
        let pauses: Vec<u64> = (1..9).map(|n| pace.pause(n).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pace.pause(u32::MAX), seconds(60));
    }
}
