//! The loop that handles what a service's queue delivers: applied once, however often it is delivered.

mod failure;
mod handler;
mod intake;
mod patience;

use std::{collections::HashMap, sync::Arc, time::Duration};

use broker::{Broker, Consumer, Delivery, Verdict};
use store::{Db, Receipt};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use failure::Failure;
pub use handler::{Apply, Handler, Local, Received};

use crate::{CrashPoint, Metrics, Plumbing, Pulse};
use intake::Unreadable;

/// How often the gauge of the connection is set when nothing arrives.
const GAUGE_POLL: Duration = Duration::from_secs(1);
/// How long finishing may take after the signal to stop; whoever sent that may not wait for more than ten seconds.
const GRACE: Duration = Duration::from_secs(8);

/// A message on its way through a handler.
struct Job<M> {
    delivery: Delivery,
    received: Received<M>,
}

/// A message whose `call` has ended.
struct Called<H: Handler> {
    job: Job<H::Message>,
    answer: Result<H::Answer, Failure>,
}

/// Handles a queue's messages with a [`Handler`].
#[derive(Debug)]
pub struct Subscriber<H> {
    queue: &'static str,
    db: Db,
    broker: Broker,
    metrics: Metrics,
    retry_delays: Vec<Duration>,
    prefetch: u16,
    patience: Duration,
    crash: CrashPoint,
    handler: Arc<H>,
    pulse: Pulse,
}

/// What a running subscriber holds.
struct Running<H: Handler> {
    /// None while the database is waited for.
    consumer: Option<Consumer>,
    calls: JoinSet<Called<H>>,
    /// The messages that are being handled, with the further deliveries of each.
    in_flight: HashMap<(String, Uuid), Vec<Delivery>>,
}

impl<H: Handler> Running<H> {
    /// Lets a message come again, with its further deliveries.
    fn forget(&mut self, job: &Job<H::Message>) {
        let header = &job.received.header;
        self.in_flight.remove(&(header.source.clone(), header.id));
    }
}

impl<H: Handler> Subscriber<H> {
    /// A subscriber of a queue; it does nothing until it [runs](Self::run).
    #[must_use]
    pub fn new(
        queue: &'static str,
        db: Db,
        broker: Broker,
        metrics: Metrics,
        plumbing: &Plumbing,
        handler: H,
    ) -> Self {
        Self {
            queue,
            db,
            broker,
            metrics,
            retry_delays: plumbing.retry_delays.clone(),
            prefetch: plumbing.prefetch,
            patience: plumbing.patience,
            crash: plumbing.crash_at.clone(),
            handler: Arc::new(handler),
            pulse: Pulse::default(),
        }
    }

    /// Handles messages until told to stop; then finishes what was begun, if that doesn't take too long.
    pub async fn run(mut self, pulse: Pulse, shutdown: CancellationToken) {
        self.pulse = pulse;
        let out_of_time = async {
            shutdown.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            () = self.handle(&shutdown) => {}
            () = out_of_time => {
                tracing::warn!("some messages were not finished; they will be delivered again");
            }
        }
    }

    /// A handler is never cut in half by the signal to stop: what the world outside was asked would be forgotten.
    async fn handle(&self, shutdown: &CancellationToken) {
        let mut running = Running {
            consumer: Some(self.broker.consume(self.queue, self.prefetch)),
            calls: JoinSet::new(),
            in_flight: HashMap::new(),
        };
        loop {
            self.pulse.beat();
            let connected = running.consumer.as_ref().is_some_and(Consumer::is_connected);
            self.metrics.consumer_connected.set(i64::from(connected));
            let Some(consumer) = &mut running.consumer else {
                if shutdown.run_until_cancelled(self.database_is_back()).await.is_none() {
                    break;
                }
                running.consumer = Some(self.broker.consume(self.queue, self.prefetch));
                continue;
            };
            tokio::select! {
                () = shutdown.cancelled() => break,
                deliveries = consumer.next() => {
                    self.accept(&mut running, deliveries).await;
                }
                Some(called) = running.calls.join_next() => {
                    self.finish(&mut running, called).await;
                }
                () = tokio::time::sleep(GAUGE_POLL) => {}
            }
        }
        while let Some(called) = running.calls.join_next().await {
            self.finish(&mut running, called).await;
        }
    }

    /// Takes in what was delivered: what can't be read is a dead letter, a repetition waits for the first to be settled.
    async fn accept(&self, running: &mut Running<H>, deliveries: Vec<Delivery>) {
        let (mut jobs, mut unreadable) = (Vec::new(), Vec::new());
        for delivery in deliveries {
            match intake::read::<H::Message>(self.queue, self.broker.system(), &delivery) {
                Ok(received) => {
                    let key = (received.header.source.clone(), received.header.id);
                    if let Some(repetitions) = running.in_flight.get_mut(&key) {
                        repetitions.push(delivery);
                    } else {
                        running.in_flight.insert(key, Vec::new());
                        jobs.push(Job { delivery, received });
                    }
                }
                Err(Unreadable { error, span }) => {
                    let failure = Failure::Permanent(error.into());
                    let verdict = self.judge(&delivery, &failure, &span);
                    self.count("dead");
                    unreadable.push((delivery, verdict));
                }
            }
        }
        if !unreadable.is_empty() {
            self.settle_all(running, unreadable).await;
        }
        let (mut answered, mut asking) = (Vec::new(), Vec::new());
        for job in jobs {
            match self.handler.without_call() {
                Some(answer) => answered.push((job, answer)),
                None => asking.push(job),
            }
        }
        if !asking.is_empty() {
            self.prepare(running, asking, self.patience).await;
        }
        if !answered.is_empty() {
            self.apply(running, answered, self.patience).await;
        }
    }

