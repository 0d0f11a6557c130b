//! The statements about steps: what the order service has had others do.

use std::collections::HashSet;

use contracts::{OrderId, Timestamp};
use store::{Db, Error, Result, Tx};

use super::{Due, Found};
use crate::machine::Step;

/// A step that is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) order_id: OrderId,
    pub(crate) step: Step,
    /// The requests that this adds: none yet, or one.
    pub(crate) attempts: u32,
    pub(crate) at: Timestamp,
    /// When it is asked for again, or given up; none where that is left to an operator.
    pub(crate) due_at: Option<Timestamp>,
    /// Why an operator should look at it, if one should.
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

/// What becomes of a step.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Asked(Asked),
    Answered(Answered),
}

impl Change {
    const fn key(&self) -> (OrderId, Step) {
        match self {
            Self::Asked(asked) => (asked.order_id, asked.step),
            Self::Answered(answered) => (answered.order_id, answered.step),
        }
    }
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

/// Writes what becomes of steps, in this order; the steps that it has ended.
///
/// All steps are written together, except that a step is not changed twice in one statement.
pub(crate) async fn change(tx: &mut Tx, changes: &[Change]) -> Result<Found<Kept>> {
    let mut ended = Found { read: Vec::new(), unreadable: Vec::new() };
    let mut rest = changes;
    while !rest.is_empty() {
        let mut seen = HashSet::new();
        let until = rest.iter().position(|change| !seen.insert(change.key()));
        let (round, later) = rest.split_at(until.unwrap_or(rest.len()));
        rest = later;
        let (mut asked, mut answered) = (Vec::new(), Vec::new());
        for change in round {
            match change {
                Change::Asked(step) => asked.push(step),
                Change::Answered(step) => answered.push(step),
            }
        }
        ask(tx, &asked).await?;
        let answered = answer(tx, &answered).await?;
        ended.read.extend(answered.read);
        ended.unreadable.extend(answered.unreadable);
    }
    Ok(ended)
}

/// Writes steps that are asked for; one with an error is parked at once, and one that was answered before begins again.
pub(crate) async fn ask(tx: &mut Tx, steps: &[&Asked]) -> Result<()> {
    tx.execute_many(
        "INSERT INTO steps (order_id, step, attempt, asked_at, due_at, parked_at, error) VALUES {}
         ON CONFLICT (order_id, step) DO UPDATE
         SET parked_at = COALESCE(CASE WHEN steps.answered_at IS NULL THEN steps.parked_at END, excluded.parked_at),
             attempt = excluded.attempt + CASE WHEN steps.answered_at IS NULL THEN steps.attempt ELSE 0 END,
             asked_at = CASE WHEN steps.answered_at IS NULL THEN steps.asked_at ELSE excluded.asked_at END,
             due_at = COALESCE(excluded.due_at, steps.due_at), error = excluded.error,
             answer = NULL, answered_at = NULL",
        steps,
        |row, step| {
            row.bind(step.order_id)
                .bind(step.step.as_str())
                .bind(i64::from(step.attempts))
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
async fn answer(tx: &mut Tx, steps: &[&Answered]) -> Result<Found<Kept>> {
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
    Ok(Found::of(rows, |row| row.order_id))
}

/// Up to `limit` steps that were due at `now`, those after `after` by that time and their orders: a look that takes no writer. What
/// undoes something is asked for again without harm, so one that is due later than `latest` is due too: the clock has been set back
/// since.
pub(crate) async fn due(
    db: &Db,
    now: Timestamp,
    latest: Timestamp,
    after: Due,
    limit: i64,
) -> Result<Vec<Due>> {
    db.read(
        // Two ranges of the index: with an OR all that wait would be read.
        "SELECT due_at, order_id FROM (
             SELECT due_at, order_id FROM steps WHERE due_at <= $1
             UNION ALL
             SELECT due_at, order_id FROM steps
             WHERE due_at > $2 AND step IN ('refund_payment', 'release_stock', 'ship_stock')) AS due
         WHERE (due_at, order_id) > ($3, $4) ORDER BY due_at, order_id LIMIT $5",
    )
    .bind(now.as_micros())
    .bind(latest.as_micros())
    .bind(after.0)
    .bind(after.1)
    .bind(limit)
    .all()
    .await
}

/// The steps of locked orders.
pub(crate) async fn of_orders(tx: &mut Tx, orders: &[OrderId]) -> Result<Found<Kept>> {
    let rows = tx
        .fetch_many::<_, StepRow>(
            concat!("SELECT ", columns!(), " FROM steps WHERE order_id IN (VALUES {})"),
            orders,
            |row, order| row.bind(*order),
        )
        .await?;
    Ok(Found::of(rows, |row| row.order_id))
}

/// Notes that open steps were asked for once more, and when that is due again.
pub(crate) async fn ask_again(tx: &mut Tx, steps: &[Kept]) -> Result<()> {
    tx.execute_many(
        "UPDATE steps SET attempt = v.column3, due_at = v.column4, parked_at = v.column5, error = v.column6
         FROM (VALUES {}) AS v
         WHERE steps.order_id = v.column1 AND steps.step = v.column2 AND steps.answered_at IS NULL",
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

/// Notes why the last call for an open step has failed, and, with `parked_at`, that an operator should look at it.
pub(crate) async fn failed(
    tx: &mut Tx,
    order_id: OrderId,
    step: Step,
    error: &str,
    parked_at: Option<Timestamp>,
) -> Result<()> {
    tx.query(
        "UPDATE steps SET error = $1, parked_at = COALESCE(parked_at, $2)
         WHERE order_id = $3 AND step = $4 AND answered_at IS NULL",
    )
    .bind(error.to_owned())
    .bind(parked_at.map(Timestamp::as_micros))
    .bind(order_id)
    .bind(step.as_str())
    .execute()
    .await
    .map(drop)
}

/// The steps of an order, the first one first.
pub(crate) async fn of_order(db: &Db, id: OrderId) -> Result<Found<Kept>> {
    let rows = db
        .read(concat!(
            "SELECT ",
            columns!(),
            " FROM steps WHERE order_id = $1 ORDER BY asked_at, step"
        ))
        .bind(id)
        .all::<StepRow>()
        .await?;
    Ok(Found::of(rows, |row| row.order_id))
}

/// The steps that an operator should look at, the oldest first, at most `limit`.
pub(crate) async fn parked(db: &Db, limit: u32) -> Result<Found<Kept>> {
    let rows = db
        .read(concat!(
            "SELECT ",
            columns!(),
            " FROM steps WHERE parked_at IS NOT NULL AND answered_at IS NULL ORDER BY parked_at LIMIT $1"
        ))
        .bind(i64::from(limit))
        .all::<StepRow>()
        .await?;
    Ok(Found::of(rows, |row| row.order_id))
}

/// The steps that wait for an answer and that nobody needs to look at, the oldest first, at most `limit`.
pub(crate) async fn waiting(db: &Db, limit: u32) -> Result<Found<Kept>> {
    let rows = db
        .read(concat!(
            "SELECT ",
            columns!(),
            " FROM steps WHERE answered_at IS NULL AND parked_at IS NULL ORDER BY asked_at LIMIT $1"
        ))
        .bind(i64::from(limit))
        .all::<StepRow>()
        .await?;
    Ok(Found::of(rows, |row| row.order_id))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fixtures;

    const NOW: Timestamp = Timestamp::from_micros(1_795_000_000_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    fn asked(step: Step, due_at: Timestamp) -> Asked {
        let order_id = OrderId::now_v7();
        Asked { order_id, step, attempts: 1, at: NOW, due_at: Some(due_at), error: None }
    }

    #[tokio::test]
    async fn what_a_clock_that_was_set_back_has_put_off_is_due_if_it_undoes_something() {
        for (database, db) in fixtures::databases().await {
            let in_an_hour = NOW + MINUTE * 60;
            let steps = [
                asked(Step::RefundPayment, NOW),
                asked(Step::RefundPayment, NOW + MINUTE),
                asked(Step::ReleaseStock, in_an_hour),
                // Giving this up early could cancel an order that is on its way.
                asked(Step::ChargeCard, in_an_hour),
            ];
            let mut tx = db.begin().await.unwrap();
            ask(&mut tx, &steps.each_ref()).await.unwrap();
            tx.commit().await.unwrap();
            let latest = NOW + MINUTE * 2;
            let due = due(&db, NOW, latest, crate::store::FIRST, 10).await.unwrap();
            let due: Vec<OrderId> = due.into_iter().map(|(_, order_id)| order_id).collect();
            assert_eq!(due, [steps[0].order_id, steps[2].order_id], "{}", database.url);
        }
    }
}
