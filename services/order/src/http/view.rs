//! `GET /orders/{id}`.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, HeaderName, HeaderValue},
    response::{IntoResponse as _, Response},
};
use contracts::{Coordination, Line, Money, OrderId, Timestamp};
use runtime::Problem;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;

use super::{Shop, checkout::Total};
use crate::{
    machine::Refused,
    moving::Error,
    order::Order,
    store::{
        self,
        steps::{self, Kept},
    },
    waiting::Waiter,
};

/// The longest that a client may wait.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// How often a waiting client's order is looked at, in case another replica settles it.
const LOOK: Duration = Duration::from_millis(500);

/// An order and what happened to it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct View {
    #[schema(value_type = uuid::Uuid)]
    id: OrderId,
    /// Who coordinates: `choreography`, `orchestration` or `sync`.
    #[schema(example = "choreography")]
    style: &'static str,
    /// `placed`, `confirmed` or `cancelled`.
    #[schema(example = "confirmed")]
    status: &'static str,
    /// Whether nothing is left to happen: confirmed, or cancelled with everything undone.
    settled: bool,
    /// Why it was cancelled: `payment_declined`, `stock_rejected`, `customer`, `deadline`, `no_answer` or
    /// `wrong_amount`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// What is known of the payment: `unknown`, `taken`, `declined`, `refunded`, `voided` or `resolved`.
    #[schema(example = "taken")]
    payment: &'static str,
    /// What is known of the goods: `unknown`, `reserved`, `rejected`, `released` or `resolved`.
    #[schema(example = "reserved")]
    stock: &'static str,
    #[schema(value_type = Total)]
    total: Money,
    #[serde(skip_serializing_if = "Option::is_none")]
    coupon: Option<String>,
    #[schema(value_type = Vec<Object>)]
    lines: Vec<Line>,
    #[schema(value_type = String)]
    placed_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    settled_at: Option<Timestamp>,
    /// What happened, the oldest first.
    timeline: Vec<Happened>,
    /// What others were told to do, and what came of it; nothing where nobody is told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    saga: Vec<Asked>,
    /// Whether an operator should look at it: something could not be undone or done so far.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    needs_attention: bool,
}

/// A step that another service was told to take.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Asked {
    /// `reserve_stock`, `charge_card`, `refund_payment`, `release_stock` or `ship_stock`.
    #[schema(example = "charge_card")]
    step: &'static str,
    /// How often it was asked for.
    attempts: u32,
    /// When it was asked for first.
    #[schema(value_type = String)]
    asked_at: Timestamp,
    /// When it is asked for again, or given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    due_at: Option<Timestamp>,
    /// Since when an operator should look at it, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    parked_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The fact that answered it, or why nobody waits for one any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "PaymentTaken")]
    answer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    answered_at: Option<Timestamp>,
}

impl From<Kept> for Asked {
    fn from(kept: Kept) -> Self {
        Self {
            step: kept.step.as_str(),
            attempts: kept.attempt,
            asked_at: kept.asked_at,
            due_at: kept.due_at,
            parked_at: kept.parked_at,
            error: kept.error,
            answer: kept.answer,
            answered_at: kept.answered_at,
        }
    }
}

/// A line of the timeline.
#[derive(Debug, Serialize, ToSchema)]
struct Happened {
    #[schema(value_type = String)]
    at: Timestamp,
    #[schema(example = "PaymentTaken")]
    fact: String,
    /// Who says it.
    #[schema(example = "payment")]
    service: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// Follow an order
///
/// With `Prefer: wait=5` the answer comes as soon as the order is settled, or after five seconds with what is known then.
#[utoipa::path(
    get,
    path = "/orders/{id}",
    params(
        ("id" = Uuid, Path, description = "The order's id"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: up to N seconds (60 at most), RFC 7240", example = "wait=5")
    ),
    responses(
        (status = 200, body = View, description = "The order"),
        (status = 400, body = Problem, description = "The id is no UUID"),
        (status = 404, body = Problem, description = "There is no such order"),
    )
)]
pub(super) async fn order(
    State(shop): State<Arc<Shop>>,
    id: Result<Path<OrderId>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = order_id(id)?;
    let wait = preferred_wait(&headers);
    // When too many wait already, the preference isn't applied.
    let waiting = wait.and_then(|wait| Some((wait, shop.watchers.waiters.wait(id)?)));
    let wait = waiting.as_ref().map(|(wait, _)| *wait);
    let order = match waiting {
        Some((wait, waiter)) => settled(&shop, id, wait, &waiter).await?,
        None => store::order(&shop.db, id).await?,
    };
    let order = order.ok_or_else(|| no_such_order(id))?;
    let timeline = store::timeline(&shop.db, id).await?;
    let steps = match order.state.coordination {
        Coordination::Choreography => Vec::new(),
        Coordination::Orchestration | Coordination::Sync => {
            steps::of_order(&shop.db, id).await?.reported("steps", &shop.plumbing)
        }
    };
    let mut response = axum::Json(View::new(order, timeline, steps)).into_response();
    if let Some(wait) = wait
        && let Ok(applied) = HeaderValue::try_from(format!("wait={}", wait.as_secs()))
    {
        response.headers_mut().insert(HeaderName::from_static("preference-applied"), applied);
    }
    Ok(response)
}

