//! What a failed attempt leads to: another one later, or a dead letter.

use std::time::Duration;

use broker::{Delivery, History, Verdict, message_id};
use contracts::Timestamp;
use store::Chain;
use tracing::Span;

use crate::telemetry;

/// The pause before a message that the database didn't take is tried again, where no delay is configured.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest error that is kept with a message, in bytes.
const MAX_ERROR: usize = 2_000;

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Another attempt may succeed.
    #[error(transparent)]
    Transient(anyhow::Error),
    /// No attempt ever will: it can't be read, or a rule refuses it.
    #[error(transparent)]
    Permanent(anyhow::Error),
    /// The service's own database failed. While it is unavailable the attempt is repeated; what it refuses is tried again later.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Failure {
    /// Whether it is the database that didn't answer, or not in time.
    pub(super) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_unavailable())
    }
}

/// The failure of a handler that panicked.
pub(super) fn panicked() -> Failure {
    Failure::Permanent(anyhow::anyhow!("the handler panicked"))
}

/// The verdict on a delivery whose attempt failed.
pub(super) fn judge(
    retry_delays: &[Duration],
    delivery: &Delivery,
    failure: &Failure,
    span: &Span,
) -> Verdict {
    let now = Timestamp::now();
    let before = &delivery.history;
    let history = History {
        failures: before.failures.saturating_add(1),
        first_failed_at: before.first_failed_at.or(Some(now)),
        last_failed_at: Some(now),
        error: Some(chain(failure)),
        traceparent: telemetry::traceparent(span),
        replays: before.replays,
    };
    let next = usize::try_from(before.failures).ok().and_then(|n| retry_delays.get(n));
    if failure.is_unavailable() {
        // No fault of the message, and no attempt.
        let after = retry_delays.first().copied().unwrap_or(PAUSE);
        return Verdict::Retry { after, history: before.clone() };
    }
    match (failure, next) {
        (Failure::Transient(_) | Failure::Store(_), Some(after)) => {
            Verdict::Retry { after: *after, history }
        }
        _ => Verdict::Dead { history },
    }
}

/// The error with its causes, bounded.
fn chain(failure: &Failure) -> String {
    let mut text = Chain(failure).to_string();
    text.truncate(text.floor_char_boundary(MAX_ERROR));
    text
}

/// Reports a failure once, where it is decided on.
pub(super) fn log(
    queue: &str,
    delivery: &Delivery,
    failure: &Failure,
    verdict: &Verdict,
    span: &Span,
) {
    span.record("otel.status_code", "ERROR");
    let _in_span = span.enter();
    let (id, error) = (message_id(&delivery.body), chain(failure));
    match verdict {
        Verdict::Ack => {}
        Verdict::Retry { after, history } => {
            span.record("error.type", "transient");
            tracing::warn!(queue, message_id = %id, attempt = history.failures, ?after, error, "the attempt failed");
        }
        Verdict::Dead { history } => {
            span.record("error.type", "dead_letter");
            tracing::error!(queue, message_id = %id, attempts = history.failures, error, "the message is a dead letter");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn the_chain_names_each_cause_once() {
        let failure = Failure::Transient(anyhow!("refused").context("charging the card"));
        assert_eq!(chain(&failure), "charging the card: refused");
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let failure = Failure::Permanent(anyhow!("é".repeat(MAX_ERROR)));
        assert!(chain(&failure).len() <= MAX_ERROR);
    }
}
