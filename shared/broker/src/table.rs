//! The jobs-table broker, on SQLite or PostgreSQL: durable, shared by several processes, at least once.
//!
//! A delivery is a row with the time when it is due. Leasing it moves that time a little into the future, and the
//! consumer moves it on as long as it lives; so what a killed process had comes back by itself. A retry
//! moves it by the delay. Whoever lost its lease changes nothing any more. Idle polling slows down to [`IDLE_POLL`].

mod consumer;
mod dead;
mod history;

use std::{sync::Arc, time::Duration};

use contracts::{Exchange, Timestamp};
use rand::RngExt as _;
use store::{Chain, Db};
use tokio::sync::OnceCell;

use crate::{Delivery, Depth, Error, History, Message, Outcome, Result, Topology, Verdict};
use dead::{Dying, bury};

pub(crate) use consumer::{Consumer, Receipt};

/// How long a delivery stays away from other consumers when its own doesn't renew it: what was being handled by a killed process
/// waits this long.
const LEASE: Duration = Duration::from_secs(5);
/// The pause between two looks at an empty queue, at most.
const IDLE_POLL: Duration = Duration::from_millis(100);
/// How long a statement may take that grows with what is kept.
const LONGEST: Duration = Duration::from_secs(10 * 60);
/// Each delay is stretched by up to this share, so that messages that failed together don't come back together.
const JITTER: f64 = 0.2;

/// The adapter. Cloning shares the database pools.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    db: Db,
    topology: Arc<Topology>,
    declared: Arc<OnceCell<()>>,
}

impl Table {
    pub(crate) async fn open(url: &str, topology: Topology) -> Result<Self> {
        let options = store::Options {
            max_connections: 3,
            acquire_timeout: Duration::from_secs(5),
            ..store::Options::default()
        };
        Ok(Self {
            db: Db::open(url, options).await?,
            topology: Arc::new(topology),
            declared: Arc::default(),
        })
    }

    /// Makes the tables and bindings, once per process.
    pub(crate) async fn declare(&self) -> Result<()> {
        self.declared
            .get_or_try_init(async || {
                self.db
                    .create_if_missing(
                        include_str!("table/postgres.sql"),
                        include_str!("table/sqlite.sql"),
                    )
                    .await?;
                // A command's key is its owner's queue, which no event's key is.
                let bindings: Vec<(&str, &str)> = self
                    .topology
                    .subscriptions
                    .iter()
                    .flat_map(|s| {
                        let commands = s.commands.then_some((s.queue, s.queue));
                        s.routing_keys.iter().map(|key| (s.queue, *key)).chain(commands)
                    })
                    .collect();
                let mut tx = self.db.begin().await?;
                tx.execute_many(
                    "INSERT INTO bindings (queue, routing_key) VALUES {} ON CONFLICT DO NOTHING",
                    &bindings,
                    |row, (queue, key)| row.bind(*queue).bind(*key),
                )
                .await?;
                tx.commit().await
            })
            .await?;
        Ok(())
    }

    pub(crate) async fn publish(&self, batch: &[Message]) -> Vec<Outcome> {
        self.try_publish(batch)
            .await
            .unwrap_or_else(|error| vec![Outcome::Failed(Chain(&error).to_string()); batch.len()])
    }

    async fn try_publish(&self, batch: &[Message]) -> Result<Vec<Outcome>> {
        self.declare().await?;
        let mut tx = self.db.begin().await?;
        let bindings =
            tx.query("SELECT queue, routing_key FROM bindings").all::<(String, String)>().await?;
        let mut deliveries = Vec::with_capacity(batch.len() * 3);
        let outcomes = batch
            .iter()
            .map(|message| {
                let before = deliveries.len();
                let queues = bindings.iter().filter(|(_, key)| *key == message.routing_key);
                deliveries.extend(queues.map(|(queue, _)| (queue, message)));
                let kept = self.topology.history && message.exchange == Exchange::Events;
                if deliveries.len() > before || kept {
                    Outcome::Confirmed
                } else {
                    Outcome::Unroutable
                }
            })
            .collect();
        let now = Timestamp::now().as_micros();
        if self.topology.history {
            history::keep(&mut tx, batch, now).await?;
        }
        tx.execute_many(
            "INSERT INTO deliveries (queue, routing_key, body, due_at, times, history) VALUES {}",
            &deliveries,
            |row, (queue, message)| {
                row.bind((*queue).clone())
                    .bind(message.routing_key.clone())
                    .bind(message.body.clone())
                    .bind(now)
                    .bind(0_i64)
                    .bind("{}")
            },
        )
        .await?;
        tx.commit().await?;
        Ok(outcomes)
    }