/// The order once it is settled, or as it is when the time is up.
async fn settled(
    shop: &Shop,
    id: OrderId,
    wait: Duration,
    waiter: &Waiter,
) -> Result<Option<Order>, Problem> {
    let until = Instant::now() + wait;
    loop {
        let mut settled = std::pin::pin!(waiter.settled());
        // From here on a settlement is noticed, also one before the first await.
        settled.as_mut().enable();
        let order = store::order(&shop.db, id).await?;
        let open = order.as_ref().is_some_and(|order| order.settled_at.is_none());
        let now = Instant::now();
        if !open || now >= until {
            return Ok(order);
        }
        // Whether it was woken or is only looking again makes no difference.
        let _ = timeout_at(until.min(now + LOOK), settled).await;
    }
}

/// The seconds of `Prefer: wait=N`; a preference that can't be read is ignored, as RFC 7240 says.
fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']))
        .filter_map(|preference| preference.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"))
        .and_then(|(_, seconds)| seconds.trim().trim_matches('"').parse().ok())
        .map(|seconds| Duration::from_secs(seconds).min(MAX_WAIT))
}

pub(super) fn order_id(id: Result<Path<OrderId>, PathRejection>) -> Result<OrderId, Problem> {
    id.map(|Path(id)| id).map_err(|_| Problem::bad_request("an order's id is a UUID"))
}

pub(super) fn no_such_order(id: OrderId) -> Problem {
    Problem::not_found(format!("there is no order {id}"))
}

/// Why an order could not be moved on, for whoever asked for it.
pub(super) fn problem(error: Error, id: OrderId) -> Problem {
    match error {
        Error::Unknown(_) => no_such_order(id),
        Error::WhichStep(_) => Problem::invalid_field("step", error.to_string()),
        Error::Refused(refused @ Refused::TooLate) => {
            Problem::conflict("too-late", "Too late", refused.to_string())
        }
        Error::Refused(refused @ Refused::NothingToResolve) => {
            Problem::conflict("nothing-to-do", "There is nothing to do", refused.to_string())
        }
        Error::Refused(refused @ Refused::InProgress) => {
            Problem::conflict("in-progress", "In progress", refused.to_string())
        }
        Error::Refused(refused @ Refused::Contradiction { .. }) => {
            tracing::error!(%refused, "what was asked for contradicts the order's state");
            Problem::internal()
        }
        Error::Store(error) => error.into(),
    }
}

impl View {
    fn new(
        order: Order,
        timeline: Vec<(i64, String, String, Option<String>)>,
        steps: Vec<Kept>,
    ) -> Self {
        let waits = |step: &Kept| step.parked_at.is_some() && step.answered_at.is_none();
        Self {
            style: order.state.coordination.as_str(),
            needs_attention: steps.iter().any(waits),
            saga: steps.into_iter().map(Asked::from).collect(),
            id: order.id,
            status: order.state.status.as_str(),
            settled: order.settled_at.is_some(),
            reason: order.state.status.reason().map(contracts::Cancellation::as_str),
            payment: order.state.payment.as_str(),
            stock: order.state.stock.as_str(),
            total: order.total,
            coupon: order.coupon,
            lines: order.lines,
            placed_at: order.placed_at,
            settled_at: order.settled_at,
            timeline: timeline
                .into_iter()
                .map(|(at, fact, service, detail)| Happened {
                    at: Timestamp::from_micros(at),
                    fact,
                    service,
                    detail,
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    #[test]
    fn a_wait_is_preferred_in_any_case_and_among_others() {
        for (value, seconds) in [
            ("wait=5", Some(5)),
            ("Wait = 5", Some(5)),
            ("respond-async, WAIT=\"5\"", Some(5)),
            ("return=minimal; wait=600", Some(60)),
            ("wait", None),
            ("wait=-1", None),
            ("await=5", None),
        ] {
            let headers =
                HeaderMap::from_iter([(HeaderName::from_static("prefer"), value.parse().unwrap())]);
            assert_eq!(preferred_wait(&headers), seconds.map(Duration::from_secs), "{value}");
        }
    }
}
