//! Customers who keep coming while a test breaks something.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use reqwest::{Client, Response, StatusCode, header};
use serde_json::{Value, json};
use tokio::{
    sync::oneshot,
    task::{JoinHandle, JoinSet},
    time::{Instant, interval},
};
use uuid::Uuid;

use super::{Placed, Shop, checkout};
use crate::wait::within;

/// Sends checkouts, to each replica of the order service in turn. Cloning shares the turns.
#[derive(Debug, Clone)]
pub struct Customers {
    http: Client,
    urls: Arc<[String]>,
    styles: Arc<[&'static str]>,
    turn: Arc<AtomicUsize>,
    patience: Duration,
}

/// A checkout as a customer sees it.
#[derive(Debug)]
pub struct Checkout {
    /// What was sent.
    pub body: Value,
    /// The idempotency key that it was sent with.
    pub key: String,
    /// The style that it was sent with.
    style: &'static str,
    /// When it was sent.
    pub sent: Instant,
    /// How long the customer waited.
    pub took: Duration,
    /// Why there was no answer, or the answer.
    pub answer: Result<Answer, String>,
}

/// An answer to a checkout.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its `Content-Type`, or nothing.
    pub content_type: String,
    /// Its `Retry-After`.
    pub retry_after: Option<String>,
    /// Its body.
    pub body: Value,
}

/// Checkouts at a steady pace, until it is [ended](Self::end).
#[derive(Debug)]
pub struct Load {
    stop: oneshot::Sender<()>,
    sending: JoinHandle<Vec<Checkout>>,
}

impl Checkout {
    /// The order, if it was accepted.
    #[must_use]
    pub fn placed(&self) -> Option<Placed> {
        let answer = self.answer.as_ref().ok().filter(|a| a.status == StatusCode::ACCEPTED)?;
        Some(Placed::read(&answer.body))
    }
}