    pub(crate) fn consume(&self, queue: &str, prefetch: u16) -> Consumer {
        Consumer::start(self.clone(), queue, prefetch)
    }

    /// As [`declare`](Self::declare); refuses a queue that nobody has declared.
    async fn find(&self, queue: &str) -> Result<()> {
        self.declare().await?;
        let bound = "SELECT 1 FROM bindings WHERE queue = $1 LIMIT 1";
        match self.db.read(bound).bind(queue.to_owned()).optional::<(i32,)>().await? {
            Some(_) => Ok(()),
            None => Err(Error::Refused(format!("there is no queue {queue:?}"))),
        }
    }

    pub(crate) async fn depth(&self, queue: &str) -> Result<Depth> {
        self.find(queue).await?;
        let (ready, dead) = self
            .db
            .read(
                "SELECT (SELECT count(*) FROM deliveries WHERE queue = $1 AND due_at <= $2),
                        (SELECT count(*) FROM dead_letters WHERE queue = $1)",
            )
            .bind(queue.to_owned())
            .bind(Timestamp::now().as_micros())
            .one::<(i64, i64)>()
            .await?;
        Ok(Depth { ready: ready.cast_unsigned(), dead: dead.cast_unsigned() })
    }

    pub(crate) async fn erase(&self) -> Result<()> {
        self.declare().await?;
        let mut tx = self.db.begin().await?;
        tx.may_take(LONGEST).await?;
        tx.query("DELETE FROM deliveries").execute().await?;
        tx.query("DELETE FROM dead_letters").execute().await?;
        tx.query("DELETE FROM history").execute().await?;
        Ok(tx.commit().await?)
    }

    pub(crate) async fn close(&self) {
        self.db.close().await;
    }

