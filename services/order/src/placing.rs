//! Writing checkouts: those that arrive while one commit is under way share the next one.
//!
//! One commit per checkout would cap the service at what the disk can flush; waiting for company would slow a
//! lone customer down. So one writer takes whatever has arrived, however much that is.

use std::{collections::HashSet, sync::Arc, time::Duration};

use ::store::{Chain, Db, Result, Tx, idempotency::Answer};
use contracts::{Cause, Coordination, OrderPlaced, Timestamp};
use runtime::{CrashPoint, Pulse};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    http::InUse,
    machine::Status,
    metrics::Orders,
    moving::{self, Pace, Watchers},
    order::Order,
    store::{
        self,
        steps::{self, Asked},
    },
};

/// Checkouts that may wait for the writer; more are refused at once.
const WAITING: usize = 1_024;
/// How long after the signal to stop checkouts are still written: as long as the HTTP server finishes requests. It ends earlier,
/// as soon as there is no request left.
const GRACE: Duration = runtime::http::GRACE;
/// How often the writer says that it is there, when there is nothing to write.
const IDLE: Duration = Duration::from_secs(1);
/// Checkouts in one transaction at most.
const BATCH: usize = 128;

/// A checkout to be written.
pub(crate) struct Placement {
    pub(crate) order: Order,
    /// For whoever charges it: in the event where payment does so by itself, in the command where it is told to.
    pub(crate) card_token: String,
    pub(crate) cause: Cause,
    pub(crate) keyed: Option<KeyedPlacement>,
}

/// What a placement with an idempotency key has beside.
pub(crate) struct KeyedPlacement {
    /// The key, in use until the placement is written, also when its client has gone away.
    pub(crate) in_use: Arc<InUse>,
    /// The answer that is kept for it.
    pub(crate) answer: Answer,
}

/// What became of a checkout.
#[derive(Debug)]
pub(crate) enum Placed {
    /// It is committed.
    Now,
    /// Its key was used before; this was the answer then.
    Before(Answer),
}

/// Why a checkout was not written, or is not known to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nothing of it was written.
    #[error("too many checkouts are waiting to be written")]
    Busy,
    /// The database failed; nothing was written, unless it says that this isn't known.
    #[error(transparent)]
    Store(#[from] ::store::Error),
}

impl Error {
    fn is_unavailable(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_unavailable())
    }

    /// For another checkout of the same transaction.
    fn again(&self) -> Self {
        match self {
            Self::Busy => Self::Busy,
            Self::Store(::store::Error::CommitUnknown(_)) => {
                Self::Store(::store::Error::CommitUnknown(sqlx::Error::PoolTimedOut))
            }
            Self::Store(_) => Self::Store(away()),
        }
    }
}

fn away() -> ::store::Error {
    ::store::Error::NoConnection(sqlx::Error::PoolTimedOut)
}

type Request = (Placement, oneshot::Sender<Result<Placed, Error>>);

/// Where checkouts are handed in. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Placing(mpsc::Sender<Request>);

/// The one that writes them.
pub(crate) struct Writer {
    db: Db,
    metrics: Orders,
    pace: Pace,
    crash: CrashPoint,
    requests: mpsc::Receiver<Request>,
}

/// A writer, and where to hand checkouts in.
pub(crate) fn start(db: Db, watchers: &Watchers, crash: CrashPoint) -> (Placing, Writer) {
    let (sender, requests) = mpsc::channel(WAITING);
    let (metrics, pace) = (watchers.metrics.clone(), watchers.pace);
    (Placing(sender), Writer { db, metrics, pace, crash, requests })
}

impl Placing {
    /// Writes a checkout; returns after its commit.
    ///
    /// # Errors
    /// When the writer has too much to do, or the database is away.
    pub(crate) async fn place(&self, placement: Placement) -> Result<Placed, Error> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send((placement, answer)).map_err(|_| Error::Busy)?;
        answered.await.map_err(|_| Error::Busy)?
    }
}

