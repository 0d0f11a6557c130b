//! When to connect again, and what to say about it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::RngExt as _;
use tokio::time::{Instant, sleep_until};

use crate::Error;

/// The pauses between attempts to connect: the first, and the longest that it doubles up to.
const PAUSES: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(2);
/// A connection that lived this long was a good one: the next pause is the first again.
const GOOD_LIFE: Duration = Duration::from_secs(10);

/// What keeps each of a program's connections from being there, by its purpose.
#[derive(Debug, Clone, Default)]
pub(super) struct Troubles(Arc<Mutex<BTreeMap<String, String>>>);

impl Troubles {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them in a line; none when every connection that was asked for is there.
    pub(super) fn told(&self) -> Option<String> {
        let troubles: Vec<String> =
            self.lock().iter().map(|(purpose, error)| format!("{purpose}: {error}")).collect();
        (!troubles.is_empty()).then(|| troubles.join("; "))
    }
}

/// When to connect again, and what to say about it: a line when an outage begins, and one when it ends.
#[derive(Debug)]
pub(super) struct Outages {
    purpose: String,
    troubles: Troubles,
    pause: Duration,
    not_before: Instant,
    connected_at: Option<Instant>,
    /// What was logged of the outage that lasts: whether the broker refuses. An outage that becomes a refusal is news.
    logged: Option<bool>,
}

impl Outages {
    pub(super) fn new(purpose: String, troubles: &Troubles) -> Self {
        Self {
            purpose,
            troubles: troubles.clone(),
            pause: *PAUSES.start(),
            not_before: Instant::now(),
            connected_at: None,
            logged: None,
        }
    }

    /// Waits until the next attempt is due.
    pub(super) async fn pause(&self) {
        sleep_until(self.not_before).await;
    }

    /// A connection was made.
    pub(super) fn connected(&mut self) {
        self.connected_at = Some(Instant::now());
        self.troubles.lock().remove(&self.purpose);
        if self.logged.take().is_some() {
            tracing::info!(purpose = self.purpose, "RabbitMQ is back");
        }
    }

    /// A connection ended, or could not be made.
    pub(super) fn failed(&mut self, error: &Error) {
        if self.connected_at.take().is_some_and(|at| at.elapsed() > GOOD_LIFE) {
            self.pause = *PAUSES.start();
        }
        self.not_before = Instant::now() + self.pause.mul_f64(rand::rng().random_range(0.5..1.0));
        self.pause = (self.pause * 2).min(*PAUSES.end());
        self.troubles.lock().insert(self.purpose.clone(), error.to_string());
        let refused = matches!(error, Error::Refused(_));
        if self.logged.replace(refused) == Some(refused) {
            tracing::debug!(purpose = self.purpose, %error, "still no connection to RabbitMQ");
        } else if refused {
            tracing::error!(purpose = self.purpose, %error, "RabbitMQ refuses; trying on");
        } else {
            tracing::warn!(purpose = self.purpose, %error, "RabbitMQ is away; trying on");
        }
    }
}

impl Drop for Outages {
    fn drop(&mut self) {
        self.troubles.lock().remove(&self.purpose);
    }
}
