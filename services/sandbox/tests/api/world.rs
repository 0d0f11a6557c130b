//! A running sandbox, and short ways to talk to it.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::header::{Header, HeaderName, HeaderValue},
    transport::smtp::Error,
};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub(crate) type Smtp = AsyncSmtpTransport<Tokio1Executor>;

pub(crate) struct World {
    pub(crate) data: PathBuf,
    pub(crate) http: reqwest::Client,
    pub(crate) smtp: SocketAddr,
    address: SocketAddr,
    running: JoinHandle<anyhow::Result<()>>,
    shutdown: CancellationToken,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_in(empty_folder()).await
    }

    pub(crate) async fn start_in(data: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mail_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let smtp = mail_listener.local_addr().unwrap();
        let config = sandbox::Config { listen: address, smtp_listen: smtp, data: data.clone() };
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(sandbox::run(config, listener, mail_listener, shutdown.clone()));
        Self { data, http: client(), smtp, address, running, shutdown }
    }

    /// Stops it and returns its data folder.
    pub(crate) async fn stop(self) -> PathBuf {
        drop(self.http);
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
        self.data
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.address))
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let response = self.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.json().await.unwrap()
    }

    pub(crate) fn charge_request(&self, key: &str, charge: &Value) -> RequestBuilder {
        self.request(Method::POST, "/charges").header("Idempotency-Key", key).json(charge)
    }

    pub(crate) async fn charge(&self, key: &str, charge: &Value) -> (StatusCode, Value) {
        answer(self.charge_request(key, charge)).await
    }

    /// Returns the outcome.
    pub(crate) async fn reverse(&self, key: &str) -> String {
        let path = format!("/charges/{key}/reverse");
        let (status, body) = answer(self.request(Method::POST, &path)).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body["outcome"].as_str().unwrap().to_owned()
    }

    /// Charges, refunds and references that were charged twice.
    pub(crate) async fn totals(&self) -> (u64, u64, u64) {
        let totals = self.get("/ledger/summary").await;
        let number = |name: &str| totals[name].as_u64().unwrap();
        (number("charges"), number("refunds"), number("charged_twice"))
    }

    pub(crate) async fn set_faults(&self, part: &str, faults: Value) {
        let (status, body) =
            answer(self.request(Method::PUT, &format!("/faults/{part}")).json(&faults)).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }

    pub(crate) async fn heal(&self) {
        let response = self.request(Method::DELETE, "/faults").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
    }

    pub(crate) fn mailer(&self) -> Smtp {
        AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1")
            .port(self.smtp.port())
            .timeout(Some(Duration::from_secs(10)))
            .build()
    }

    pub(crate) async fn send(&self, mail: Message) -> Result<(), Error> {
        self.mailer().send(mail).await.map(drop)
    }
}

pub(crate) fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy().build().unwrap()
}

pub(crate) fn empty_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("sandbox-{}", uuid::Uuid::now_v7()))
}

pub(crate) async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    (status, response.json().await.unwrap_or_default())
}

pub(crate) fn charge_of(reference: &str) -> Value {
    json!({ "amount": 4200, "currency": "EUR", "card_token": "tok_visa", "reference": reference })
}

/// The header that tells which order a mail is about.
#[derive(Clone)]
struct OrderId(String);

impl Header for OrderId {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("X-Order-Id")
    }

    fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self(text.to_owned()))
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), self.0.clone())
    }
}

pub(crate) fn mail(to: &str, order_id: &str, message_id: &str, text: &str) -> Message {
    Message::builder()
        .from("Shop <shop@example.com>".parse().unwrap())
        .to(to.parse().unwrap())
        .subject("Your order")
        .message_id(Some(format!("<{message_id}>")))
        .header(OrderId(order_id.to_owned()))
        .body(text.to_owned())
        .unwrap()
}
