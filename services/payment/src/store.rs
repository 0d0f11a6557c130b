//! Every SQL statement of the service. The transaction is the caller's.

use std::{collections::HashSet, time::Duration};

use contracts::{Cause, Money, OrderId, Timestamp};
use sqlx::migrate::Migrator;
use store::{Db, Error, Result, RowValues, Tx};
use uuid::Uuid;

use crate::payment::{Payment, State};

static POSTGRES: Migrator = sqlx::migrate!("./migrations/postgres");
static SQLITE: Migrator = sqlx::migrate!("./migrations/sqlite");

/// The service's tables, for both engines.
pub const MIGRATIONS: runtime::Migrations =
    runtime::Migrations { postgres: &POSTGRES, sqlite: &SQLITE };

/// The columns of a payment, in the order in which [`values`] binds them and [`PaymentRow`] reads them.
macro_rules! columns {
    () => {
        "order_id, state, amount, currency, charge_key, charge_id, decline_reason, failed_reversals, \
         due_at, cause_id, cause_traceparent, created_at, updated_at"
    };
}

/// A payment as the tables hold it.
#[derive(Debug, sqlx::FromRow)]
struct PaymentRow {
    order_id: Uuid,
    state: String,
    amount: i64,
    currency: String,
    charge_key: Option<Uuid>,
    charge_id: Option<String>,
    decline_reason: Option<String>,
    failed_reversals: i64,
    due_at: Option<i64>,
    cause_id: Option<Uuid>,
    cause_traceparent: Option<String>,
    created_at: i64,
    updated_at: i64,
}

impl TryFrom<PaymentRow> for Payment {
    type Error = Error;

    fn try_from(row: PaymentRow) -> Result<Self> {
        Ok(Self {
            order_id: row.order_id,
            state: match read_state(&row.state)? {
                // A cancellation has a message for its cause.
                State::Voided if row.charge_key.is_none() && row.cause_id.is_none() => {
                    State::Barred
                }
                state => state,
            },
            amount: Money { amount: row.amount, currency: row.currency },
            charge_key: row.charge_key,
            charge_id: row.charge_id,
            decline_reason: row.decline_reason,
            failed_reversals: u32::try_from(row.failed_reversals)
                .map_err(|error| Error::Value(error.to_string()))?,
            due_at: row.due_at.map(Timestamp::from_micros),
            cause: Cause { message: row.cause_id, traceparent: row.cause_traceparent },
            created_at: Timestamp::from_micros(row.created_at),
            updated_at: Timestamp::from_micros(row.updated_at),
        })
    }
}

const fn write_state(state: State) -> &'static str {
    match state {
        State::Pending => "pending",
        State::Taken => "taken",
        State::Declined => "declined",
        // One that is barred has no message for its cause. To an older program, it is voided.
        State::Voided | State::Barred => "voided",
        State::Reversing => "reversing",
        State::Refunded => "refunded",
    }
}

fn read_state(text: &str) -> Result<State> {
    Ok(match text {
        "pending" => State::Pending,
        "taken" => State::Taken,
        "declined" => State::Declined,
        "voided" => State::Voided,
        "reversing" => State::Reversing,
        "refunded" => State::Refunded,
        other => return Err(Error::Value(format!("{other:?} is no state of a payment"))),
    })
}

fn values<'v>(row: RowValues<'v>, payment: &Payment) -> RowValues<'v> {
    row.bind(payment.order_id)
        .bind(write_state(payment.state))
        .bind(payment.amount.amount)
        .bind(payment.amount.currency.clone())
        .bind(payment.charge_key)
        .bind(payment.charge_id.clone())
        .bind(payment.decline_reason.clone())
        .bind(i64::from(payment.failed_reversals))
        .bind(payment.due_at.map(Timestamp::as_micros))
        .bind(payment.cause.message)
        .bind(payment.cause.traceparent.clone())
        .bind(payment.created_at.as_micros())
        .bind(payment.updated_at.as_micros())
}

fn read(rows: Vec<PaymentRow>) -> Result<Vec<Payment>> {
    rows.into_iter().map(Payment::try_from).collect()
}

/// A payment, or that of which order can't be read, and why.
pub type Readable = Result<Payment, (OrderId, Error)>;

fn each(rows: Vec<PaymentRow>) -> Vec<Readable> {
    let read = |row: PaymentRow| {
        let order_id = row.order_id;
        Payment::try_from(row).map_err(|error| (order_id, error))
    };
    rows.into_iter().map(read).collect()
}

/// Writes the payments of orders that have none yet; which orders these are. The others keep theirs. Give them in the
/// order of their order ids: two transactions that insert in different orders could wait for each other.
///
/// # Errors
/// When the database is unavailable.
pub async fn create(tx: &mut Tx, payments: &[Payment]) -> Result<HashSet<OrderId>> {
    let created = tx
        .fetch_many::<_, (Uuid,)>(
            concat!(
                "INSERT INTO payments (",
                columns!(),
                ") VALUES {} ON CONFLICT (order_id) DO NOTHING RETURNING order_id"
            ),
            payments,
            values,
        )
        .await?;
    Ok(created.into_iter().map(|(order_id,)| order_id).collect())
}

