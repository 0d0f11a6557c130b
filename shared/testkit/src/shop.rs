//! A shop from outside, wherever it runs: what its customers, its operator and the bank see over HTTP.
//!
//! What isn't as it must be is a panic, as in any test.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on fails")]

mod books;
mod load;

use std::{collections::BTreeMap, time::Duration};

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::wait::{PATIENCE, within};

pub use books::{Stocks, Views, grouped};
pub use load::{Answer, Checkout, Customers, Load, assorted, new_key, plain};

/// Where the parts of a shop serve HTTP, by name: `order`, `payment`, a replica `payment.1`, …, `sandbox`.
#[derive(Debug, Clone)]
pub struct Shop {
    http: Client,
    urls: BTreeMap<String, String>,
    styles: Vec<&'static str>,
    patience: Duration,
}

/// An accepted order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The order's id.
    pub id: String,
    /// What it costs, in minor units.
    pub total: i64,
}

impl Placed {
    /// From the answer to the checkout.
    #[must_use]
    pub fn read(body: &Value) -> Self {
        let id = body["id"].as_str().unwrap().to_owned();
        Self { id, total: body["total"]["amount"].as_i64().unwrap() }
    }
}

/// A checkout's body.
#[must_use]
pub fn checkout(sku: &str, quantity: u32) -> Value {
    json!({
        "customer": {"email": "ada@example.com", "name": "Ada"},
        "items": [{"sku": sku, "quantity": quantity}],
        "card_token": "tok_visa",
    })
}

impl Default for Shop {
    fn default() -> Self {
        Self::new(PATIENCE)
    }
}

impl Shop {
    /// A shop whose parts are not known yet, and how long to wait for what must happen there.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        // Another installed provider would do as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(70)).build().unwrap();
        Self { http, urls: BTreeMap::new(), styles: vec!["choreography"], patience }
    }

    /// Says where a part serves HTTP.
    pub fn set_url(&mut self, name: &str, url: String) {
        self.urls.insert(name.to_owned(), url);
    }

    /// Says who coordinates the orders: the first of these styles those that are placed one by one, and all in turn those of a load.
    pub fn set_styles(&mut self, styles: &[&'static str]) {
        self.styles = styles.to_vec();
    }

    /// Where a part serves HTTP.
    #[must_use]
    pub fn url(&self, name: &str) -> &str {
        self.urls.get(name).unwrap_or_else(|| panic!("{name} has no URL: {:?}", self.urls))
    }

    /// The client for all of it.
    #[must_use]
    pub const fn http(&self) -> &Client {
        &self.http
    }

    /// Sends a checkout.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn post_checkout(&self, body: &Value) -> reqwest::Result<Response> {
        self.post_checkout_with(body, |request| request).await
    }

    /// Sends a checkout with more in its head.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn post_checkout_with(
        &self,
        body: &Value,
        fill: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> reqwest::Result<Response> {
        let url = format!("{}/checkout?style={}", self.url("order"), self.styles[0]);
        fill(self.http.post(url).json(body)).send().await
    }

    /// Places an order that must be accepted.
    pub async fn place(&self, body: &Value) -> Placed {
        let answer = self.post_checkout(body).await.unwrap();
        let (status, location) = (answer.status(), answer.headers().get("location").cloned());
        let body: Value = answer.json().await.unwrap();
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
        let placed = Placed::read(&body);
        assert_eq!(location.unwrap().to_str().unwrap(), format!("/orders/{}", placed.id));
        placed
    }

    /// The order as it is now.
    pub async fn order(&self, id: &str) -> Value {
        let url = format!("{}/orders/{id}", self.url("order"));
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// The order once it is settled.
    pub async fn settled(&self, id: &str) -> Value {
        let url = format!("{}/orders/{id}", self.url("order"));
        within(self.patience, &format!("order {id} is settled"), || async {
            let answer = self.http.get(&url).header("prefer", "wait=5").send().await.ok()?;
            let order: Value = answer.json().await.ok()?;
            (order["settled"] == true).then_some(order)
        })
        .await
    }

    /// Cancels an order.
    pub async fn cancel(&self, id: &str) -> Response {
        let url = format!("{}/orders/{id}/cancel", self.url("order"));
        self.http.post(url).send().await.unwrap()
    }

    /// Switches a fault of the outside world on (`processor` or `mail`).
    pub async fn fault(&self, part: &str, faults: Value) {
        let url = format!("{}/faults/{part}", self.url("sandbox"));
        let answer = self.http.put(url).json(&faults).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// Makes the outside world healthy again.
    pub async fn heal(&self) {
        let url = format!("{}/faults", self.url("sandbox"));
        assert!(self.http.delete(url).send().await.unwrap().status().is_success());
    }

    /// Whatever the sandbox shows at a path.
    pub async fn sandbox(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.url("sandbox"));
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// What inventory has of a product: on hand, and put aside.
    pub async fn stock(&self, sku: &str) -> (i64, i64) {
        let url = format!("{}/products/{sku}", self.url("inventory"));
        let product: Value = self.http.get(url).send().await.unwrap().json().await.unwrap();
        books::stock(&product)
    }

    /// The sum of a metric of a part, over the series with this label; none while it doesn't answer.
    pub async fn metric(&self, name: &str, metric: &str, label: &str) -> Option<f64> {
        let url = format!("{}/metrics", self.url(name));
        let text = self.http.get(url).send().await.ok()?.text().await.ok()?;
        let values = text
            .lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(metric) && line.contains(label))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap());
        Some(values.sum())
    }
}
