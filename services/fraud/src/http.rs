//! The HTTP side: scores, for whoever looks into an order.

use ::store::Db;
use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
};
use contracts::Timestamp;
use runtime::Problem;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::store::{self, Scored};

/// Orders in a list at most.
const MAX_LIMIT: u32 = 1_000;

pub(crate) fn api(db: Db) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(score)).routes(routes!(flags)).with_state(db)
}

/// How much an order looks like fraud.
#[derive(Debug, Serialize, ToSchema)]
struct ScoreBody {
    /// The order.
    order_id: Uuid,
    /// 0 to 130.
    #[schema(example = 40)]
    score: u32,
    /// What speaks against it.
    #[schema(example = json!(["large_total"]))]
    reasons: Vec<String>,
    /// Whether it was announced as `OrderFlagged`.
    flagged: bool,
    /// When it was placed.
    #[schema(value_type = String, format = DateTime)]
    placed_at: Timestamp,
}

impl From<Scored> for ScoreBody {
    fn from(scored: Scored) -> Self {
        let reasons = scored.reasons.split(',').filter(|reason| !reason.is_empty());
        Self {
            order_id: scored.order_id,
            score: scored.score,
            reasons: reasons.map(str::to_owned).collect(),
            flagged: scored.flagged,
            placed_at: scored.placed_at,
        }
    }
}

/// How much to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Page {
    /// Orders at most, 1 to 1,000.
    #[param(minimum = 1, maximum = 1_000, default = 100)]
    limit: Option<u32>,
}

/// The score of an order
#[utoipa::path(
    get, path = "/scores/{order_id}",
    params(("order_id" = Uuid, Path, description = "The order's id")),
    responses(
        (status = 200, body = ScoreBody),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
async fn score(
    State(db): State<Db>,
    order_id: Result<Path<Uuid>, PathRejection>,
) -> Result<Json<ScoreBody>, Problem> {
    let Path(order_id) = order_id.map_err(|_| Problem::bad_request("an order's id is a UUID"))?;
    let scored = store::find(&db, order_id).await?;
    let scored = scored.ok_or_else(|| {
        Problem::not_found("nothing is known of such an order here; it may not have arrived yet")
    })?;
    Ok(Json(scored.into()))
}

/// The orders that look like fraud
///
/// The latest first.
#[utoipa::path(
    get, path = "/flags", params(Page),
    responses(
        (status = 200, body = Vec<ScoreBody>),
        (status = 400, body = Problem, content_type = "application/problem+json"),
    )
)]
async fn flags(
    State(db): State<Db>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Vec<ScoreBody>>, Problem> {
    let limit = page.map_or(0, |Query(page)| page.limit.unwrap_or(100));
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::bad_request("limit must be a number from 1 to 1000"));
    }
    let flagged = store::flagged(&db, limit).await?;
    Ok(Json(flagged.into_iter().map(ScoreBody::from).collect()))
}
