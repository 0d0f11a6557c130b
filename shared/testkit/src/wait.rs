//! Waiting for what must happen: for the thing itself, never for a time.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a test waits for something, unless it says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `look` finds what it looks for.
pub async fn eventually<T, F>(what: &str, look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    within(PATIENCE, what, look).await
}

/// As [`eventually`], with a limit of its own.
///
/// # Panics
/// When the time is up.
pub async fn within<T, F>(limit: Duration, what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} in vain: {what}");
        sleep(Duration::from_millis(25)).await;
    }
}
