//! Every SQL statement of the service. It keeps no mail addresses, only their hashes.

use std::time::Duration;

use ::store::{Db, Result, Tx};
use contracts::{OrderId, OrderPlaced, Timestamp};
use sha2::{Digest as _, Sha256};

/// How far back a customer's orders count.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An order with its score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scored {
    /// The order.
    pub order_id: OrderId,
    /// Who ordered: see [`customer`].
    pub customer: Vec<u8>,
    /// How much it looks like fraud.
    pub score: u32,
    /// Why, separated by commas.
    pub reasons: String,
    /// Whether it was announced.
    pub flagged: bool,
    /// When it was placed.
    pub placed_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct ScoredRow {
    order_id: OrderId,
    customer: Vec<u8>,
    score: i64,
    reasons: String,
    flagged: i64,
    placed_at: i64,
}

impl From<ScoredRow> for Scored {
    fn from(row: ScoredRow) -> Self {
        Self {
            order_id: row.order_id,
            customer: row.customer,
            score: u32::try_from(row.score).unwrap_or(u32::MAX),
            reasons: row.reasons,
            flagged: row.flagged != 0,
            placed_at: Timestamp::from_micros(row.placed_at),
        }
    }
}

/// What stands for a customer: the SHA-256 of their address, without regard to capitals.
#[must_use]
pub fn customer(email: &str) -> Vec<u8> {
    Sha256::digest(email.trim().to_lowercase()).to_vec()
}

/// How many other orders a customer placed in the day up to this one.
///
/// # Errors
/// When the database is away.
pub async fn orders_before(tx: &mut Tx, customer: &[u8], order: &OrderPlaced) -> Result<u32> {
    let placed_at = order.placed_at.as_micros();
    let day = i64::try_from(DAY.as_micros()).unwrap_or(i64::MAX);
    let (count,) = tx
        .query(
            "SELECT count(*) FROM scores
             WHERE customer = $1 AND placed_at > $2 AND placed_at <= $3 AND order_id <> $4",
        )
        .bind(customer.to_vec())
        .bind(placed_at - day)
        .bind(placed_at)
        .bind(order.order_id)
        .one::<(i64,)>()
        .await?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Writes an order's score; whether it had none yet.
///
/// # Errors
/// When the database is away.
pub async fn add(tx: &mut Tx, scored: &Scored) -> Result<bool> {
    let added = tx
        .query(
            "INSERT INTO scores (order_id, customer, score, reasons, flagged, placed_at)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (order_id) DO NOTHING",
        )
        .bind(scored.order_id)
        .bind(scored.customer.clone())
        .bind(i64::from(scored.score))
        .bind(scored.reasons.clone())
        .bind(i64::from(scored.flagged))
        .bind(scored.placed_at.as_micros())
        .execute()
        .await?;
    Ok(added > 0)
}

/// The score of an order; none when it is not known here (yet).
///
/// # Errors
/// When the database is away.
pub async fn find(db: &Db, order_id: OrderId) -> Result<Option<Scored>> {
    let row = db
        .read(
            "SELECT order_id, customer, score, reasons, flagged, placed_at FROM scores
             WHERE order_id = $1",
        )
        .bind(order_id)
        .optional::<ScoredRow>()
        .await?;
    Ok(row.map(Scored::from))
}

/// The orders that were flagged, the latest first, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn flagged(db: &Db, limit: u32) -> Result<Vec<Scored>> {
    let rows = db
        .read(
            "SELECT order_id, customer, score, reasons, flagged, placed_at FROM scores
             WHERE flagged = 1 ORDER BY placed_at DESC LIMIT $1",
        )
        .bind(i64::from(limit))
        .all::<ScoredRow>()
        .await?;
    Ok(rows.into_iter().map(Scored::from).collect())
}