impl Writer {
    /// Writes checkouts until told to stop, and the requests that were under way then are answered.
    pub(crate) async fn run(mut self, pulse: Pulse, shutdown: CancellationToken) {
        let mut requests = Vec::new();
        let grace = async {
            shutdown.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::pin!(grace);
        loop {
            pulse.beat();
            tokio::select! {
                biased;
                received = self.requests.recv_many(&mut requests, BATCH) => {
                    if received == 0 {
                        return;
                    }
                }
                () = &mut grace => return,
                () = tokio::time::sleep(IDLE) => continue,
            }
            if !self.write(std::mem::take(&mut requests)).await {
                self.refuse_waiting();
            }
        }
    }

    /// Those who came while the database was waited for in vain have waited as well: another such wait would be too long for them.
    fn refuse_waiting(&mut self) {
        while let Ok((_, answer)) = self.requests.try_recv() {
            let _ = answer.send(Err(Error::Store(away())));
        }
    }

    /// Whether there was a database to write them to.
    async fn write(&self, requests: Vec<Request>) -> bool {
        let (placements, answers): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
        match self.commit(&placements).await {
            Ok(outcomes) => {
                self.crash.pass("after_commit");
                for (answer, outcome) in answers.into_iter().zip(outcomes) {
                    if matches!(outcome, Ok(Placed::Now)) {
                        self.metrics.count(Status::Placed);
                    }
                    // A client that has gone away doesn't take its order with it.
                    let _ = answer.send(outcome);
                }
            }
            Err(error) if placements.len() == 1 || error.is_unavailable() => {
                return refuse(answers, error);
            }
            // One bad checkout must cost only itself.
            Err(_) => {
                for (placement, answer) in placements.into_iter().zip(answers) {
                    Box::pin(self.write(vec![(placement, answer)])).await;
                }
            }
        }
        true
    }

    /// One transaction for all of them.
    async fn commit(&self, placements: &[Placement]) -> Result<Vec<Result<Placed, Error>>, Error> {
        let mut tx = self.db.begin().await?;
        let keyed: Vec<(&str, &Answer)> = placements
            .iter()
            .filter_map(|p| p.keyed.as_ref().map(|keyed| (keyed.in_use.key(), &keyed.answer)))
            .collect();
        let mut new: HashSet<String> = tx.keep_answers(&keyed).await?.into_iter().collect();
        // Taken out of the set, so that of two placements with one key only one is new.
        let is_new: Vec<bool> = placements
            .iter()
            .map(|p| p.keyed.as_ref().is_none_or(|keyed| new.remove(keyed.in_use.key())))
            .collect();
        let fresh: Vec<&Placement> =
            placements.iter().zip(&is_new).filter(|(_, new)| **new).map(|(p, _)| p).collect();
        insert(&mut tx, &fresh, self.pace).await?;
        self.crash.pass("before_commit");
        tx.commit().await?;
        let mut outcomes = Vec::with_capacity(placements.len());
        for (placement, is_new) in placements.iter().zip(is_new) {
            outcomes.push(match &placement.keyed {
                Some(keyed) if !is_new => self.before(keyed.in_use.key()).await,
                _ => Ok(Placed::Now),
            });
        }
        Ok(outcomes)
    }

    async fn before(&self, key: &str) -> Result<Placed, Error> {
        let answer = self.db.answer(key).await?;
        let answer = answer.ok_or(::store::Error::Refused(sqlx::Error::RowNotFound))?;
        Ok(Placed::Before(answer))
    }
}

/// Tells all of a transaction's customers that it failed; whether there was a database at all.
fn refuse(answers: Vec<oneshot::Sender<Result<Placed, Error>>>, error: Error) -> bool {
    tracing::debug!(error = %Chain(&error), "checkouts were not written");
    let there = !matches!(error, Error::Store(::store::Error::NoConnection(_)));
    let mut error = Some(error);
    for answer in answers {
        // The first gets the error itself, so that its causes are logged.
        let next = error.as_ref().map(Error::again);
        let _ = answer.send(Err(std::mem::replace(&mut error, next).unwrap_or(Error::Busy)));
    }
    there
}

/// Writes new orders, their first timeline entries, and what makes the others begin.
async fn insert(tx: &mut Tx, placements: &[&Placement], pace: Pace) -> Result<()> {
    let orders: Vec<&Order> = placements.iter().map(|placement| &placement.order).collect();
    store::insert_orders(tx, &orders).await?;
    let entries: Vec<_> =
        orders.iter().map(|order| order.entry("OrderPlaced", order.placed_at, None)).collect();
    store::add_entries(tx, &entries).await?;
    let mut asked = Vec::new();
    for Placement { order, card_token, cause, .. } in placements {
        if order.state.coordination == Coordination::Sync {
            continue;
        }
        let event = OrderPlaced {
            order_id: order.id,
            customer: order.customer.clone(),
            lines: order.lines.clone(),
            total: order.total.clone(),
            card_token: match order.state.coordination {
                Coordination::Choreography => card_token.clone(),
                Coordination::Orchestration | Coordination::Sync => String::new(),
            },
            coordination: order.state.coordination,
            placed_at: Timestamp::from_micros(order.placed_at.as_micros()),
        };
        tx.publish(&event, cause)?;
        for step in order.state.open() {
            moving::send(tx, order, step, cause)?;
            let (at, due_at) = (order.placed_at, Some(pace.due(step, 1, order.placed_at)));
            asked.push(Asked { order_id: order.id, step, attempts: 1, at, due_at, error: None });
        }
    }
    steps::ask(tx, &asked.iter().collect::<Vec<_>>()).await
}
