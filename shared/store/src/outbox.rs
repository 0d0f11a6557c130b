//! The outbox: messages committed together with the change that they announce, not yet confirmed by the
//! broker.

use std::time::Duration;

use contracts::{Exchange, Timestamp};

use crate::{Db, Error, Result, Tx};

/// How long a relay may take for the rows that it has leased, before another may take them.
const LEASE: Duration = Duration::from_secs(30);
/// Rows that are reclaimed at a time at most, so that many unroutable ones don't hold up the others for long.
const RECLAIMED: i64 = 1_024;

/// A message on its way into the outbox.
pub(crate) struct Outgoing {
    pub(crate) exchange: Exchange,
    pub(crate) routing_key: &'static str,
    pub(crate) body: Vec<u8>,
    pub(crate) created_at: Timestamp,
}

/// A row that this relay may send: nobody else does until the lease ends.
#[derive(Debug, Clone)]
pub struct Leased {
    /// The row's key, never used twice.
    pub seq: i64,
    /// Whether it is an event or a command.
    pub exchange: Exchange,
    /// What subscribers bind to, or the command's owner.
    pub routing_key: String,
    /// The envelope's bytes.
    pub body: Vec<u8>,
    /// When the message was created.
    pub created_at: Timestamp,
}

/// What a relay got.
#[derive(Debug, Default)]
pub struct Lease {
    /// The rows that it may send, the oldest first.
    pub rows: Vec<Leased>,
    /// Rows that this program can't read, by their keys, and why. They are leased too, and come again when the lease has ended.
    pub unreadable: Vec<(i64, Error)>,
}

/// What waits in an outbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Rows, leased or not.
    pub rows: u64,
    /// When the oldest was created; none when there is none.
    pub oldest: Option<Timestamp>,
}

pub(crate) async fn insert(tx: &mut Tx, messages: &[Outgoing]) -> Result<()> {
    tx.execute_many(
        "INSERT INTO outbox (exchange, routing_key, body, created_at, leased_until) VALUES {}",
        messages,
        |row, message| {
            row.bind(message.exchange.name())
                .bind(message.routing_key)
                .bind(message.body.clone())
                .bind(message.created_at.as_micros())
                .bind(0_i64)
        },
    )
    .await
    .map(drop)
}

impl Db {
    /// Leases up to `limit` rows, the oldest first.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn lease_outbox(&self, limit: usize) -> Result<Lease> {
        let mut rows = self
            .write(
                // Materialized: PostgreSQL may run a subselect again for each row, and lock more than the limit.
                "WITH due AS MATERIALIZED (
                     SELECT seq FROM outbox WHERE leased_until = 0 ORDER BY seq LIMIT $2 FOR UPDATE SKIP LOCKED)
                 UPDATE outbox SET leased_until = $1 WHERE seq IN (SELECT seq FROM due)
                 RETURNING seq, exchange, routing_key, body, created_at",
            )
            .bind((Timestamp::now() + LEASE).as_micros())
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .all::<(i64, String, String, Vec<u8>, i64)>()
            .await?;
        rows.sort_unstable_by_key(|row| row.0);
        let mut lease = Lease::default();
        for (seq, exchange, routing_key, body, created_at) in rows {
            let Some(exchange) = Exchange::named(&exchange) else {
                let error = Error::Value(format!("{exchange:?} is no exchange"));
                lease.unreadable.push((seq, error));
                continue;
            };
            let created_at = Timestamp::from_micros(created_at);
            lease.rows.push(Leased { seq, exchange, routing_key, body, created_at });
        }
        Ok(lease)
    }

    /// Frees rows whose leases have ended, the longest ended first: those of a relay that died, and those that could not be sent. A
    /// lease that ends later than any could is of a clock that has been set back since, and has ended too.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn reclaim_outbox(&self) -> Result<u64> {
        let now = Timestamp::now();
        // Looking costs a reader little, and finds both ends by the index; freeing takes the writer.
        let ended = self
            .read(
                "SELECT 1 WHERE EXISTS (SELECT 1 FROM outbox WHERE leased_until > 0 AND leased_until <= $1)
                     OR EXISTS (SELECT 1 FROM outbox WHERE leased_until > 0 AND leased_until > $2)",
            )
            .bind(now.as_micros())
            .bind((now + LEASE * 2).as_micros())
            .optional::<(i32,)>()
            .await?;
        if ended.is_none() {
            return Ok(0);
        }
        self.write(
            "WITH ended AS MATERIALIZED (
                 SELECT seq FROM outbox WHERE leased_until > 0 AND (leased_until <= $1 OR leased_until > $2)
                 ORDER BY leased_until LIMIT $3 FOR UPDATE SKIP LOCKED)
             UPDATE outbox SET leased_until = 0 WHERE seq IN (SELECT seq FROM ended)",
        )
        .bind(now.as_micros())
        // Twice, since another machine's clock may be ahead.
        .bind((now + LEASE * 2).as_micros())
        .bind(RECLAIMED)
        .execute()
        .await
    }

    /// Ends leases: the `sent` rows go, the `unsent` ones are free again.
    ///
    /// # Errors
    /// When the database is unavailable; the leases then end by themselves, and what was sent is sent again.
    pub async fn settle_outbox(&self, sent: &[i64], unsent: &[i64]) -> Result<()> {
        let mut tx = self.begin().await?;
        tx.execute_many("DELETE FROM outbox WHERE seq IN (VALUES {})", sent, |row, seq| {
            row.bind(*seq)
        })
        .await?;
        tx.execute_many(
            "UPDATE outbox SET leased_until = 0 WHERE seq IN (VALUES {})",
            unsent,
            |row, seq| row.bind(*seq),
        )
        .await?;
        tx.commit().await
    }

    /// Waits until a transaction of this process has put something into the outbox.
    pub async fn outbox_filled(&self) {
        self.outbox_filled.notified().await;
    }

    /// What waits in the outbox.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn outbox_backlog(&self) -> Result<Backlog> {
        let (rows, oldest) = self
            .read(
                "SELECT (SELECT count(*) FROM outbox),
                        (SELECT created_at FROM outbox ORDER BY seq LIMIT 1)",
            )
            .one::<(i64, Option<i64>)>()
            .await?;
        Ok(Backlog {
            rows: u64::try_from(rows).unwrap_or(0),
            oldest: oldest.map(Timestamp::from_micros),
        })
    }
}
