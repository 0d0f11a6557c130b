//! Calls to other programs over HTTP, with a time limit and the trace's context.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::{Method, RequestBuilder, Response, Url};
use tracing::{Instrument as _, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::telemetry;

/// An HTTP client for one other program.
#[derive(Debug, Clone)]
pub struct Client {
    base: Url,
    http: reqwest::Client,
}

impl Client {
    /// A client for the program at `base`; each call takes `timeout` at most.
    ///
    /// # Errors
    /// When the URL can't be used.
    pub fn new(base: &str, timeout: Duration) -> anyhow::Result<Self> {
        // Another installed provider would do as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let base = Url::parse(base).with_context(|| format!("{base:?} is no URL"))?;
        let http = reqwest::Client::builder()
            .timeout(timeout)
            // Whoever was called is the one who answers: else a failure to connect would not mean that nobody was asked.
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(64)
            .tcp_nodelay(true)
            .no_proxy()
            .build()?;
        Ok(Self { base, http })
    }

    /// Calls `path` (its segments, each escaped), in a CLIENT span named by `method` and `route`.
    ///
    /// # Errors
    /// When no answer comes in time. An answer of any status is no error.
    pub async fn call(
        &self,
        method: Method,
        route: &'static str,
        path: &[&str],
        fill: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> reqwest::Result<Response> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let span = tracing::info_span!(
            "http",
            otel.name = format!("{method} {route}"),
            otel.kind = "client",
            otel.status_code = Empty,
            error.type = Empty,
            http.request.method = method.as_str(),
            http.response.status_code = Empty,
            server.address = url.host_str(),
            server.port = url.port_or_known_default().map(i64::from),
            url.template = route,
        );
        let traceparent = telemetry::traceparent(&span);
        if traceparent.is_some() {
            span.set_attribute("url.full", without_credentials(url.clone()));
        }
        let mut request = self.http.request(method, url);
        if let Some(traceparent) = traceparent {
            request = request.header("traceparent", traceparent);
        }
        let answer = fill(request).send().instrument(span.clone()).await;
        match &answer {
            Ok(response) => {
                span.set_attribute(
                    "http.response.status_code",
                    i64::from(response.status().as_u16()),
                );
                if response.status().is_client_error() || response.status().is_server_error() {
                    span.record("otel.status_code", "ERROR");
                    span.record("error.type", response.status().as_str());
                }
            }
            Err(error) => {
                span.record("otel.status_code", "ERROR");
                span.record(
                    "error.type",
                    if error.is_timeout() { "timeout" } else { "connection" },
                );
            }
        }
        answer
    }
}

fn without_credentials(mut url: Url) -> String {
    // A URL that can have none refuses to lose them.
    let _ = (url.set_username(""), url.set_password(None));
    url.into()
}
