//! The receiving end: a task that leases what is due and keeps the leases of what is being handled alive.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use contracts::Timestamp;
use store::Chain;
use tokio::{
    sync::{Mutex, Notify, mpsc},
    task::JoinHandle,
    time::Instant,
};

use super::{IDLE_POLL, LEASE, Leased, Settlement, Table};
use crate::{Delivery, Verdict};

/// The first pause after a queue was found empty; it grows by half each time, up to [`IDLE_POLL`].
const FIRST_POLL: Duration = Duration::from_millis(1);
/// The pause after the table could not be read.
const AFTER_ERROR: Duration = Duration::from_secs(1);
/// How often events that are too old are forgotten.
const FORGETTING: Duration = Duration::from_secs(60 * 60);
/// How often it is looked for what waits because the clock was set back.
const RESCUE: Duration = Duration::from_secs(5);
/// How often leases are renewed.
const RENEWAL: Duration = Duration::from_millis(LEASE.as_millis() as u64 / 3);

/// The receiving end of a queue.
#[derive(Debug)]
pub(crate) struct Consumer {
    table: Table,
    queue: Arc<str>,
    incoming: mpsc::Receiver<Vec<Delivery>>,
    flights: Arc<Flights>,
    task: JoinHandle<()>,
}

/// The deliveries that are out. The lock is held while the database is changed, so that a renewal can't undo a settlement.
#[derive(Debug, Default)]
pub(super) struct Flights {
    /// The last lease of each.
    out: Mutex<HashMap<i64, i64>>,
    /// Those that nobody will answer for: their leases may run out.
    abandoned: std::sync::Mutex<Vec<i64>>,
    landed: Notify,
    /// The last look at the table succeeded.
    connected: AtomicBool,
    /// There was a look at the table.
    tried: AtomicBool,
}

/// How a delivery is found again.
#[derive(Debug)]
pub(crate) struct Receipt {
    seq: i64,
    settled: bool,
    flights: Arc<Flights>,
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if !self.settled {
            let mut abandoned =
                self.flights.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
            abandoned.push(self.seq);
        }
    }
}

impl Consumer {
    pub(super) fn start(table: Table, queue: &str, prefetch: u16) -> Self {
        let queue: Arc<str> = queue.into();
        let flights = Arc::new(Flights::default());
        let (sender, incoming) = mpsc::channel(1);
        let feed = Feed {
            table: table.clone(),
            queue: queue.clone(),
            prefetch: usize::from(prefetch.max(1)),
            flights: flights.clone(),
            sender,
        };
        let task = tokio::spawn(feed.run());
        Self { table, queue, incoming, flights, task }
    }

    pub(crate) async fn next(&mut self) -> Vec<Delivery> {
        match self.incoming.recv().await {
            Some(deliveries) => deliveries,
            None => crate::ended(&mut self.task).await,
        }
    }

    pub(crate) async fn settle(&mut self, settlements: Vec<(Delivery, Verdict)>) {
        let mut out = self.flights.out.lock().await;
        let mut settlements: Vec<_> = settlements
            .into_iter()
            .filter_map(|(delivery, verdict)| {
                let seq = self.seq(&delivery)?;
                Some(Settlement { seq, lease: *out.get(&seq)?, delivery, verdict })
            })
            .collect();
        if let Err(error) = self.table.settle(&settlements, &self.queue).await {
            tracing::warn!(queue = %self.queue, error = %Chain(&error), "settling failed; the messages come again");
        }
        for Settlement { seq, delivery, .. } in &mut settlements {
            out.remove(seq);
            if let crate::Receipt::Table(receipt) = &mut delivery.receipt {
                receipt.settled = true;
            }
        }
        drop(out);
        self.flights.landed.notify_one();
    }

