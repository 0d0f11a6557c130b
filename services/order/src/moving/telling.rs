//! How a transition shows: to the other services, in the timeline, in the trace, and in the log.

use ::store::Tx;
use contracts::{
    Cause, ChargeCard, Coordination, OrderId, RefundPayment, ReleaseStock, ReserveStock, Timestamp,
};
use runtime::telemetry;

use crate::{
    machine::{Status, Step},
    order::{Entry, Order},
    store::steps::Kept,
};

/// Announces what was decided. The other services know of an order that is made by calls already.
pub(super) fn announce(
    tx: &mut Tx,
    order: &Order,
    decided: Status,
    cause: &Cause,
) -> ::store::Result<()> {
    match (order.state.coordination, decided) {
        (Coordination::Sync, _) | (_, Status::Placed) => Ok(()),
        (_, Status::Confirmed) => tx.publish(&order.confirmed(), cause).map(drop),
        (_, Status::Cancelled(reason)) => tx.publish(&order.cancelled(reason), cause).map(drop),
    }
}

/// What the timeline says of a decision.
pub(super) fn decision(order: &Order, decided: Status, at: Timestamp) -> Option<Entry> {
    match decided {
        Status::Placed => None,
        Status::Confirmed => Some(order.entry("OrderConfirmed", at, None)),
        Status::Cancelled(reason) => {
            Some(order.entry("OrderCancelled", at, Some(reason.as_str().to_owned())))
        }
    }
}

/// Sends the command of a step to who carries it out.
///
/// # Errors
/// When it can't be written, or the card isn't known any more.
pub(crate) fn send(tx: &mut Tx, order: &Order, step: Step, cause: &Cause) -> ::store::Result<()> {
    let order_id = order.id;
    match step {
        Step::ReserveStock => {
            tx.send(&ReserveStock { order_id, lines: order.lines.clone() }, cause)
        }
        Step::ChargeCard => {
            let card_token = order.card_token.clone().ok_or_else(|| {
                ::store::Error::Value(format!("the card of order {order_id} is not kept"))
            })?;
            tx.send(&ChargeCard { order_id, amount: order.total.clone(), card_token }, cause)
        }
        Step::RefundPayment => {
            tx.send(&RefundPayment { order_id, amount: order.total.clone() }, cause)
        }
        Step::ReleaseStock => tx.send(&ReleaseStock { order_id }, cause),
        // Inventory hears of the confirmation.
        Step::ShipStock => return Ok(()),
    }
    .map(drop)
}

/// The step as a span of its order's trace, from its first request to its answer.
pub(super) fn record(step: &Kept, order: Option<&Order>) {
    let Some(traceparent) = order.and_then(|order| order.traceparent.as_deref()) else { return };
    let end = step.answered_at.unwrap_or_default();
    let answer = step.answer.clone().unwrap_or_default();
    telemetry::record_step(&telemetry::Took {
        traceparent,
        name: format!("saga {}", step.step.as_str()),
        from: step.asked_at,
        to: end,
        attributes: vec![
            ("shop.saga.step", step.step.as_str().to_owned()),
            ("shop.saga.attempts", step.attempt.to_string()),
            ("shop.saga.answer", answer),
        ],
    });
}

/// Says loudly that an order was charged a wrong amount; `charged` says which, if that is known.
pub(crate) fn report_wrong_amount(order_id: OrderId, charged: Option<&str>) {
    tracing::error!(%order_id, charged, "an order was charged a wrong amount; it is cancelled and refunded");
}