    /// Leases up to `limit` due deliveries. One that was delivered too often becomes a dead letter instead.
    async fn lease(&self, queue: &str, limit: usize) -> Result<Vec<Leased>> {
        self.declare().await?;
        // Looking costs a reader nothing, leasing takes the writer.
        let due = "SELECT seq FROM deliveries WHERE queue = $1 AND due_at <= $2 LIMIT 1";
        let any = self.db.read(due).bind(queue.to_owned()).bind(Timestamp::now().as_micros());
        if any.optional::<(i64,)>().await?.is_none() {
            return Ok(Vec::new());
        }
        let mut tx = self.db.begin().await?;
        // Only now: waiting for the writer may have taken longer than a lease lasts.
        let now = Timestamp::now();
        let mut rows = tx
            .query(
                // Materialized: PostgreSQL may run a subselect again for each row, and lock more than the limit.
                "WITH due AS MATERIALIZED (
                     SELECT seq FROM deliveries WHERE queue = $2 AND due_at <= $3 ORDER BY due_at, seq LIMIT $4
                     FOR UPDATE SKIP LOCKED)
                 UPDATE deliveries SET due_at = $1, times = times + 1, lease = lease + 1
                 WHERE seq IN (SELECT seq FROM due)
                 RETURNING seq, lease, routing_key, body, times, history",
            )
            .bind((now + LEASE).as_micros())
            .bind(queue.to_owned())
            .bind(now.as_micros())
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .all::<(i64, i64, String, Vec<u8>, i64, String)>()
            .await?;
        rows.sort_unstable_by_key(|row| row.0);
        let (killers, others): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| row.4 > i64::from(crate::DELIVERY_LIMIT));
        let dying: Vec<_> = killers
            .iter()
            .map(|(seq, lease, routing_key, body, _, history)| {
                let history = from_json(history).unanswered(now);
                Dying { seq: *seq, lease: *lease, routing_key, body, history }
            })
            .collect();
        bury(&mut tx, queue, &dying).await?;
        tx.commit().await?;
        let leased = others.into_iter().map(|(seq, lease, routing_key, body, _, history)| {
            let history = from_json(&history);
            Leased { seq, lease, routing_key, body, history }
        });
        Ok(leased.collect())
    }

    /// Makes due what could not be due so late: the clock has been set back since, and it would wait until the clock is there again.
    /// A message that was never delivered is due at once, a lease lasts for [`LEASE`], and a retry for its delay.
    async fn rescue(&self, queue: &str) -> Result<()> {
        self.declare().await?;
        macro_rules! late {
            () => {
                "queue = $1 AND due_at > $2 AND (times > 0 OR lease = 0 OR due_at > $3)"
            };
        }
        let now = Timestamp::now();
        // Twice, since another machine's clock may be ahead.
        let leased = (now + LEASE * 2).as_micros();
        let longest = self.topology.retry_delays.iter().max().copied().unwrap_or_default();
        let retried = (now + longest.mul_f64(1.0 + JITTER) + LEASE * 2).as_micros();
        // Looking costs a reader nothing, changing takes the writer.
        let any = self.db.read(concat!("SELECT 1 FROM deliveries WHERE ", late!(), " LIMIT 1"));
        let any = any.bind(queue.to_owned()).bind(leased).bind(retried);
        if any.optional::<(i32,)>().await?.is_none() {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        let rescued = tx
            .query(concat!("UPDATE deliveries SET due_at = $4 WHERE ", late!()))
            .bind(queue.to_owned())
            .bind(leased)
            .bind(retried)
            .bind(now.as_micros())
            .execute()
            .await?;
        tx.commit().await?;
        tracing::warn!(
            queue,
            rescued,
            "the clock was set back; messages that would have waited for it are due"
        );
        Ok(())
    }

    /// Keeps deliveries, each with its lease, away from other consumers for another while.
    async fn renew(&self, in_flight: &[(i64, i64)]) -> Result<()> {
        if in_flight.is_empty() {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        let until = (Timestamp::now() + LEASE).as_micros();
        tx.execute_many(
            "WITH leases (seq, lease, until) AS (VALUES {})
             UPDATE deliveries SET due_at = leases.until FROM leases
             WHERE deliveries.seq = leases.seq AND deliveries.lease = leases.lease",
            in_flight,
            |row, (seq, lease)| row.bind(*seq).bind(*lease).bind(until),
        )
        .await?;
        Ok(tx.commit().await?)
    }

    /// Settles deliveries, as far as their leases are the last. When one is settled twice, what keeps it comes first: a retry
    /// makes the lease invalid, and acks are the last.
    async fn settle(&self, settlements: &[Settlement], queue: &str) -> Result<()> {
        let mut tx = self.db.begin().await?;
        let now = Timestamp::now();
        let mut done = Vec::new();
        let mut dying = Vec::new();
        for Settlement { seq, lease, delivery, verdict } in settlements {
            match verdict {
                Verdict::Ack => done.push((*seq, *lease)),
                Verdict::Retry { after, history } => {
                    let stretch = 1.0 + rand::rng().random_range(0.0..JITTER);
                    tx.query(
                        "UPDATE deliveries SET due_at = $1, times = 0, lease = lease + 1, history = $2
                         WHERE seq = $3 AND lease = $4",
                    )
                    .bind((now + after.mul_f64(stretch)).as_micros())
                    .bind(to_json(history))
                    .bind(*seq)
                    .bind(*lease)
                    .execute()
                    .await?;
                }
                Verdict::Dead { history } => dying.push(Dying {
                    seq: *seq,
                    lease: *lease,
                    routing_key: &delivery.routing_key,
                    body: &delivery.body,
                    history: history.clone(),
                }),
            }
        }
        bury(&mut tx, queue, &dying).await?;
        tx.execute_many(
            // The first condition is for SQLite, which finds no row by a pair.
            "WITH done (seq, lease) AS (VALUES {})
             DELETE FROM deliveries WHERE seq IN (SELECT seq FROM done)
                 AND (seq, lease) IN (SELECT seq, lease FROM done)",
            &done,
            |row, (seq, lease)| row.bind(*seq).bind(*lease),
        )
        .await?;
        Ok(tx.commit().await?)
    }
}

/// A row that was leased.
struct Leased {
    seq: i64,
    lease: i64,
    routing_key: String,
    body: Vec<u8>,
    history: History,
}

/// A delivery, its lease, and what becomes of it.
struct Settlement {
    seq: i64,
    lease: i64,
    delivery: Delivery,
    verdict: Verdict,
}

fn from_json(history: &str) -> History {
    serde_json::from_str(history).unwrap_or_default()
}

fn to_json(history: &History) -> String {
    serde_json::to_string(history).unwrap_or_else(|_| "{}".to_owned())
}
