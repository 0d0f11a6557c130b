//! The order service's API, as far as this program needs it.

use std::{fmt, time::Duration};

use anyhow::Context as _;
use contracts::{Money, OrderId, Timestamp};
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{CONTENT_TYPE, LOCATION},
};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

/// The order service.
#[derive(Debug, Clone)]
pub(crate) struct Shop {
    client: Client,
    base: Url,
    checkout: Url,
}

/// The answer to a checkout.
#[derive(Debug, Deserialize)]
pub(crate) struct Placed {
    /// The order's id.
    pub(crate) id: OrderId,
    /// What is to be paid.
    pub(crate) total: Money,
}

/// An order as it is.
#[derive(Debug, Deserialize)]
pub(crate) struct Order {
    /// `placed`, `confirmed` or `cancelled`.
    pub(crate) status: String,
    /// Whether nothing more can happen to it.
    pub(crate) settled: bool,
    /// Why it was cancelled.
    pub(crate) reason: Option<String>,
    /// When it was placed.
    pub(crate) placed_at: Timestamp,
    /// Since when nothing more can happen to it.
    pub(crate) settled_at: Option<Timestamp>,
    /// Who coordinates.
    #[serde(default)]
    pub(crate) style: String,
    /// Whether a person should look at it.
    #[serde(default)]
    pub(crate) needs_attention: bool,
    /// What happened to it.
    #[serde(default)]
    pub(crate) timeline: Vec<Fact>,
}

/// Something that happened to an order.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Fact {
    /// When.
    pub(crate) at: Timestamp,
    /// What, `PaymentTaken`.
    pub(crate) fact: String,
    /// Who says so.
    pub(crate) service: String,
    /// More about it.
    #[serde(default)]
    pub(crate) detail: Option<Value>,
}

/// A problem document.
#[derive(Debug, Deserialize)]
struct Problem {
    title: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    errors: Vec<FieldError>,
}

#[derive(Debug, Deserialize)]
struct FieldError {
    field: String,
    message: String,
}

impl Shop {
    /// The order service at a URL; `style` says who coordinates its orders, each call takes `timeout` at most.
    pub(crate) fn new(url: &str, style: Option<&str>, timeout: Duration) -> anyhow::Result<Self> {
        let base = Url::parse(url).with_context(|| format!("{url:?} is no URL"))?;
        let mut checkout = path(&base, &["checkout"]);
        if let Some(style) = style {
            checkout.query_pairs_mut().append_pair("style", style);
        }
        Ok(Self { client: crate::client::new(url, timeout)?, base, checkout })
    }

    /// Where an order is.
    pub(crate) fn link(&self, order: OrderId) -> Url {
        path(&self.base, &["orders", &order.to_string()])
    }

    /// Sends a checkout. An answer of any status is no error.
    pub(crate) async fn checkout(
        &self,
        body: impl Into<reqwest::Body>,
    ) -> reqwest::Result<Response> {
        let request = self.client.post(self.checkout.clone());
        request.header(CONTENT_TYPE, "application/json").body(body).send().await
    }

    /// Sends a checkout that may be repeated with this key.
    pub(crate) async fn checkout_keyed(
        &self,
        key: Uuid,
        body: impl Into<reqwest::Body>,
    ) -> reqwest::Result<Response> {
        let request = self.client.post(self.checkout.clone());
        request
            .header("idempotency-key", key.to_string())
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .send()
            .await
    }

    /// The order as it is, if there is one; `wait` is how many seconds the answer may take if it isn't settled before.
    pub(crate) async fn find(&self, order: OrderId, wait: u64) -> anyhow::Result<Option<Order>> {
        let request = self.client.get(self.link(order)).header("prefer", format!("wait={wait}"));
        let answer = request.send().await?;
        match answer.status() {
            StatusCode::OK => Ok(Some(answer.json().await?)),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(refusal(answer).await),
        }
    }

    /// The order as it is, as JSON text; `wait` is how many seconds the answer may take if it isn't settled before.
    pub(crate) async fn order(&self, order: OrderId, wait: Option<u64>) -> anyhow::Result<String> {
        let mut request = self.client.get(self.link(order));
        if let Some(seconds) = wait {
            request = request.header("prefer", format!("wait={seconds}"));
        }
        let answer = request.send().await?;
        if answer.status() == StatusCode::OK {
            return Ok(answer.text().await?);
        }
        Err(refusal(answer).await)
    }

    /// Asks for a cancellation.
    pub(crate) async fn cancel(&self, order: OrderId) -> anyhow::Result<()> {
        let url = path(&self.base, &["orders", &order.to_string(), "cancel"]);
        let answer = self.client.post(url).send().await?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(refusal(answer).await)
    }
}

/// The order that a checkout's answer names: all that its sender needs, without reading the body.
pub(crate) fn located(answer: &Response) -> Option<OrderId> {
    let location = answer.headers().get(LOCATION)?.to_str().ok()?;
    location.rsplit('/').next()?.parse().ok()
}

/// What an answer that isn't the wanted one says, readably.
pub(crate) async fn refusal(answer: Response) -> anyhow::Error {
    let status = answer.status();
    let text = answer.text().await.unwrap_or_default();
    match serde_json::from_str::<Problem>(&text) {
        Ok(problem) => anyhow::anyhow!("{status}: {problem}"),
        Err(_) => anyhow::anyhow!("{status}: {text:.200}"),
    }
}

/// Whether a refusal names this field, or can't be read.
pub(crate) async fn complains(answer: Response, field: &str) -> bool {
    let problem = answer.json::<Problem>().await;
    problem.map_or(true, |problem| problem.errors.iter().any(|error| error.field == field))
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        for error in &self.errors {
            write!(f, "\n  {}: {}", error.field, error.message)?;
        }
        Ok(())
    }
}

/// The URL below the base's, whose last slash doesn't matter.
fn path(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_its_fields() {
        let text = r#"{"title":"The request is not valid","detail":"correct the fields","status":422,
            "errors":[{"field":"items[0].sku","message":"unknown"}]}"#;
        let problem: Problem = serde_json::from_str(text).unwrap();
        assert_eq!(
            problem.to_string(),
            "The request is not valid: correct the fields\n  items[0].sku: unknown"
        );
    }

    #[test]
    fn a_base_url_may_end_in_a_slash() {
        for base in ["http://a/x", "http://a/x/"] {
            assert_eq!(
                path(&Url::parse(base).unwrap(), &["checkout"]).as_str(),
                "http://a/x/checkout"
            );
        }
    }
}