/// The payments of these orders, locked until the transaction ends. Give the ids in their order, for the same reason as
/// [`create`].
///
/// # Errors
/// When the database is unavailable, or a row can't be read.
pub async fn lock(tx: &mut Tx, order_ids: &[OrderId]) -> Result<Vec<Payment>> {
    let rows = tx
        .fetch_many::<_, PaymentRow>(
            concat!(
                "SELECT ",
                columns!(),
                " FROM payments WHERE order_id IN ({}) ORDER BY order_id FOR UPDATE"
            ),
            order_ids,
            |row, order_id| row.bind(*order_id),
        )
        .await?;
    read(rows)
}

/// Writes payments that exist, and that this transaction has locked.
///
/// # Errors
/// When the database is unavailable.
pub async fn save(tx: &mut Tx, payments: &[Payment]) -> Result<()> {
    tx.execute_many(
        concat!(
            "INSERT INTO payments (",
            columns!(),
            ") VALUES {} ON CONFLICT (order_id) DO UPDATE SET state = excluded.state, charge_id = excluded.charge_id,
                 decline_reason = excluded.decline_reason, failed_reversals = excluded.failed_reversals,
                 due_at = excluded.due_at, cause_id = excluded.cause_id,
                 cause_traceparent = excluded.cause_traceparent, updated_at = excluded.updated_at"
        ),
        payments,
        values,
    )
    .await
    .map(drop)
}

/// Takes up to `limit` payments that are due to be undone, the longest due first, and puts them off by `lease`, so that no other
/// replica takes them meanwhile, and one will if this process dies. One that can't be read is put off too, and costs none of the
/// others. One that is due later than `latest` could make it is of a clock that has been set back since, and is due too.
///
/// Materialized, so that the rows are chosen once: a join could choose again, and lock more than `limit`.
///
/// # Errors
/// When the database is unavailable.
pub async fn claim_due(
    tx: &mut Tx,
    now: Timestamp,
    latest: Timestamp,
    lease: Duration,
    limit: usize,
) -> Result<Vec<Readable>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = tx
        .query(concat!(
            "WITH due AS MATERIALIZED (
                 SELECT order_id FROM payments WHERE due_at <= $2 OR due_at > $3
                 ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED)
             UPDATE payments SET due_at = $1 WHERE order_id IN (SELECT order_id FROM due)
             RETURNING ",
            columns!()
        ))
        .bind((now + lease).as_micros())
        .bind(now.as_micros())
        .bind(latest.as_micros())
        .bind(limit)
        .all::<PaymentRow>()
        .await?;
    Ok(each(rows))
}

/// What must still be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Whether anything is due.
    pub due: bool,
    /// How many have failed at least as often as was asked for.
    pub failing: u64,
}

/// What must still be undone; `failing` counts what has failed `failures` times or more. What is due: see [`claim_due`].
///
/// # Errors
/// When the database is unavailable.
pub async fn backlog(db: &Db, now: Timestamp, latest: Timestamp, failures: u32) -> Result<Backlog> {
    let (due, failing) = db
        .read(
            "SELECT count(CASE WHEN due_at <= $1 OR due_at > $2 THEN 1 END),
                    count(CASE WHEN failed_reversals >= $3 THEN 1 END)
             FROM payments WHERE due_at IS NOT NULL",
        )
        .bind(now.as_micros())
        .bind(latest.as_micros())
        .bind(i64::from(failures))
        .one::<(i64, i64)>()
        .await?;
    Ok(Backlog { due: due > 0, failing: u64::try_from(failing).unwrap_or(0) })
}

/// The payments that must still be undone, those that failed most often first, at most `limit`.
///
/// # Errors
/// When the database is unavailable.
pub async fn reversing(db: &Db, limit: u32) -> Result<Vec<Readable>> {
    let rows = db
        .read(concat!(
            "SELECT ",
            columns!(),
            " FROM payments WHERE due_at IS NOT NULL ORDER BY failed_reversals DESC, due_at LIMIT $1"
        ))
        .bind(i64::from(limit))
        .all::<PaymentRow>()
        .await?;
    Ok(each(rows))
}

/// The payment of an order.
///
/// # Errors
/// When the database is unavailable, or the row can't be read.
pub async fn find(db: &Db, order_id: OrderId) -> Result<Option<Payment>> {
    db.read(concat!("SELECT ", columns!(), " FROM payments WHERE order_id = $1"))
        .bind(order_id)
        .optional::<PaymentRow>()
        .await?
        .map(Payment::try_from)
        .transpose()
}

/// A coupon: its code in capitals, and how many percent it takes off.
///
/// # Errors
/// When the database is unavailable.
pub async fn coupon(db: &Db, code: &str) -> Result<Option<(String, i32)>> {
    db.read("SELECT code, percent_off FROM coupons WHERE code = $1")
        .bind(code.to_owned())
        .optional()
        .await
}