    /// The row of a delivery of this consumer.
    fn seq(&self, delivery: &Delivery) -> Option<i64> {
        match &delivery.receipt {
            crate::Receipt::Table(receipt) if Arc::ptr_eq(&receipt.flights, &self.flights) => {
                Some(receipt.seq)
            }
            _ => None,
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.flights.connected.load(Ordering::Relaxed)
    }
}

impl Flights {
    fn forget_abandoned(&self, out: &mut HashMap<i64, i64>) {
        let mut abandoned = self.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
        for seq in abandoned.drain(..) {
            out.remove(&seq);
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the task needs.
struct Feed {
    table: Table,
    queue: Arc<str>,
    prefetch: usize,
    flights: Arc<Flights>,
    sender: mpsc::Sender<Vec<Delivery>>,
}

impl Feed {
    async fn run(self) {
        let mut arrived = Vec::new();
        let mut pause = FIRST_POLL;
        // None after an error: leases may have run out meanwhile.
        let mut renewed = Some(Instant::now());
        let (mut forgot, mut rescued): (Option<Instant>, Option<Instant>) = (None, None);
        loop {
            if rescued.is_none_or(|at| at.elapsed() > RESCUE) {
                rescued = Some(Instant::now());
                if let Err(error) = self.table.rescue(&self.queue).await {
                    tracing::debug!(error = %Chain(&error), "what waits for the clock was not looked for; trying later");
                }
            }
            if forgot.is_none_or(|at| at.elapsed() > FORGETTING) {
                forgot = Some(Instant::now());
                if let Err(error) = self.table.forget(Timestamp::now()).await {
                    tracing::debug!(error = %Chain(&error), "the history was not shortened; trying later");
                }
            }
            if renewed.is_none_or(|at| at.elapsed() > RENEWAL) {
                renewed = self.renew().await.then(Instant::now);
            }
            // While the reader is busy nothing more is taken, but what it has is kept leased.
            let mut wait = RENEWAL;
            if renewed.is_none() {
                wait = AFTER_ERROR;
            } else if arrived.is_empty() {
                match self.lease().await {
                    Some(Ok(deliveries)) => {
                        arrived = deliveries;
                        wait = pause;
                    }
                    Some(Err(())) => {
                        wait = AFTER_ERROR;
                        renewed = None;
                    }
                    None => {}
                }
            }
            tokio::select! {
                permit = self.sender.reserve(), if !arrived.is_empty() => match permit {
                    Ok(permit) => {
                        permit.send(std::mem::take(&mut arrived));
                        pause = FIRST_POLL;
                    }
                    Err(_) => return,
                },
                () = self.flights.landed.notified() => pause = FIRST_POLL,
                () = tokio::time::sleep(wait) => pause = (pause + pause / 2).min(IDLE_POLL),
            }
        }
    }

    /// Leases what is due and may be out; none when nothing more may be. An error was logged.
    async fn lease(&self) -> Option<Result<Vec<Delivery>, ()>> {
        let mut out = self.flights.out.lock().await;
        self.flights.forget_abandoned(&mut out);
        let free = self.prefetch.saturating_sub(out.len());
        if free == 0 {
            return None;
        }
        let leased = self.table.lease(&self.queue, free).await;
        let was_connected = self.flights.connected.swap(leased.is_ok(), Ordering::Relaxed);
        let first_failure = was_connected || !self.flights.tried.swap(true, Ordering::Relaxed);
        Some(match leased {
            Ok(leased) => {
                Ok(leased.into_iter().filter_map(|row| self.hand_out(&mut out, row)).collect())
            }
            Err(error) => {
                if first_failure {
                    tracing::warn!(queue = %self.queue, error = %Chain(&error), "the jobs table can't be read; trying on");
                }
                Err(())
            }
        })
    }

    /// The delivery of a leased row; none when this consumer has it out already, and only its lease had run out.
    fn hand_out(&self, out: &mut HashMap<i64, i64>, row: Leased) -> Option<Delivery> {
        let Leased { seq, lease, routing_key, body, history } = row;
        match out.entry(seq) {
            Entry::Occupied(mut known) => {
                known.insert(lease);
                return None;
            }
            Entry::Vacant(new) => new.insert(lease),
        };
        let receipt = Receipt { seq, settled: false, flights: self.flights.clone() };
        Some(Delivery { body, routing_key, history, receipt: crate::Receipt::Table(receipt) })
    }

    /// Whether all that is out is kept. An error was logged.
    async fn renew(&self) -> bool {
        let mut out = self.flights.out.lock().await;
        self.flights.forget_abandoned(&mut out);
        let in_flight: Vec<(i64, i64)> = out.iter().map(|(seq, lease)| (*seq, *lease)).collect();
        let Err(error) = self.table.renew(&in_flight).await else { return true };
        if self.flights.connected.swap(false, Ordering::Relaxed) {
            tracing::warn!(queue = %self.queue, error = %Chain(&error), "leases could not be renewed");
        }
        false
    }
}