impl Answer {
    async fn read(response: Response) -> reqwest::Result<Self> {
        let header = |name| {
            let value = response.headers().get(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        Ok(Self {
            status: response.status(),
            content_type: header(header::CONTENT_TYPE).unwrap_or_default(),
            retry_after: header(header::RETRY_AFTER),
            body: response.json().await?,
        })
    }
}

impl Customers {
    /// Sends one checkout, once, in the style whose turn it is.
    pub async fn send(&self, body: Value, key: String) -> Checkout {
        let (url, style) = self.turn();
        self.send_to(url, style, body, key).await
    }

    /// Sends a checkout to the next replica as it was sent before: in another style it would be another request.
    async fn repeat(&self, checkout: &Checkout) -> Checkout {
        let (url, _) = self.turn();
        self.send_to(url, checkout.style, checkout.body.clone(), checkout.key.clone()).await
    }

    /// The replica and the style whose turn it is.
    fn turn(&self) -> (&str, &'static str) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let style = self.styles[turn / self.urls.len() % self.styles.len()];
        (&self.urls[turn % self.urls.len()], style)
    }

    async fn send_to(&self, url: &str, style: &'static str, body: Value, key: String) -> Checkout {
        let url = format!("{url}/checkout?style={style}");
        let sent = Instant::now();
        let request = self.http.post(url).header("idempotency-key", &key).json(&body);
        let answer = async { Answer::read(request.send().await?).await }.await;
        let answer = answer.map_err(|error| format!("{error:?}"));
        Checkout { body, key, style, sent, took: sent.elapsed(), answer }
    }

    /// Sends a checkout until it is accepted, as a client should whose answer didn't come.
    pub async fn insist(&self, body: Value, key: String) -> Placed {
        let checkout = self.send(body, key).await;
        self.placed(&checkout).await
    }

    /// The order of this checkout. If it wasn't accepted, it is repeated until it is.
    async fn placed(&self, checkout: &Checkout) -> Placed {
        if let Some(placed) = checkout.placed() {
            return placed;
        }
        within(self.patience, "a repeated checkout is accepted", || async {
            let repeated = self.repeat(checkout).await;
            // 409: the first try is still under way. Anything else would be an answer for ever.
            if let Ok(Answer { status, body, .. }) = &repeated.answer {
                assert!([202, 409, 503].contains(&status.as_u16()), "{status}: {body}");
            }
            repeated.placed()
        })
        .await
    }

    /// The orders of all these checkouts: what wasn't accepted is repeated.
    pub async fn all_placed(&self, checkouts: Vec<Checkout>) -> Vec<Placed> {
        self.all_placed_with_bodies(checkouts).await.into_iter().map(|(placed, _)| placed).collect()
    }

    /// As [`all_placed`](Self::all_placed), each with what was sent.
    pub async fn all_placed_with_bodies(&self, checkouts: Vec<Checkout>) -> Vec<(Placed, Value)> {
        let placing = checkouts
            .into_iter()
            .map(async |checkout| (self.placed(&checkout).await, checkout.body));
        stream::iter(placing).buffer_unordered(16).collect().await
    }

    /// Starts to send so many checkouts a second, whether the earlier ones were answered or not.
    #[must_use]
    pub fn keep_coming(
        &self,
        per_second: u32,
        body: impl Fn(usize) -> Value + Send + 'static,
    ) -> Load {
        let (stop, mut stopped) = oneshot::channel();
        let customers = self.clone();
        let sending = tokio::spawn(async move {
            let mut pace = interval(Duration::from_secs(1) / per_second);
            let mut waiting = JoinSet::new();
            for n in 0.. {
                tokio::select! {
                    _ = pace.tick() => {}
                    _ = &mut stopped => break,
                }
                let (customers, body) = (customers.clone(), body(n));
                waiting.spawn(async move { customers.send(body, new_key()).await });
            }
            waiting.join_all().await
        });
        Load { stop, sending }
    }
}

impl Load {
    /// Sends no more; what became of each checkout, once all are answered.
    pub async fn end(self) -> Vec<Checkout> {
        // An error here only says that it ended by itself, and then so does the next line.
        let _ = self.stop.send(());
        self.sending.await.unwrap()
    }
}

impl Shop {
    /// Customers of this shop.
    #[must_use]
    pub fn customers(&self) -> Customers {
        let orders = self.urls.iter().filter(|(name, _)| name.split('.').next() == Some("order"));
        Customers {
            http: self.http().clone(),
            urls: orders.map(|(_, url)| url.clone()).collect(),
            styles: self.styles.as_slice().into(),
            turn: Arc::default(),
            patience: self.patience,
        }
    }
}
/// An idempotency key that was never used.
#[must_use]
pub fn new_key() -> String {
    Uuid::now_v7().to_string()
}

/// A plain order, that nothing speaks against.
#[must_use]
pub fn plain(_: usize) -> Value {
    checkout("mug-blue", 1)
}

/// Orders of every kind: most want two products, which the others want too, in either order; some have a declined card,
/// some want what isn't there, and some what there is too little of.
#[must_use]
pub fn assorted(n: usize) -> Value {
    let mut body = checkout("mug-blue", 1);
    let quantity = 1 + n % 3;
    let (mug, cap) = (
        json!({"sku": "mug-blue", "quantity": quantity}),
        json!({"sku": "cap-green", "quantity": 1}),
    );
    body["items"] = match n % 10 {
        0 => json!([mug, {"sku": "vinyl-sold-out", "quantity": 1}]),
        1 | 6 => json!([cap, {"sku": "poster-limited", "quantity": 1}]),
        n if n % 2 == 0 => json!([mug, cap]),
        _ => json!([cap, mug]),
    };
    if n % 10 == 2 || n % 20 == 6 {
        body["card_token"] = json!("tok_declined");
    }
    body
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::{Router, http::Uri, routing::post};

    use super::*;

    #[tokio::test]
    async fn what_is_repeated_is_repeated_in_its_own_style() {
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let seen = asked.clone();
        let route = post(async move |uri: Uri| {
            let mut seen = seen.lock().unwrap();
            seen.push(uri.to_string());
            let status = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::ACCEPTED][seen.len() - 1];
            (status, axum::Json(json!({"id": "an order", "total": {"amount": 1}})))
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            axum::serve(listener, Router::new().route("/checkout", route)).await.unwrap();
        });
        let mut shop = Shop::default();
        shop.set_url("order", url);
        shop.set_styles(&["choreography", "orchestration"]);
        shop.customers().insist(plain(0), new_key()).await;
        assert_eq!(*asked.lock().unwrap(), ["/checkout?style=choreography"; 2]);
        server.abort();
    }
}
