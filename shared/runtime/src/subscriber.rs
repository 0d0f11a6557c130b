//! The loop that handles what a service's queue delivers: applied once, however often it is delivered.

mod failure;
mod handler;
mod intake;
mod patience;
mod settling;
mod transactions;

use std::{collections::HashMap, sync::Arc, time::Duration};

use broker::{Broker, Consumer, Delivery};
use store::Db;
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
}
