//! `/sagas`: what the order service has had others do and was not answered, for operators.

use std::{collections::HashMap, sync::Arc};

use axum::{
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::HeaderMap,
};
use contracts::{Coordination, OrderId, Timestamp};
use garde::Validate;
use runtime::{
    Problem,
    http::{Json, idempotency_key},
    telemetry,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Shop,
    view::{Asked, no_such_order, order_id, problem},
};
use crate::{
    call_again::call_again,
    machine::{Payment, Step, Stock},
    moving::{self, Error, Moving},
    order::{Order, RESOLVED},
    store::{
        self,
        steps::{self, Kept},
    },
};

/// Sagas in a list at most.
const MAX_LIMIT: u32 = 1_000;

/// Which sagas.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Parameters {
    /// Only those that an operator should look at.
    #[serde(default)]
    #[param(default = false)]
    parked: bool,
    /// Steps at most, 1 to 1,000.
    #[param(minimum = 1, maximum = 1_000, default = 100)]
    limit: Option<u32>,
}

/// An order that others were told to do something for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Saga {
    /// The order.
    #[schema(value_type = uuid::Uuid)]
    order_id: OrderId,
    /// `orchestration` or `sync`.
    #[schema(example = "orchestration")]
    style: &'static str,
    /// `placed`, `confirmed` or `cancelled`.
    #[schema(example = "cancelled")]
    status: &'static str,
    /// Whether nothing is left to happen.
    settled: bool,
    /// What is known of the payment.
    #[schema(example = "taken")]
    payment: &'static str,
    /// What is known of the goods.
    #[schema(example = "reserved")]
    stock: &'static str,
    /// How an operator has dealt with what could not be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution: Option<String>,
    /// What others were told to do, the first one first.
    steps: Vec<Asked>,
}

/// How an operator has dealt with a step.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Resolution {
    /// What was done about it, by whom: 3 to 500 characters. It is kept with the order.
    #[garde(length(chars, min = 3, max = 500), custom(printable))]
    #[schema(example = "refunded by hand in the processor's dashboard, ticket 4711")]
    reason: String,
    /// Which step: `refund_payment`, `release_stock` or `ship_stock`. Needed where more than one can be resolved, and where another one was
    /// resolved with the same reason.
    #[garde(inner(custom(is_step)))]
    #[serde(default)]
    #[schema(example = "refund_payment")]
    step: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde passes the context by reference")]
fn is_step(name: &str, (): &()) -> garde::Result {
    match Step::parse(name) {
        Some(step) if step.is_repeated() => Ok(()),
        _ => Err(garde::Error::new("must be refund_payment, release_stock or ship_stock")),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde passes the context by reference")]
fn printable(text: &str, (): &()) -> garde::Result {
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return Err(garde::Error::new("must be one line with something to read"));
    }
    Ok(())
}

impl Saga {
    fn new(order: Order, steps: Vec<Kept>) -> Self {
        Self {
            order_id: order.id,
            style: order.state.coordination.as_str(),
            status: order.state.status.as_str(),
            settled: order.settled_at.is_some(),
            payment: order.state.payment.as_str(),
            stock: order.state.stock.as_str(),
            resolution: order.resolution,
            steps: steps.into_iter().map(Asked::from).collect(),
        }
    }
}

/// What waits for an answer
///
/// Those that an operator should look at come first, and of these the oldest.
#[utoipa::path(
    get, path = "/sagas", tag = "sagas", params(Parameters),
    responses(
        (status = 200, body = Vec<Saga>),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(shop): State<Arc<Shop>>,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<axum::Json<Vec<Saga>>, Problem> {
    let Query(Parameters { parked, limit }) =
        parameters.map_err(|error| Problem::bad_request(error.body_text()))?;
    let limit = limit.unwrap_or(100);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::invalid_field("limit", "must be a number from 1 to 1000"));
    }
    let mut open = steps::parked(&shop.db, limit).await?.reported("steps", &shop.plumbing);
    if !parked {
        let waiting = steps::waiting(&shop.db, limit).await?;
        open.extend(waiting.reported("steps", &shop.plumbing));
        open.truncate(limit as usize);
    }
    let ids: Vec<OrderId> = open.iter().map(|step| step.order_id).collect();
    let orders = store::orders(&shop.db, &ids).await?.reported("orders", &shop.plumbing);
    let mut orders: HashMap<OrderId, Order> =
        orders.into_iter().map(|order| (order.id, order)).collect();
    let mut by_order: HashMap<OrderId, Vec<Kept>> = HashMap::new();
    for step in open {
        by_order.entry(step.order_id).or_default().push(step);
    }
    // In the order of their first steps.
    let sagas = ids
        .iter()
        .filter_map(|id| Some(Saga::new(orders.remove(id)?, by_order.remove(id)?)))
        .collect();
    Ok(axum::Json(sagas))
}

/// An order's saga
#[utoipa::path(
    get, path = "/sagas/{id}", tag = "sagas",
    params(("id" = Uuid, Path, description = "The order's id")),
    responses(
        (status = 200, body = Saga),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "The id is no UUID"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such order"),
    )
)]
pub(super) async fn show(
    State(shop): State<Arc<Shop>>,
    id: Result<Path<OrderId>, PathRejection>,
) -> Result<axum::Json<Saga>, Problem> {
    Ok(axum::Json(saga(&shop, order_id(id)?).await?))
}

async fn saga(shop: &Shop, id: OrderId) -> Result<Saga, Problem> {
    let order = store::order(&shop.db, id).await?.ok_or_else(|| no_such_order(id))?;
    Ok(Saga::new(order, steps::of_order(&shop.db, id).await?.reported("steps", &shop.plumbing)))
}

