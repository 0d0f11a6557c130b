//! What the customer of a checkout by calls is answered: now, and when the request is repeated.

use ::store::idempotency::{Answer, Keyed};
use axum::{http::StatusCode, response::Response};
use contracts::{Cancellation, OrderId};
use runtime::Problem;

use super::{
    super::{Shop, checkout, keys},
    Outcome,
};
use crate::{calls::Failed, machine::Status, order::Order, store};

/// The answer to a request that is repeated: the one of before, unless that was given when the order was written, and the process that
/// made its calls ended before another one was. Then it follows from what became of the order.
pub(crate) async fn repeated(shop: &Shop, answered: Answer) -> Result<Response, Problem> {
    if answered.status != i32::from(StatusCode::ACCEPTED.as_u16()) {
        return Ok(keys::repeat(answered));
    }
    let location = answered.location.as_deref();
    let id = location.and_then(|location| location.strip_prefix("/orders/")).unwrap_or_default();
    let id = id.parse().map_err(|_| Problem::internal())?;
    let order = store::order(&shop.db, id).await?.ok_or_else(Problem::internal)?;
    match order.state.status {
        // Another process may still make its calls. If none does, the order is cancelled soon.
        Status::Placed => Ok(keys::repeat(answered)),
        Status::Confirmed => Ok(created(&order)),
        Status::Cancelled(_) => Err(interrupted(&order)),
    }
}

fn interrupted(order: &Order) -> Problem {
    let undone = if order.settled_at.is_some() {
        "nothing is kept of it"
    } else {
        "what was done for it is being undone"
    };
    let detail = format!(
        "the checkout ended in the middle of its calls; the order was cancelled, and {undone}; to order again, use a new Idempotency-Key"
    );
    let title = "The checkout was interrupted";
    Problem::new(StatusCode::GATEWAY_TIMEOUT, "checkout-interrupted", title, detail)
        .with("order", format!("/orders/{}", order.id))
}

/// The verdict on a checkout: a problem, unless the order is confirmed.
pub(super) fn verdict(outcome: &Outcome, order: &Order) -> Result<(), Problem> {
    if let Some(failure) = &outcome.failure {
        return Err(problem(failure, outcome, order.id));
    }
    if order.state.status == Status::Cancelled(Cancellation::WrongAmount) {
        return Err(wrong_amount("payment has charged a wrong amount")
            .with("order", format!("/orders/{}", order.id)));
    }
    if order.state.status != Status::Confirmed {
        let detail = "the order's time was up before its calls were done; it was cancelled, and what was done for it is being undone";
        let title = "The order took too long";
        return Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, "too-slow", title, detail)
            .with("order", format!("/orders/{}", order.id)));
    }
    Ok(())
}

pub(super) fn created(order: &Order) -> Response {
    let location = format!("/orders/{}", order.id);
    runtime::http::located(StatusCode::CREATED, &location, checkout::Accepted::of(order))
}

/// The problem that the customer has.
fn problem(failure: &Failed, outcome: &Outcome, order: OrderId) -> Problem {
    let problem = match failure {
        Failed::Refused { reason: Cancellation::PaymentDeclined, detail } => Problem::new(
            StatusCode::PAYMENT_REQUIRED,
            "payment-declined",
            "The card was declined",
            detail.clone(),
        ),
        Failed::Refused { reason: Cancellation::StockRejected, detail } => {
            Problem::conflict("out-of-stock", "Out of stock", detail.clone())
        }
        Failed::Refused { detail, .. } => Problem::invalid_field("customer.email", detail.clone()),
        Failed::NoAnswer { callee, late, detail, .. } => {
            let status = if *late { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY };
            let what_now = if !outcome.left.is_empty() {
                "the order was cancelled; an operator looks after what could not be undone"
            } else if outcome.refunding {
                "the order was cancelled, and the money is being given back"
            } else {
                "nothing is kept of the order; try again"
            };
            Problem::new(
                status,
                "callee-failed",
                "A service that the order needs has failed",
                format!("{detail}; {what_now}"),
            )
            .with("callee", *callee)
        }
        Failed::WrongAmount { detail, .. } => wrong_amount(detail),
    };
    let left: Vec<String> =
        outcome.left.iter().map(|(step, why)| format!("{}: {why}", step.as_str())).collect();
    problem
        .with("order", format!("/orders/{order}"))
        .with("undone", outcome.undone.clone())
        .with("needs_attention", left)
}

fn wrong_amount(detail: &str) -> Problem {
    Problem::new(
        StatusCode::BAD_GATEWAY,
        "wrong-amount",
        "A wrong amount was charged",
        format!("{detail}; the order was cancelled, and is being refunded"),
    )
    .with("callee", "payment")
}

/// The answer as it is kept for a repeated request.
pub(super) fn kept(keyed: &Keyed, order: &Order, answer: &Result<(), Problem>) -> Answer {
    let (status, body) = match answer {
        Ok(()) => {
            let body = serde_json::to_string(&checkout::Accepted::of(order));
            (StatusCode::CREATED.as_u16(), body)
        }
        Err(problem) => (problem.status, serde_json::to_string(problem)),
    };
    Answer {
        fingerprint: keyed.fingerprint.clone(),
        status: i32::from(status),
        location: Some(format!("/orders/{}", order.id)),
        body: body.unwrap_or_default(),
    }
}