    /// Commits what must be found after a crash, then starts the calls.
    async fn prepare(
        &self,
        running: &mut Running<H>,
        jobs: Vec<Job<H::Message>>,
        patience: Duration,
    ) {
        let plans = match self.patiently(patience, || self.try_prepare(&jobs)).await {
            Ok(plans) => plans,
            Err(failure) if self.is_down(&failure).await => {
                return self.give_back(running, &jobs, &failure);
            }
            Err(failure) => match <[_; 1]>::try_from(jobs) {
                Ok([job]) => return self.fail(running, vec![(job, failure)]).await,
                // One bad message must cost only itself.
                Err(jobs) => {
                    for job in jobs {
                        if running.consumer.is_none() {
                            running.forget(&job);
                            continue;
                        }
                        Box::pin(self.prepare(running, vec![job], Duration::ZERO)).await;
                    }
                    return;
                }
            },
        };
        let mut repeated = Vec::new();
        for (job, plan) in jobs.into_iter().zip(plans) {
            let Some(plan) = plan else {
                repeated.push(job);
                continue;
            };
            let handler = self.handler.clone();
            running.calls.spawn(async move {
                let answer = handler::call(handler.as_ref(), &job.received, plan).await;
                Called { job, answer }
            });
        }
        self.settle(running, repeated, "duplicate").await;
    }

    /// The plan for each message; none for one that was applied before.
    async fn try_prepare(&self, jobs: &[Job<H::Message>]) -> Result<Vec<Option<H::Plan>>, Failure> {
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

    /// Takes every call that has ended by now, and applies what they brought.
    async fn finish(
        &self,
        running: &mut Running<H>,
        first: Result<Called<H>, tokio::task::JoinError>,
    ) {
        let mut ended = vec![first];
        while let Some(next) = running.calls.try_join_next() {
            ended.push(next);
        }
        let (mut answered, mut failed) = (Vec::new(), Vec::new());
        // A call's panic is caught inside it, and nobody aborts one, so that each ends with its job.
        for Called { job, answer } in ended.into_iter().flatten() {
            match answer {
                Ok(answer) => answered.push((job, answer)),
                Err(failure) => failed.push((job, failure)),
            }
        }
        self.crash.pass("after_call");
        self.fail(running, failed).await;
        if !answered.is_empty() {
            self.apply(running, answered, self.patience).await;
        }
    }

    /// Applies messages in one transaction, or, when that fails, one by one; then acks.
    async fn apply(
        &self,
        running: &mut Running<H>,
        jobs: Vec<(Job<H::Message>, H::Answer)>,
        patience: Duration,
    ) {
        match self.patiently(patience, || self.try_apply(&jobs)).await {
            Ok(new) => {
                self.crash.pass("after_commit");
                let (applied, repeated): (Vec<_>, Vec<_>) =
                    jobs.into_iter().map(|(job, _)| job).zip(new).partition(|(_, new)| *new);
                self.settle(running, applied.into_iter().map(|(job, _)| job).collect(), "applied")
                    .await;
                self.settle(
                    running,
                    repeated.into_iter().map(|(job, _)| job).collect(),
                    "duplicate",
                )
                .await;
            }
            Err(failure) if self.is_down(&failure).await => {
                self.give_back(running, jobs.iter().map(|(job, _)| job), &failure);
            }
            Err(failure) => match <[_; 1]>::try_from(jobs) {
                Ok([(job, _)]) => self.fail(running, vec![(job, failure)]).await,
                Err(jobs) => {
                    for (job, answer) in jobs {
                        if running.consumer.is_none() {
                            running.forget(&job);
                            continue;
                        }
                        Box::pin(self.apply(running, vec![(job, answer)], Duration::ZERO)).await;
                    }
                }
            },
        }
    }

    /// One transaction: inbox rows, business rows, outgoing messages. Which of the messages were new.
    async fn try_apply(&self, jobs: &[(Job<H::Message>, H::Answer)]) -> Result<Vec<bool>, Failure> {
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

    /// Settles deliveries; those of a consumer that was given up come again anyway.
    async fn settle_all(&self, running: &mut Running<H>, settlements: Vec<(Delivery, Verdict)>) {
        if let Some(consumer) = &mut running.consumer {
            consumer.settle(settlements).await;
        }
    }

    /// Acks messages, with the repetitions of each.
    async fn settle(&self, running: &mut Running<H>, jobs: Vec<Job<H::Message>>, outcome: &str) {
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

    async fn fail(&self, running: &mut Running<H>, failed: Vec<(Job<H::Message>, Failure)>) {
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

    fn judge(&self, delivery: &Delivery, failure: &Failure, span: &tracing::Span) -> Verdict {
        let verdict = failure::judge(&self.retry_delays, delivery, failure, span);
        failure::log(self.queue, delivery, failure, &verdict, span);
        verdict
    }

    /// Counts an attempt.
    fn count(&self, outcome: &str) {
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
