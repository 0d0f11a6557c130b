//! What a customer, an operator, the bank and the mail server see.

use std::{collections::HashMap, time::Duration};

use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::System;

/// How long a test waits for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `look` finds what it looks for.
pub(crate) async fn eventually<T, F>(what: &str, look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    within(PATIENCE, what, look).await
}

/// As [`eventually`], with a limit of its own.
pub(crate) async fn within<T, F>(limit: Duration, what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} in vain: {what}");
        sleep(Duration::from_millis(25)).await;
    }
}

/// A checkout's body.
pub(crate) fn checkout(sku: &str, quantity: u32) -> Value {
    json!({
        "customer": {"email": "ada@example.com", "name": "Ada"},
        "items": [{"sku": sku, "quantity": quantity}],
        "card_token": "tok_visa",
    })
}

/// An accepted order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) id: String,
    pub(crate) total: i64,
}

impl Placed {
    /// From the answer to the checkout.
    pub(crate) fn read(body: &Value) -> Self {
        let id = body["id"].as_str().unwrap().to_owned();
        Self { id, total: body["total"]["amount"].as_i64().unwrap() }
    }
}

impl System {
    pub(crate) async fn post_checkout(&self, body: &Value) -> reqwest::Result<Response> {
        self.post_checkout_with(body, |request| request).await
    }

    pub(crate) async fn post_checkout_with(
        &self,
        body: &Value,
        fill: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> reqwest::Result<Response> {
        fill(self.http().post(format!("{}/checkout", self.url("order"))).json(body)).send().await
    }

    /// Places an order that must be accepted.
    pub(crate) async fn place(&self, body: &Value) -> Placed {
        let answer = self.post_checkout(body).await.unwrap();
        let (status, location) = (answer.status(), answer.headers().get("location").cloned());
        let body: Value = answer.json().await.unwrap();
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
        let placed = Placed::read(&body);
        assert_eq!(location.unwrap().to_str().unwrap(), format!("/orders/{}", placed.id));
        placed
    }

    pub(crate) async fn order(&self, id: &str) -> Value {
        let url = format!("{}/orders/{id}", self.url("order"));
        self.http().get(url).send().await.unwrap().json().await.unwrap()
    }

    /// The order once it is settled.
    pub(crate) async fn settled(&self, id: &str) -> Value {
        let url = format!("{}/orders/{id}", self.url("order"));
        eventually(&format!("order {id} is settled"), || async {
            let answer = self.http().get(&url).header("prefer", "wait=5").send().await.ok()?;
            let order: Value = answer.json().await.ok()?;
            (order["settled"] == true).then_some(order)
        })
        .await
    }

    pub(crate) async fn cancel(&self, id: &str) -> Response {
        let url = format!("{}/orders/{id}/cancel", self.url("order"));
        self.http().post(url).send().await.unwrap()
    }

    pub(super) async fn sandbox(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.url("sandbox"));
        self.http().get(url).send().await.unwrap().json().await.unwrap()
    }

    /// The processor's entries for an order.
    pub(crate) async fn charges(&self, order: &str) -> Vec<Value> {
        let ledger = self.sandbox(&format!("/ledger?reference={order}")).await;
        ledger["entries"].as_array().unwrap_or_else(|| panic!("{ledger}")).clone()
    }

    /// What the processor keeps of an order: what was charged and not given back.
    pub(crate) async fn net(&self, order: &str) -> i64 {
        let charges = self.charges(order).await;
        let kept = charges.iter().filter(|charge| charge["refunded_at"].is_null());
        kept.map(|charge| charge["amount"].as_i64().unwrap()).sum()
    }

    /// The processor's totals.
    pub(crate) async fn ledger_summary(&self) -> Value {
        self.sandbox("/ledger/summary").await
    }

    /// The mails about an order.
    pub(crate) async fn mails(&self, order: &str) -> Vec<Value> {
        let mails = self.sandbox(&format!("/mails?order_id={order}")).await;
        mails["mails"].as_array().unwrap_or_else(|| panic!("{mails}")).clone()
    }

    /// How many mails there are.
    pub(crate) async fn mails_summary(&self) -> Value {
        self.sandbox("/mails/summary").await
    }

    /// The mails about an order, once there are so many.
    pub(crate) async fn mails_arrived(&self, order: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} mails about {order}"), || async {
            let mails = self.mails(order).await;
            (mails.len() >= count).then_some(mails)
        })
        .await
    }

    /// What inventory has of a product: on hand, and put aside.
    pub(crate) async fn stock(&self, sku: &str) -> (i64, i64) {
        let url = format!("{}/products/{sku}", self.url("inventory"));
        let product: Value = self.http().get(url).send().await.unwrap().json().await.unwrap();
        let number = |field: &str| product[field].as_i64().unwrap_or_else(|| panic!("{product}"));
        let (on_hand, available) = (number("on_hand"), number("available"));
        (on_hand, on_hand - available)
    }

    /// Checks that the books balance over settled orders: every confirmed one has exactly one charge of its total, every cancelled
    /// one has none left; each has its two mails, each once. How many were confirmed.
    pub(crate) async fn audit(&self, orders: &[Placed]) -> usize {
        let mut confirmed = 0;
        for order in orders {
            confirmed += usize::from(self.audit_money(order).await);
            self.one_of_each_mail(&order.id).await;
        }
        confirmed
    }

    /// Checks the charge of one order; whether it was confirmed.
    pub(crate) async fn audit_money(&self, Placed { id, total }: &Placed) -> bool {
        let order = self.settled(id).await;
        let confirmed = order["status"] == "confirmed";
        let expected = if confirmed { *total } else { 0 };
        assert_eq!(self.net(id).await, expected, "what the processor keeps of {order}");
        let charges = self.charges(id).await;
        assert!(charges.len() <= 1, "charged twice: {charges:?}");
        confirmed
    }

    /// Checks that an order's two mails came, each once.
    pub(crate) async fn one_of_each_mail(&self, id: &str) {
        let mails = self.mails_arrived(id, 2).await;
        let mut times: HashMap<&str, u32> = HashMap::new();
        for mail in &mails {
            *times.entry(mail["message_id"].as_str().unwrap()).or_default() += 1;
        }
        assert_eq!(mails.len(), 2, "mails about {id}: {mails:?}");
        assert_eq!(times.len(), 2, "mails about {id} repeat: {times:?}");
    }
}

/// `100ms`, `3s`.
pub(crate) fn duration(text: &str) -> Duration {
    match text.strip_suffix("ms") {
        Some(millis) => Duration::from_millis(millis.parse().unwrap()),
        None => Duration::from_secs(text.trim_end_matches('s').parse().unwrap()),
    }
}
