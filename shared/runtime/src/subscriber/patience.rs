//! Waiting for the service's own database: first with the messages in hand, then without any.

use std::{
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use store::Chain;

use super::{Failure, Handler, Job, Running, Subscriber, failure};

/// The pauses between tries to reach the database double from the first to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl<H: Handler> Subscriber<H> {
    /// Whether a failure is that of a database that takes no writes at all. Otherwise these messages alone have to wait: for a lock, or
    /// because there are too many of them for the time that a statement may take.
    pub(super) async fn is_down(&self, failure: &Failure) -> bool {
        failure.is_unavailable() && self.db.probe().await.is_err_and(|error| error.is_unavailable())
    }

    /// Gives messages back to the broker, with all that it has delivered and that isn't being handled, and takes no more until the
    /// database takes writes again. Their calls that are under way go on; what comes of them is applied then, or found by its key.
    pub(super) fn give_back<'j>(
        &self,
        running: &mut Running<H>,
        jobs: impl IntoIterator<Item = &'j Job<H::Message>>,
        failure: &Failure,
    ) where
        H::Message: 'j,
    {
        tracing::warn!(
            queue = self.queue,
            error = %Chain(failure),
            "the database is still not available; the messages go back until it is"
        );
        for job in jobs {
            running.forget(job);
        }
        running.consumer = None;
    }

    /// Waits until the database takes a write, or refuses it for a reason that waiting doesn't change.
    pub(super) async fn database_is_back(&self) {
        loop {
            self.pulse.beat();
            match self.db.probe().await {
                Err(error) if error.is_unavailable() => tokio::time::sleep(PAUSES.1).await,
                Err(error) => {
                    let error = tracing::field::display(Chain(&error));
                    return tracing::error!(
                        queue = self.queue,
                        error,
                        "the database can't be probed"
                    );
                }
                Ok(()) => {
                    return tracing::info!(queue = self.queue, "the database is available again");
                }
            }
        }
    }

    /// Tries again for as long as that while the service's own database is unavailable: that is no fault of the message, and costs it
    /// no attempt. A panic is a failure like others, of which the transaction leaves nothing.
    pub(super) async fn patiently<T, F>(
        &self,
        patience: Duration,
        mut work: impl FnMut() -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let (mut pause, began) = (PAUSES.0, Instant::now());
        loop {
            self.pulse.beat();
            let worked = AssertUnwindSafe(work()).catch_unwind().await;
            match worked.unwrap_or_else(|_| Err(failure::panicked())) {
                Err(Failure::Store(error))
                    if error.is_unavailable() && began.elapsed() < patience =>
                {
                    if pause == PAUSES.0 {
                        tracing::warn!(
                            queue = self.queue,
                            error = %Chain(&error),
                            "waiting for the database"
                        );
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
                outcome => return outcome,
            }
        }
    }
}
