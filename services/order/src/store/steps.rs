//! The statements about steps: what the order service has had others do.

use contracts::{OrderId, Timestamp};
use store::{Db, Error, Result, Tx};

use crate::machine::Step;

/// A step that is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) order_id: OrderId,
    pub(crate) step: Step,
    pub(crate) at: Timestamp,
    /// When it is asked for again, or given up; none where nobody will.
    pub(crate) due_at: Option<Timestamp>,
    /// Why a person should look at it, if one should.
    pub(crate) error: Option<String>,
}

/// A step that is answered, or given up.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub(crate) order_id: OrderId,
    pub(crate) step: Step,
    pub(crate) answer: String,
    pub(crate) at: Timestamp,
}

/// A step as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) order_id: OrderId,
    pub(crate) step: Step,
    /// How often it was asked for.
    pub(crate) attempt: u32,
    pub(crate) asked_at: Timestamp,
    pub(crate) due_at: Option<Timestamp>,
    pub(crate) parked_at: Option<Timestamp>,
    pub(crate) error: Option<String>,
    pub(crate) answer: Option<String>,
    pub(crate) answered_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct StepRow {
    order_id: OrderId,
    step: String,
    attempt: i64,
    asked_at: i64,
    due_at: Option<i64>,
    parked_at: Option<i64>,
    error: Option<String>,
    answer: Option<String>,
    answered_at: Option<i64>,
}

macro_rules! columns {
    () => {
        "order_id, step, attempt, asked_at, due_at, parked_at, error, answer, answered_at"
    };
}

impl TryFrom<StepRow> for Kept {
    type Error = Error;

    fn try_from(row: StepRow) -> Result<Self> {
        let step = Step::parse(&row.step)
            .ok_or_else(|| Error::Value(format!("{:?} is no step", row.step)))?;
        Ok(Self {
            order_id: row.order_id,
            step,
            attempt: u32::try_from(row.attempt).unwrap_or(u32::MAX),
            asked_at: Timestamp::from_micros(row.asked_at),
            due_at: row.due_at.map(Timestamp::from_micros),
            parked_at: row.parked_at.map(Timestamp::from_micros),
            error: row.error,
            answer: row.answer,
            answered_at: row.answered_at.map(Timestamp::from_micros),
        })
    }
}

fn read(rows: Vec<StepRow>) -> Result<Vec<Kept>> {
    rows.into_iter().map(Kept::try_from).collect()
}

/// Writes steps that are asked for for the first time; one with an error is parked at once.
pub(crate) async fn ask(tx: &mut Tx, steps: &[Asked]) -> Result<()> {
    tx.execute_many(
        "INSERT INTO steps (order_id, step, attempt, asked_at, due_at, parked_at, error) VALUES {}
         ON CONFLICT (order_id, step) DO UPDATE
         SET parked_at = COALESCE(steps.parked_at, excluded.parked_at), error = excluded.error,
             attempt = steps.attempt + 1",
        steps,
        |row, step| {
            row.bind(step.order_id)
                .bind(step.step.as_str())
                .bind(1_i64)
                .bind(step.at.as_micros())
                .bind(step.due_at.map(Timestamp::as_micros))
                .bind(step.error.as_ref().map(|_| step.at.as_micros()))
                .bind(step.error.clone())
        },
    )
    .await
    .map(drop)
}

/// Ends steps that are open, and returns those that were.
pub(crate) async fn answer(tx: &mut Tx, steps: &[Answered]) -> Result<Vec<Kept>> {
    let rows = tx
        .fetch_many::<_, StepRow>(
            concat!(
                "UPDATE steps SET answer = v.column3, answered_at = v.column4, due_at = NULL
                 FROM (VALUES {}) AS v
                 WHERE steps.order_id = v.column1 AND steps.step = v.column2 AND steps.answered_at IS NULL
                 RETURNING ",
                columns!()
            ),
            steps,
            |row, step| {
                row.bind(step.order_id)
                    .bind(step.step.as_str())
                    .bind(step.answer.clone())
                    .bind(step.at.as_micros())
            },
        )
        .await?;
    read(rows)
}

/// The orders that have a step that was due at `now`, up to `limit`: a look that takes no writer.
pub(crate) async fn due_orders(db: &Db, now: Timestamp, limit: i64) -> Result<Vec<OrderId>> {
    let rows = db
        .read("SELECT order_id FROM steps WHERE due_at <= $1 ORDER BY due_at LIMIT $2")
        .bind(now.as_micros())
        .bind(limit)
        .all::<(OrderId,)>()
        .await?;
    Ok(rows.into_iter().map(|(order_id,)| order_id).collect())
}

/// The steps of locked orders.
pub(crate) async fn of_orders(tx: &mut Tx, orders: &[OrderId]) -> Result<Vec<Kept>> {
    let rows = tx
        .fetch_many::<_, StepRow>(
            concat!("SELECT ", columns!(), " FROM steps WHERE order_id IN (VALUES {})"),
            orders,
            |row, order| row.bind(*order),
        )
        .await?;
    read(rows)
}

/// Notes that open steps were asked for once more, and when that is due again.
pub(crate) async fn ask_again(tx: &mut Tx, steps: &[Kept]) -> Result<()> {
    tx.execute_many(
        "UPDATE steps SET attempt = v.column3, due_at = v.column4, parked_at = v.column5, error = v.column6
         FROM (VALUES {}) AS v WHERE steps.order_id = v.column1 AND steps.step = v.column2",
        steps,
        |row, step| {
            row.bind(step.order_id)
                .bind(step.step.as_str())
                .bind(i64::from(step.attempt))
                .bind(step.due_at.map(Timestamp::as_micros))
                .bind(step.parked_at.map(Timestamp::as_micros))
                .bind(step.error.clone())
        },
    )
    .await
    .map(drop)
}

/// The steps of an order, the first one first.
pub(crate) async fn of_order(db: &Db, id: OrderId) -> Result<Vec<Kept>> {
    let rows = db
        .read(concat!(
            "SELECT ",
            columns!(),
            " FROM steps WHERE order_id = $1 ORDER BY asked_at, step"
        ))
        .bind(id)
        .all::<StepRow>()
        .await?;
    read(rows)
}

/// The steps that a person should look at, the oldest first, at most `limit`.
pub(crate) async fn parked(db: &Db, limit: u32) -> Result<Vec<Kept>> {
    let rows = db
        .read(concat!(
            "SELECT ",
            columns!(),
            " FROM steps WHERE parked_at IS NOT NULL AND answered_at IS NULL ORDER BY parked_at LIMIT $1"
        ))
        .bind(i64::from(limit))
        .all::<StepRow>()
        .await?;
    read(rows)
}

/// The steps that wait for an answer and that nobody needs to look at, the oldest first, at most `limit`.
pub(crate) async fn waiting(db: &Db, limit: u32) -> Result<Vec<Kept>> {
    let rows = db
        .read(concat!(
            "SELECT ",
            columns!(),
            " FROM steps WHERE answered_at IS NULL AND parked_at IS NULL ORDER BY asked_at LIMIT $1"
        ))
        .bind(i64::from(limit))
        .all::<StepRow>()
        .await?;
    read(rows)
}

/// How many steps a person should look at.
pub(crate) async fn count_parked(db: &Db) -> Result<u64> {
    let (count,) = db
        .read("SELECT count(*) FROM steps WHERE parked_at IS NOT NULL AND answered_at IS NULL")
        .one::<(i64,)>()
        .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}
