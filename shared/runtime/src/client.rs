//! Calls to other programs over HTTP, with a time limit and the trace's context.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header::HeaderMap};
use serde::de::DeserializeOwned;
use tracing::{Instrument as _, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::telemetry;

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// An idle connection is closed after this long: before its server does, whose end could meet a request halfway.
const MAX_IDLE: Duration = Duration::from_secs(20);

/// An answer whose body hasn't been read.
#[derive(Debug)]
pub struct Answer(Response);

/// Why an answer can't be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It broke off, or didn't come in time. Without the URL, which may have a password in it.
    #[error("the answer broke off")]
    Broken(#[source] reqwest::Error),
    /// It is larger than any answer that is expected.
    #[error("the answer has more than {MAX_ANSWER} bytes")]
    TooLarge,
    /// It isn't what was expected.
    #[error("the answer can't be understood")]
    Unexpected(#[source] serde_json::Error),
}

impl Answer {
    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status()
    }

    /// Its headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.0.headers()
    }

    /// Its body, read from JSON.
    ///
    /// # Errors
    /// When it breaks off, is too large, or isn't a `T`.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, Unreadable> {
        serde_json::from_slice(&self.bytes().await?).map_err(Unreadable::Unexpected)
    }

    /// Its body as text; bytes that aren't UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// When it breaks off, or is too large.
    pub async fn text(self) -> Result<String, Unreadable> {
        Ok(String::from_utf8_lossy(&self.bytes().await?).into_owned())
    }

    async fn bytes(mut self) -> Result<Vec<u8>, Unreadable> {
        let mut body = Vec::new();
        let broken = |error: reqwest::Error| Unreadable::Broken(error.without_url());
        while let Some(chunk) = self.0.chunk().await.map_err(broken)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(Unreadable::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

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
            .pool_idle_timeout(MAX_IDLE)
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
    ) -> reqwest::Result<Answer> {
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
        answer.map(Answer)
    }
}

fn without_credentials(mut url: Url) -> String {
    // A URL that can have none refuses to lose them.
    let _ = (url.set_username(""), url.set_password(None));
    url.into()
}
