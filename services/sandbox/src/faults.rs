//! Faults on demand: how the card processor and the mail server misbehave, switched while they run.
//!
//! They live in memory only: a restarted sandbox is healthy.

mod http;

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use garde::Validate;
use rand::RngExt;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(crate) use http::routes;

/// How the card processor misbehaves. What is left out is healthy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({
    "latency_ms": 200, "error_rate": 0.1, "down": false, "lost_answers": 0.05, "decline_tokens": ["tok_stolen"]
}))]
pub(crate) struct ProcessorFaults {
    /// Milliseconds that the processor takes for its decision. It goes on even if the caller hangs up meanwhile.
    #[garde(range(max = 60_000))]
    #[schema(maximum = 60_000)]
    latency_ms: u64,
    /// The share, 0 to 1, of requests that are answered with 500 and not carried out.
    #[garde(range(min = 0.0, max = 1.0))]
    #[schema(minimum = 0, maximum = 1)]
    error_rate: f64,
    /// Every request is answered with 503 and not carried out.
    #[garde(skip)]
    down: bool,
    /// The share, 0 to 1, of requests that **are** carried out, but whose answer is held back for 60 seconds.
    #[garde(range(min = 0.0, max = 1.0))]
    #[schema(minimum = 0, maximum = 1)]
    lost_answers: f64,
    /// Card tokens that are declined with `card_declined`, beside the two that always are: at most 1,000.
    #[garde(length(max = 1_000), inner(length(min = 1, max = 200)))]
    #[schema(max_items = 1_000)]
    decline_tokens: Vec<String>,
}

/// How the mail server misbehaves. What is left out is healthy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({ "latency_ms": 200, "error_rate": 0.1, "down": false, "lost_answers": 0.05 }))]
pub(crate) struct MailFaults {
    /// Milliseconds between the end of a mail and the answer to it.
    #[garde(range(max = 60_000))]
    #[schema(maximum = 60_000)]
    latency_ms: u64,
    /// The share, 0 to 1, of mails that are answered with 451 and not kept.
    #[garde(range(min = 0.0, max = 1.0))]
    #[schema(minimum = 0, maximum = 1)]
    error_rate: f64,
    /// Every connection, new or open, is answered with 421 and closed.
    #[garde(skip)]
    pub(crate) down: bool,
    /// The share, 0 to 1, of mails that **are** kept, but whose connection is closed without an answer.
    #[garde(range(min = 0.0, max = 1.0))]
    #[schema(minimum = 0, maximum = 1)]
    lost_answers: f64,
}

impl ProcessorFaults {
    /// How long the decision takes.
    pub(crate) fn latency(&self) -> Duration {
        Duration::from_millis(self.latency_ms)
    }

    /// Whether this request is to fail before anything is done.
    pub(crate) fn fails(&self) -> bool {
        chance(self.error_rate)
    }

    /// Whether nobody answers at all.
    pub(crate) fn down(&self) -> bool {
        self.down
    }

    /// Whether the answer to this request gets lost.
    pub(crate) fn loses_answer(&self) -> bool {
        chance(self.lost_answers)
    }

    /// Whether the card behind the token is to be declined.
    pub(crate) fn declines(&self, card_token: &str) -> bool {
        self.decline_tokens.iter().any(|token| token == card_token)
    }
}

impl MailFaults {
    /// How long the answer to a mail takes.
    pub(crate) fn latency(&self) -> Duration {
        Duration::from_millis(self.latency_ms)
    }

    /// Whether this mail is to be refused.
    pub(crate) fn fails(&self) -> bool {
        chance(self.error_rate)
    }

    /// Whether the answer to this mail gets lost.
    pub(crate) fn loses_answer(&self) -> bool {
        chance(self.lost_answers)
    }
}

/// The switches, shared by everything that may misbehave.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    processor: RwLock<Arc<ProcessorFaults>>,
    mail: RwLock<Arc<MailFaults>>,
}

impl Faults {
    /// The card processor's faults at this moment.
    pub(crate) fn processor(&self) -> Arc<ProcessorFaults> {
        Arc::clone(&self.processor.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The mail server's faults at this moment.
    pub(crate) fn mail(&self) -> Arc<MailFaults> {
        Arc::clone(&self.mail.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Switches the card processor, from the next request on.
    pub(crate) fn set_processor(&self, faults: ProcessorFaults) {
        *self.processor.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(faults);
    }

    /// Switches the mail server, from the next command on.
    pub(crate) fn set_mail(&self, faults: MailFaults) {
        *self.mail.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(faults);
    }
}

/// True for the given share, 0 to 1, of the calls.
fn chance(share: f64) -> bool {
    share > 0.0 && rand::rng().random_bool(share.min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_healthy() {
        let faults: ProcessorFaults = serde_json::from_str(r#"{"down": true}"#).unwrap();
        assert_eq!(faults, ProcessorFaults { down: true, ..Default::default() });
        assert!(!faults.fails() && !faults.loses_answer() && !faults.declines("tok_visa"));
    }

    #[test]
    fn nonsense_is_refused() {
        for body in [
            r#"{"error_rate": 1.1}"#,
            r#"{"error_rate": -0.1}"#,
            r#"{"lost_answers": 2}"#,
            r#"{"latency_ms": 60001}"#,
            r#"{"decline_tokens": [""]}"#,
        ] {
            let faults: ProcessorFaults = serde_json::from_str(body).unwrap();
            assert!(faults.validate().is_err(), "{body}");
        }
        for body in [r#"{"latency": 1}"#, r#"{"latency_ms": -1}"#, r#"{"down": 1}"#] {
            assert!(serde_json::from_str::<ProcessorFaults>(body).is_err(), "{body}");
        }
        assert!(serde_json::from_str::<MailFaults>(r#"{"decline_tokens": []}"#).is_err());
    }

    #[test]
    fn shares_of_nothing_and_of_all_are_certain() {
        assert!((0..1_000).all(|_| !chance(0.0) && chance(1.0)));
    }
}
