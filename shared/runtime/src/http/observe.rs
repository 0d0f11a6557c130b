//! A SERVER span and a duration for each request. The span has no query string: that may hold a mail address.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request, State},
    http::Method,
    middleware::Next,
    response::Response,
};
use tracing::{Instrument as _, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::{Metrics, telemetry};

pub(super) async fn observe(
    State(metrics): State<Metrics>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let route =
        request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str).to_owned();
    let method = known(request.method());
    let span = tracing::info_span!(
        "http",
        otel.name = format!("{method} {route}").trim_end(),
        otel.kind = "server",
        otel.status_code = Empty,
        trace_id = Empty,
        error.type = Empty,
        http.request.method = method,
        http.route = (!route.is_empty()).then_some(route.as_str()),
        http.response.status_code = Empty,
        url.path = request.uri().path(),
        url.scheme = "http",
    );
    if !span.is_disabled() {
        let parent = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
        telemetry::continue_trace(&span, parent);
    }
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", status.as_str());
    }
    telemetry::end(&span);
    let labels = vec![
        ("method", method.to_owned()),
        ("route", route),
        ("status", status.as_str().to_owned()),
    ];
    metrics.requests.get_or_create(&labels).observe(started.elapsed().as_secs_f64());
    response
}

/// The method, or the conventions' word for one that a client has made up: each would be a metric of its own, for ever.
fn known(method: &Method) -> &'static str {
    let methods = [
        (Method::GET, "GET"),
        (Method::HEAD, "HEAD"),
        (Method::POST, "POST"),
        (Method::PUT, "PUT"),
        (Method::PATCH, "PATCH"),
        (Method::DELETE, "DELETE"),
        (Method::OPTIONS, "OPTIONS"),
        (Method::CONNECT, "CONNECT"),
        (Method::TRACE, "TRACE"),
    ];
    methods.into_iter().find(|(known, _)| known == method).map_or("_OTHER", |(_, name)| name)
}