/// Ask again now
///
/// For what was not answered. It makes no difference how often: whoever is asked does it once.
#[utoipa::path(
    post, path = "/sagas/{id}/retry", tag = "sagas",
    params(
        ("id" = Uuid, Path, description = "The order's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 characters. Not needed: to ask again is harmless")
    ),
    responses(
        (status = 200, body = Saga, description = "It was asked for again"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "The id is no UUID"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such order"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "Nothing waits for an answer"),
    )
)]
pub(super) async fn retry(
    State(shop): State<Arc<Shop>>,
    id: Result<Path<OrderId>, PathRejection>,
    headers: HeaderMap,
) -> Result<axum::Json<Saga>, Problem> {
    let id = order_id(id)?;
    idempotency_key(&headers, "POST /sagas/{id}/retry", id.as_bytes())?;
    let (order, calls) = ask_again(&shop, id).await?;
    for step in calls {
        call_again(&shop.db, &shop.callees, &shop.watchers, &order, step)
            .await
            .map_err(|error| problem(error, id))?;
    }
    Ok(axum::Json(saga(&shop, id).await?))
}

/// Sends the command of what the saga waits for once more; of an order that is made by calls, the steps to call for.
async fn ask_again(shop: &Shop, id: OrderId) -> Result<(Order, Vec<Step>), Problem> {
    let mut tx = shop.db.begin().await?;
    let moving = Moving::lock(&mut tx, &[id], shop.watchers.pace).await?;
    let order = moving.order(id).ok_or_else(|| no_such_order(id))?;
    let cause = telemetry::cause(&order.span("retry saga"));
    let now = Timestamp::now();
    let mut again = steps::of_orders(&mut tx, &[id]).await?.all()?;
    again.retain(|step| step.answered_at.is_none());
    if again.is_empty() {
        return Err(nothing_to_do());
    }
    let mut calls = Vec::new();
    for step in &mut again {
        if order.state.coordination == Coordination::Sync {
            calls.push(step.step);
        } else {
            moving::send(&mut tx, order, step.step, &cause)?;
            step.due_at = Some(shop.watchers.pace.due(step.step, 1, now));
        }
        step.attempt = step.attempt.saturating_add(1);
    }
    let order = order.clone();
    steps::ask_again(&mut tx, &again).await?;
    tx.commit().await?;
    Ok((order, calls))
}

/// Resolve a step
///
/// For one that the shop can't take, and that you have dealt with by other means: the refund or the release of a cancelled order, the
/// shipping of a confirmed one. The order goes on with what is still to be done.
#[utoipa::path(
    post, path = "/sagas/{id}/resolve", tag = "sagas",
    params(
        ("id" = Uuid, Path, description = "The order's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 characters. Not needed: to say the same again changes nothing")
    ),
    request_body = Resolution,
    responses(
        (status = 200, body = Saga, description = "The step is resolved"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "The id is no UUID"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such order"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "This step can't be resolved now"),
        (status = 422, body = Problem, content_type = "application/problem+json",
            description = "The reason is missing or too long, or more than one step can be resolved and none is named"),
    )
)]
pub(super) async fn resolve(
    State(shop): State<Arc<Shop>>,
    id: Result<Path<OrderId>, PathRejection>,
    headers: HeaderMap,
    Json { value: resolution, hash }: Json<Resolution>,
) -> Result<axum::Json<Saga>, Problem> {
    let id = order_id(id)?;
    idempotency_key(&headers, "POST /sagas/{id}/resolve", &hash)?;
    let mut tx = shop.db.begin().await?;
    let mut moving = Moving::lock(&mut tx, &[id], shop.watchers.pace).await?;
    let order = moving.order(id).ok_or_else(|| no_such_order(id))?;
    let step = resolution.step.as_deref().and_then(Step::parse);
    let steps = steps::of_orders(&mut tx, &[id]).await?.all()?;
    let open: Vec<Step> =
        steps.iter().filter(|step| step.answered_at.is_none()).map(|step| step.step).collect();
    let resolvable = moving::resolvable(order, &open);
    let same_reason = order.resolution.as_deref() == Some(resolution.reason.as_str());
    // Sent twice, it is resolved already. Without a step, that is only certain where nothing else can be meant.
    let again = match step {
        Some(step) => same_reason && was_resolved(order, &steps, step),
        None if same_reason && !resolvable.is_empty() => {
            return Err(problem(Error::WhichStep(resolvable), id));
        }
        None => same_reason,
    };
    if !again {
        let cause = telemetry::cause(&order.span("resolve saga"));
        let reason = &resolution.reason;
        let step = moving
            .resolve(&mut tx, id, &open, step, reason, &cause)
            .map_err(|error| problem(error, id))?;
        tracing::warn!(order_id = %id, step = step.as_str(), reason, "an operator has resolved a step");
        moving.save(&mut tx, &shop.watchers).await?;
        tx.commit().await?;
    }
    Ok(axum::Json(saga(&shop, id).await?))
}

fn was_resolved(order: &Order, steps: &[Kept], step: Step) -> bool {
    match step {
        Step::RefundPayment if order.state.payment == Payment::Resolved => true,
        Step::ReleaseStock if order.state.stock == Stock::Resolved => true,
        _ => steps.iter().any(|kept| kept.step == step && kept.answer.as_deref() == Some(RESOLVED)),
    }
}

fn nothing_to_do() -> Problem {
    let detail = "nothing of this order waits for an answer";
    Problem::conflict("nothing-to-do", "There is nothing to do", detail)
}
