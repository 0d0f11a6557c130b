//! One request's way through the card processor, with the faults that are switched on.

use std::{sync::Arc, time::Duration};

use runtime::Problem;

use crate::{
    Sandbox,
    faults::ProcessorFaults,
    problem::{lost_answer, ordered_failure},
};

/// How long a lost answer is held back: longer than any caller should wait.
const LOST_FOR: Duration = Duration::from_secs(60);

/// A request that the processor has admitted.
#[derive(Debug)]
pub(super) struct Turn {
    sandbox: Sandbox,
    faults: Arc<ProcessorFaults>,
}

impl Turn {
    /// Admits the request.
    ///
    /// # Errors
    /// As the faults say: 503 when the processor is down, 500 for the share of errors. Nothing is carried out then.
    pub(super) fn admit(sandbox: &Sandbox) -> Result<Self, Problem> {
        let faults = sandbox.faults.processor();
        if faults.down() {
            return Err(Problem::unavailable("the card processor is down, as ordered at /faults"));
        }
        if faults.fails() {
            return Err(ordered_failure());
        }
        Ok(Self { sandbox: sandbox.clone(), faults })
    }

    /// Carries the work out after the latency, and gives the answer unless it gets lost.
    ///
    /// # Errors
    /// When the sandbox stops meanwhile (503), or the answer is lost and the caller has outwaited it (504).
    pub(super) async fn take<T: Send + 'static>(
        self,
        work: impl FnOnce(&Sandbox) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let Self { sandbox, faults } = self;
        let (worker, latency) = (sandbox.clone(), faults.latency());
        let working = async move {
            if !latency.is_zero() {
                worker.shutdown.run_until_cancelled(tokio::time::sleep(latency)).await?;
            }
            Some(work(&worker))
        };
        let answer = if latency.is_zero() {
            working.await
        } else {
            // A task of its own: a processor goes on when the caller hangs up, and so the charge that timed out is
            // made after all.
            tokio::spawn(working).await.ok().flatten()
        };
        let answer = answer.ok_or_else(|| Problem::unavailable("the sandbox is stopping"))?;
        if faults.loses_answer() {
            sandbox.shutdown.run_until_cancelled(tokio::time::sleep(LOST_FOR)).await;
            return Err(lost_answer());
        }
        Ok(answer)
    }
}
