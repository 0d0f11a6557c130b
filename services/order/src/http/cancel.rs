//! `POST /orders/{id}/cancel`.

use std::sync::Arc;

use ::store::idempotency::{Answer, Keyed};
use axum::{
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use contracts::OrderId;
use runtime::{Problem, http::idempotency_key, telemetry};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Shop, keys,
    view::{no_such_order, order_id, problem},
};
use crate::{machine::Fact, moving::Moving};

/// A cancelled order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Cancelled {
    #[schema(value_type = uuid::Uuid)]
    id: OrderId,
    #[schema(example = "cancelled")]
    status: &'static str,
    #[schema(example = "customer")]
    reason: Option<&'static str>,
}

/// Cancel an order
///
/// What was done for it is undone; follow the order until it is settled. Cancelling again changes nothing. A confirmed order
/// can't be cancelled any more.
#[utoipa::path(
    post,
    path = "/orders/{id}/cancel",
    params(
        ("id" = Uuid, Path, description = "The order's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 characters")
    ),
    responses(
        (status = 202, body = Cancelled, description = "It is cancelled; what was done is being undone"),
        (status = 404, body = Problem, description = "There is no such order"),
        (status = 409, body = Problem, description = "It is confirmed, or a request with this key is being answered"),
        (status = 503, body = Problem, description = "Try again after `Retry-After` seconds"),
    )
)]
pub(super) async fn cancel(
    State(shop): State<Arc<Shop>>,
    id: Result<Path<OrderId>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = order_id(id)?;
    let keyed = idempotency_key(&headers, "POST /orders/{id}/cancel", id.as_bytes())?;
    let _in_use = match &keyed {
        None => None,
        Some(keyed) => match shop.keys.take(&shop.db, keyed).await? {
            Ok(in_use) => Some(in_use),
            Err(answer) => return Ok(keys::repeat(answer)),
        },
    };
    let location = format!("/orders/{id}");
    let mut tx = shop.db.begin().await?;
    let mut moving = Moving::lock(&mut tx, &[id], shop.watchers.pace).await?;
    let order = moving.order(id).ok_or_else(|| no_such_order(id))?;
    let cause = telemetry::cause(&order.span("cancel order"));
    moving.take(&mut tx, id, Fact::CancelRequested, &cause).map_err(|error| problem(error, id))?;
    let order = moving.order(id).ok_or_else(|| no_such_order(id))?;
    let status = order.state.status;
    let cancelled = Cancelled {
        id,
        status: status.as_str(),
        reason: status.reason().map(contracts::Cancellation::as_str),
    };
    moving.save(&mut tx, &shop.watchers).await?;
    if let Some(keyed) = keyed {
        let answer = answer(&keyed, &location, &cancelled);
        if tx.keep_answers(&[(keyed.key.as_str(), &answer)]).await?.is_empty() {
            // Another replica has just answered a request with this key.
            drop(tx);
            let answer = shop.db.answer(&keyed.key).await?.ok_or_else(Problem::internal)?;
            return keys::to_the_same(&keyed, answer).map(keys::repeat);
        }
    }
    tx.commit().await?;
    Ok(runtime::http::located(StatusCode::ACCEPTED, &location, cancelled))
}

fn answer(keyed: &Keyed, location: &str, cancelled: &Cancelled) -> Answer {
    Answer {
        fingerprint: keyed.fingerprint.clone(),
        status: i32::from(StatusCode::ACCEPTED.as_u16()),
        location: Some(location.to_owned()),
        body: serde_json::to_string(cancelled).unwrap_or_default(),
    }
}
