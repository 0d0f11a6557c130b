//! What is counted about undoing payments.

use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use runtime::Failure;

use crate::processor::Reversal;

/// The metrics of the reversals. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Payments that must be undone and have failed to be three times or more.
    pub(super) failing: Gauge,
    attempts: Family<[(&'static str, &'static str); 1], Counter>,
}

impl Metrics {
    /// Registers them with the service's.
    #[must_use]
    pub fn registered(service: &runtime::Metrics) -> Self {
        let metrics = Self::default();
        service.with_registry(|registry| {
            registry.register(
                "shop_compensations_failing",
                "Payments that must be undone and have failed to be three times or more",
                metrics.failing.clone(),
            );
            registry.register(
                "shop_compensation_attempts",
                "Attempts to undo a payment, by outcome",
                metrics.attempts.clone(),
            );
        });
        metrics
    }

    pub(super) fn count(&self, outcome: &Result<Reversal, Failure>) {
        let outcome = match outcome {
            Ok(Reversal::Refunded) => "refunded",
            Ok(Reversal::Voided) => "voided",
            Err(_) => "failed",
        };
        self.attempts.get_or_create(&[("outcome", outcome)]).inc();
    }
}
