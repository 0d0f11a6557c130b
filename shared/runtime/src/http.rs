//! The HTTP side of a service: its routes beside those that all have, errors as problem documents, traces, metrics, and
//! an orderly end.

mod body;
mod observe;
pub mod problem;
mod server;

use std::time::Duration;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use broker::Broker;
use store::Db;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

pub use body::{Json, idempotency_key, uuid_key};
pub use server::{GRACE, Limits, serve, serve_within};

use crate::{Metrics, Problem, Watchdog, watchdog};

/// The largest body that a request may have, in bytes.
pub const MAX_BODY: usize = 64 * 1024;
/// How long the database may take to answer before the service is not ready.
const READY_TIMEOUT: Duration = Duration::from_secs(1);

/// What a service stands on.
#[derive(Debug, Clone)]
pub struct Ground {
    /// Without its database it isn't ready.
    pub db: Db,
    /// Without the broker it is: what it has to say waits in the outbox.
    pub broker: Broker,
    /// With a loop that stands still it isn't.
    pub watchdog: Watchdog,
}

/// A service's whole HTTP application: its own routes, and `/livez`, `/readyz`, `/metrics`, `/openapi.json` and a page to read
/// that at `/docs`.
pub fn app(
    name: &'static str,
    api: OpenApiRouter,
    ground: Option<Ground>,
    metrics: Metrics,
) -> Router {
    let (routes, openapi) = api.split_for_parts();
    let traced = routes
        .fallback(async || Problem::not_found("there is nothing at this path; see /docs"))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(axum::Extension(body::LargeBodies::default()))
        .layer(CatchPanicLayer::custom(|_| Problem::internal().into_response()))
        .layer(axum::middleware::from_fn_with_state(metrics.clone(), observe::observe));
    traced.merge(operations(ground, metrics)).merge(documentation(name, openapi))
}

fn operations(ground: Option<Ground>, metrics: Metrics) -> Router {
    Router::new()
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(ready).with_state(ground))
        .route(
            "/metrics",
            get(async move || {
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                ([(header::CONTENT_TYPE, kind)], metrics.render())
            }),
        )
}

async fn ready(State(ground): State<Option<Ground>>) -> Result<String, Problem> {
    let Some(Ground { db, broker, watchdog }) = ground else { return Ok("ok".to_owned()) };
    if let Some(stuck) = watchdog.stuck(watchdog::NOT_READY_AFTER) {
        return Err(Problem::unavailable(stuck.to_string()));
    }
    match tokio::time::timeout(READY_TIMEOUT, db.ping()).await {
        Ok(Ok(())) => Ok(match broker.trouble() {
            None => "ok".to_owned(),
            Some(trouble) => format!("ok, without the broker: {trouble}"),
        }),
        _ => Err(Problem::unavailable("the database doesn't answer")),
    }
}

fn documentation(name: &str, mut openapi: OpenApi) -> Router {
    openapi.info.title = format!("shop: {name}");
    env!("CARGO_PKG_VERSION").clone_into(&mut openapi.info.version);
    openapi.info.license = None;
    Router::new().merge(utoipa_swagger_ui::SwaggerUi::new("/docs").url("/openapi.json", openapi))
}

/// The status of a created or accepted resource with where it is.
pub fn located<T: serde::Serialize>(
    status: StatusCode,
    location: &str,
    body: T,
) -> axum::response::Response {
    (status, [(header::LOCATION, location.to_owned())], axum::Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_service_with_a_loop_that_stands_still_is_not_ready() {
        let database = testkit::sqlite_database();
        let db = Db::open(&database.url, store::Options::default()).await.unwrap();
        let broker = Broker::open(&database.url, broker::Topology::default()).await.unwrap();
        let (watchdog, pulse) = Watchdog::over_a_loop("relay", watchdog::NOT_READY_AFTER);
        let ground = Ground { db, broker, watchdog };
        let refused = ready(State(Some(ground.clone()))).await.unwrap_err();
        assert!(format!("{refused:?}").contains("relay"), "{refused:?}");
        pulse.beat();
        assert_eq!(ready(State(Some(ground))).await.unwrap(), "ok");
    }
}
