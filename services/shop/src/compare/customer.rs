//! A customer: one checkout, repeated with the same key when its answer never came.

use std::time::Duration;

use contracts::OrderId;
use reqwest::StatusCode;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::checkout::api::{Shop, located};

/// The pause before a checkout whose answer never came is repeated.
const PAUSE: Duration = Duration::from_millis(200);
/// For so long a customer tries.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a checkout came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The order is taken: 202, or 201 with everything done.
    Accepted(OrderId),
    /// The answer was no.
    Refused {
        /// In a few words, to be counted.
        why: String,
        /// The order that exists nevertheless.
        order: Option<OrderId>,
    },
    /// No answer came, however often it was asked.
    Unanswered,
}

/// A checkout, and how it went.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    /// When it was meant to start.
    pub(super) at: Instant,
    /// From then to the answer.
    pub(super) took: Duration,
    /// How often it was sent again, because no answer came.
    pub(super) repeats: usize,
    /// What it came to.
    pub(super) outcome: Outcome,
}

/// Checks out; `at` is when that was meant to be.
pub(super) async fn check_out(shop: Shop, body: Vec<u8>, at: Instant) -> Sample {
    let key = Uuid::now_v7();
    let mut repeats = 0;
    loop {
        let outcome = match shop.checkout_keyed(key, body.clone()).await {
            Ok(answer) => read(answer).await,
            Err(_) => None,
        };
        let late = at.elapsed() > PATIENCE;
        if let Some(outcome) = outcome.or_else(|| late.then_some(Outcome::Unanswered)) {
            return Sample { at, took: at.elapsed(), repeats, outcome };
        }
        repeats += 1;
        sleep(PAUSE).await;
    }
}

/// What an answer says; none when it isn't one, since the checkout is still under way.
async fn read(answer: reqwest::Response) -> Option<Outcome> {
    let (status, id) = (answer.status(), located(&answer));
    let body = answer.bytes().await.ok()?;
    if let (StatusCode::CREATED | StatusCode::ACCEPTED, Some(id)) = (status, id) {
        return Some(Outcome::Accepted(id));
    }
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    let kind =
        problem["type"].as_str().and_then(|kind| kind.rsplit('/').next()).unwrap_or_default();
    if kind == "request-in-progress" {
        return None;
    }
    let why = match problem["callee"].as_str() {
        Some(callee) => format!("{}: {callee}", status.as_u16()),
        None => format!("{} {kind}", status.as_u16()),
    };
    let order = problem["order"].as_str().and_then(|path| path.rsplit('/').next()?.parse().ok());
    Some(Outcome::Refused { why, order })
}
