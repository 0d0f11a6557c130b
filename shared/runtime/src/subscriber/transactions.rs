//! What a batch of messages commits: before the calls what must be found after a crash, after them what they led to.

use store::Receipt;

use super::{Failure, Handler, Job, Received, Subscriber};

impl<H: Handler> Subscriber<H> {
    /// The plan for each message; none for one that was applied before.
    pub(super) async fn try_prepare(
        &self,
        jobs: &[Job<H::Message>],
    ) -> Result<Vec<Option<H::Plan>>, Failure> {
        let mut tx = self.db.begin().await?;
        let headers: Vec<_> = jobs.iter().map(|job| &job.received.header).collect();
        let known = tx.received(&headers).await?;
        let is_new = |received: &Received<H::Message>| {
            !known.contains(&(received.header.source.clone(), received.header.id))
        };
        let new: Vec<_> =
            jobs.iter().map(|job| &job.received).filter(|received| is_new(received)).collect();
        let plans = self.handler.prepare(&mut tx, &new).await?;
        if plans.len() != new.len() {
            let wrong = anyhow::anyhow!("{} plans for {} messages", plans.len(), new.len());
            return Err(Failure::Permanent(wrong));
        }
        let mut plans = plans.into_iter();
        tx.commit().await?;
        Ok(jobs.iter().map(|job| is_new(&job.received).then(|| plans.next()).flatten()).collect())
    }

    /// One transaction: inbox rows, business rows, outgoing messages. Which of the messages were new.
    pub(super) async fn try_apply(
        &self,
        jobs: &[(Job<H::Message>, H::Answer)],
    ) -> Result<Vec<bool>, Failure> {
        let receipts: Vec<Receipt> = jobs
            .iter()
            .map(|(job, _)| Receipt {
                header: job.received.header.clone(),
                attempt: job.received.attempt,
                replays: job.received.replays,
            })
            .collect();
        let mut tx = self.db.begin().await?;
        let new = tx.receive(&receipts).await?;
        let is_new: Vec<bool> = receipts
            .iter()
            .map(|receipt| new.contains(&(receipt.header.source.clone(), receipt.header.id)))
            .collect();
        let batch: Vec<_> = jobs
            .iter()
            .zip(&is_new)
            .filter(|(_, new)| **new)
            .map(|((job, answer), _)| (&job.received, answer))
            .collect();
        self.handler.apply(&mut tx, &batch).await?;
        self.crash.pass("before_commit");
        tx.commit().await?;
        Ok(is_new)
    }
}
