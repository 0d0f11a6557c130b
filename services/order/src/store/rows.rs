//! An order as a row.

use contracts::{Money, OrderId, Timestamp};
use store::{Error, RowValues};

use crate::{
    machine::{Payment, State, Status, Stock},
    order::{Order, coordination},
};

/// The columns of `orders`, in the order of [`OrderRow`] and [`bind`].
macro_rules! columns {
    () => {
        "order_id, coordination, status, reason, payment, stock, customer, lines, amount, currency, coupon, \
         card_token, placed_at, deadline_at, settled_at, resolution, traceparent"
    };
}
pub(super) use columns;

pub(super) const COLUMNS: &str = columns!();

#[derive(sqlx::FromRow)]
pub(super) struct OrderRow {
    pub(super) order_id: OrderId,
    coordination: String,
    status: String,
    reason: Option<String>,
    payment: String,
    stock: String,
    customer: String,
    lines: String,
    amount: i64,
    currency: String,
    coupon: Option<String>,
    card_token: Option<String>,
    placed_at: i64,
    deadline_at: i64,
    settled_at: Option<i64>,
    resolution: Option<String>,
    traceparent: Option<String>,
}

pub(super) fn bind<'v>(row: RowValues<'v>, order: &Order) -> RowValues<'v> {
    row.bind(order.id)
        .bind(order.state.coordination.as_str())
        .bind(order.state.status.as_str())
        .bind(order.state.status.reason().map(contracts::Cancellation::as_str))
        .bind(order.state.payment.as_str())
        .bind(order.state.stock.as_str())
        .bind(json(&order.customer))
        .bind(json(&order.lines))
        .bind(order.total.amount)
        .bind(order.total.currency.clone())
        .bind(order.coupon.clone())
        .bind(order.card_token.clone())
        .bind(order.placed_at.as_micros())
        .bind(order.deadline_at.as_micros())
        .bind(order.settled_at.map(Timestamp::as_micros))
        .bind(order.resolution.clone())
        .bind(order.traceparent.clone())
}

/// Strings and numbers always have a JSON form.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

impl TryFrom<OrderRow> for Order {
    type Error = Error;

    fn try_from(row: OrderRow) -> Result<Self, Error> {
        let unknown = |column: &str, value: &str| {
            Error::Value(format!("the {column} of order {} is {value:?}", row.order_id))
        };
        let state = State {
            coordination: coordination(&row.coordination)
                .ok_or_else(|| unknown("coordination", &row.coordination))?,
            status: Status::parse(&row.status, row.reason.as_deref())
                .ok_or_else(|| unknown("status", &row.status))?,
            payment: Payment::parse(&row.payment)
                .ok_or_else(|| unknown("payment", &row.payment))?,
            stock: Stock::parse(&row.stock).ok_or_else(|| unknown("stock", &row.stock))?,
        };
        Ok(Self {
            id: row.order_id,
            state,
            customer: serde_json::from_str(&row.customer)?,
            lines: serde_json::from_str(&row.lines)?,
            total: Money { amount: row.amount, currency: row.currency },
            coupon: row.coupon,
            card_token: row.card_token,
            placed_at: Timestamp::from_micros(row.placed_at),
            deadline_at: Timestamp::from_micros(row.deadline_at),
            settled_at: row.settled_at.map(Timestamp::from_micros),
            resolution: row.resolution,
            traceparent: row.traceparent,
        })
    }
}
