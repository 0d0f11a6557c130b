//! What the broker hears of each delivery, and the metrics that count it.

use broker::{Delivery, Verdict};

use super::{Failure, Handler, Job, Running, Subscriber, failure};

impl<H: Handler> Subscriber<H> {
    /// Settles deliveries; those of a consumer that was given up come again anyway.
    pub(super) async fn settle_all(
        &self,
        running: &mut Running<H>,
        settlements: Vec<(Delivery, Verdict)>,
    ) {
        if let Some(consumer) = &mut running.consumer {
            consumer.settle(settlements).await;
        }
    }

    /// Acks messages, with the repetitions of each.
    pub(super) async fn settle(
        &self,
        running: &mut Running<H>,
        jobs: Vec<Job<H::Message>>,
        outcome: &str,
    ) {
        if jobs.is_empty() {
            return;
        }
        let mut settlements = Vec::with_capacity(jobs.len());
        for job in jobs {
            self.observe(&job, outcome);
            self.conclude(running, job, Verdict::Ack, &mut settlements);
        }
        self.settle_all(running, settlements).await;
    }

    pub(super) async fn fail(
        &self,
        running: &mut Running<H>,
        failed: Vec<(Job<H::Message>, Failure)>,
    ) {
        if failed.is_empty() {
            return;
        }
        let mut settlements = Vec::with_capacity(failed.len());
        for (job, failure) in failed {
            let verdict = self.judge(&job.delivery, &failure, &job.received.span);
            let outcome = if matches!(verdict, Verdict::Dead { .. }) { "dead" } else { "retried" };
            self.observe(&job, outcome);
            self.conclude(running, job, verdict, &mut settlements);
        }
        self.settle_all(running, settlements).await;
    }

    /// The verdict holds for all deliveries of the message, and one copy is enough to keep. It is given to the newest: the older ones
    /// may be of a connection or a lease that has ended, and then the newest is what the broker has. The others count as repetitions.
    fn conclude(
        &self,
        running: &mut Running<H>,
        job: Job<H::Message>,
        verdict: Verdict,
        settlements: &mut Vec<(Delivery, Verdict)>,
    ) {
        let key = (job.received.header.source, job.received.header.id);
        let mut newest = job.delivery;
        for repetition in running.in_flight.remove(&key).unwrap_or_default() {
            self.count("duplicate");
            settlements.push((std::mem::replace(&mut newest, repetition), Verdict::Ack));
        }
        settlements.push((newest, verdict));
    }

    pub(super) fn judge(
        &self,
        delivery: &Delivery,
        failure: &Failure,
        span: &tracing::Span,
    ) -> Verdict {
        let verdict = failure::judge(&self.retry_delays, delivery, failure, span);
        failure::log(self.queue, delivery, failure, &verdict, span);
        verdict
    }

    /// Counts an attempt.
    pub(super) fn count(&self, outcome: &str) {
        let labels = vec![("queue", self.queue.to_owned()), ("outcome", outcome.to_owned())];
        self.metrics.attempts.get_or_create(&labels).inc();
    }

    fn observe(&self, job: &Job<H::Message>, outcome: &str) {
        self.count(outcome);
        let queue = ("queue", self.queue.to_owned());
        let labels = vec![queue, ("type", job.received.header.kind.clone())];
        let elapsed = job.received.arrived.elapsed().as_secs_f64();
        self.metrics.handling.get_or_create(&labels).observe(elapsed);
    }
}
