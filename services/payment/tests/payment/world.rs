//! A payment service that runs, the sandbox as its card processor, and the test in the place of the order service.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use broker::{Broker, Message, Topology, Verdict};
use clap::Parser;
use contracts::{
    Cancellation, Cause, Coordination, Customer, Envelope, Event, Exchange, Line, Money,
    OrderCancelled, OrderId, OrderPlaced, SUBSCRIPTIONS, Timestamp,
};
use reqwest::{Method, StatusCode};
use runtime::client::Client;
use serde_json::{Value, json};
use testkit::TestDatabase;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::gate::Gate;

/// How long anything may take. Far longer than it does: a machine that compiles beside the tests is slow.
const DEADLINE: Duration = Duration::from_secs(30);
/// The pauses between attempts that these services are told to make.
pub(crate) const RETRY_DELAYS: [Duration; 3] = [Duration::from_millis(50); 3];

/// A database of each engine that is at hand.
pub(crate) async fn databases() -> Vec<TestDatabase> {
    let mut databases = vec![testkit::sqlite_database()];
    databases.extend(testkit::postgres_database().await);
    databases
}

/// Waits until `look` sees something.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(started.elapsed() < DEADLINE, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The payment service's own settings, as the program reads them.
#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    config: payment::Config,
}

/// A payment service that runs in this process.
pub(crate) struct Running {
    pub(crate) url: String,
    api: Client,
    task: JoinHandle<anyhow::Result<()>>,
    shutdown: CancellationToken,
}

impl Running {
    /// Ends it in good order.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Ends it in the middle of whatever it does.
    pub(crate) async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

/// The test in the place of the order service, with the broker and the card processor.
pub(crate) struct World {
    pub(crate) broker: Broker,
    pub(crate) database: TestDatabase,
    broker_database: TestDatabase,
    /// On the way to the sandbox.
    pub(crate) gate: Gate,
    sandbox: Client,
    gate_url: String,
    heard: Arc<Mutex<Vec<Envelope>>>,
    _stop: DropGuard,
}

impl World {
    /// The broker and the sandbox; no payment service yet.
    pub(crate) async fn new(database: TestDatabase) -> Self {
        let stop = CancellationToken::new();
        let broker_database = testkit::sqlite_database();
        let topology = Topology {
            subscriptions: SUBSCRIPTIONS.to_vec(),
            retry_delays: RETRY_DELAYS.to_vec(),
            history: false,
        };
        let broker = Broker::open(&broker_database.url, topology).await.unwrap();
        broker.declare().await.unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(listen(broker.clone(), heard.clone(), stop.clone()));
        let sandbox_url = sandbox(stop.clone()).await;
        let gate = Gate::default();
        let gate_url = gate.stand_before(&sandbox_url).await;
        Self {
            broker,
            database,
            broker_database,
            sandbox: Client::new(&sandbox_url, DEADLINE).unwrap(),
            gate,
            gate_url,
            heard,
            _stop: stop.drop_guard(),
        }
    }

    /// All of it.
    pub(crate) async fn with_payment(database: TestDatabase) -> (Self, Running) {
        let world = Self::new(database).await;
        let payment = world.start(&[]).await;
        (world, payment)
    }

    /// Starts a payment service, or a further replica of it.
    pub(crate) async fn start(&self, settings: &[&str]) -> Running {
        let common = [
            "payment",
            "--retry-delays=50ms,50ms,50ms",
            "--reversal-backoff=20ms",
            "--reversal-backoff-max=40ms",
        ];
        let urls = [
            format!("--database={}", self.database.url),
            format!("--broker={}", self.broker_database.url),
            format!("--processor={}", self.gate_url),
        ];
        let words = common.into_iter().chain(urls.iter().map(String::as_str));
        let Program { config } =
            Program::try_parse_from(words.chain(settings.iter().copied())).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(payment::run(config, listener, shutdown.clone()));
        let api = Client::new(&url, DEADLINE).unwrap();
        until("the service answers", async || {
            api.call(Method::GET, "/readyz", &["readyz"], |call| call).await.ok()
        })
        .await;
        Running { url, api, task, shutdown }
    }

    /// Switches what is wrong with the card processor.
    pub(crate) async fn faults(&self, faults: Value) {
        let path = ["faults", "processor"];
        let put = self.sandbox.call(Method::PUT, "/faults", &path, |call| call.json(&faults));
        assert_eq!(put.await.unwrap().status(), StatusCode::OK);
    }

    /// The charges that the card processor has made for an order.
    pub(crate) async fn ledger(&self, order_id: OrderId) -> Vec<Value> {
        let ledger =
            self.sandbox.call(Method::GET, "/ledger", &["ledger"], |call| call).await.unwrap();
        let ledger: Value = ledger.json().await.unwrap();
        let of_the_order = |entry: &&Value| entry["reference"] == order_id.to_string();
        ledger["entries"].as_array().unwrap().iter().filter(of_the_order).cloned().collect()
    }

    /// Says something on behalf of the order service, with this message id.
    pub(crate) async fn say<E: Event>(&self, id: Uuid, event: &E) {
        let envelope = Envelope::new(event, id, Timestamp::now(), &Cause::default()).unwrap();
        let body = envelope.to_bytes().unwrap();
        let (exchange, routing_key) = (Exchange::Events, E::ROUTING_KEY.to_owned());
        let message = Message { exchange, routing_key, body };
        let outcomes = self.broker.publish(&[message]).await;
        assert_eq!(outcomes, [broker::Outcome::Confirmed]);
    }

    /// What payment has announced about an order so far: the events' names.
    pub(crate) fn heard(&self, order_id: OrderId) -> Vec<String> {
        self.envelopes(order_id)
            .iter()
            .map(|envelope| envelope.kind.replace("com.example.shop.payment.", ""))
            .collect()
    }

    /// What payment has announced about an order so far.
    pub(crate) fn envelopes(&self, order_id: OrderId) -> Vec<Envelope> {
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|said| said.subject == order_id.to_string()).cloned().collect()
    }

    /// Waits for an announcement about an order.
    pub(crate) async fn hear(&self, order_id: OrderId, name: &str) -> Envelope {
        until(name, async || {
            let heard = self.envelopes(order_id);
            heard.into_iter().find(|envelope| envelope.kind.ends_with(&format!("payment.{name}")))
        })
        .await
    }

    /// Waits until a message was applied.
    pub(crate) async fn applied(&self, id: Uuid) {
        let db = store::Db::open(&self.database.url, store::Options::default()).await.unwrap();
        until("the message is applied", async || db.receipt("/order", id).await.unwrap()).await;
        db.close().await;
    }
}

/// Collects what goes to the order service. Each event once, as an inbox would.
async fn listen(broker: Broker, heard: Arc<Mutex<Vec<Envelope>>>, stop: CancellationToken) {
    let mut consumer = broker.consume("order", 64);
    let mut seen = HashSet::new();
    while let Some(deliveries) = stop.run_until_cancelled(consumer.next()).await {
        for delivery in &deliveries {
            let envelope = Envelope::from_bytes(&delivery.body).unwrap();
            if seen.insert(envelope.id) {
                heard.lock().unwrap().push(envelope);
            }
        }
        let acks = deliveries.into_iter().map(|delivery| (delivery, Verdict::Ack)).collect();
        consumer.settle(acks).await;
    }
}

async fn sandbox(stop: CancellationToken) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let smtp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let data = std::env::temp_dir().join(format!("payment-test-{}", Uuid::now_v7().simple()));
    let config = sandbox::Config {
        listen: address,
        smtp_listen: smtp.local_addr().unwrap(),
        data: data.clone(),
    };
    tokio::spawn(async move {
        let ran = sandbox::run(config, listener, smtp, stop).await;
        let _ = std::fs::remove_dir_all(data);
        ran
    });
    format!("http://{address}")
}

pub(crate) fn money(amount: i64) -> Money {
    Money { amount, currency: "EUR".to_owned() }
}

fn customer() -> Customer {
    Customer { email: "ada@example.com".to_owned(), name: None }
}

fn lines() -> Vec<Line> {
    let (sku, name) = ("MUG".to_owned(), "Mug".to_owned());
    vec![Line { sku, name, quantity: 1, unit_price: money(4200) }]
}

/// An order of 42 euros, to be paid with this card.
pub(crate) fn placed(order_id: OrderId, card_token: &str) -> OrderPlaced {
    OrderPlaced {
        order_id,
        customer: customer(),
        lines: lines(),
        total: money(4200),
        card_token: card_token.to_owned(),
        coordination: Coordination::Choreography,
        placed_at: Timestamp::now(),
    }
}

/// The same order, cancelled.
pub(crate) fn cancelled(order_id: OrderId) -> OrderCancelled {
    OrderCancelled {
        order_id,
        customer: customer(),
        lines: lines(),
        total: money(4200),
        reason: Cancellation::Customer,
        coordination: Coordination::Choreography,
    }
}

impl Running {
    /// The payment of an order, as an operator sees it; none when it isn't known.
    pub(crate) async fn payment(&self, order_id: OrderId) -> Option<Value> {
        let order_id = order_id.to_string();
        let (status, body) = self.get(&["payments", &order_id]).await;
        (status == StatusCode::OK).then_some(body)
    }

    /// Waits until the payment of an order is in this state.
    pub(crate) async fn reaches(&self, order_id: OrderId, state: &str) -> Value {
        until(state, async || {
            self.payment(order_id).await.filter(|payment| payment["state"] == state)
        })
        .await
    }

    pub(crate) async fn get(&self, path: &[&str]) -> (StatusCode, Value) {
        let response = self.api.call(Method::GET, "", path, |call| call).await.unwrap();
        (response.status(), response.json().await.unwrap_or(json!(null)))
    }

    /// Charges for an order by a call.
    pub(crate) async fn charge(&self, order_id: OrderId, amount: i64) -> (StatusCode, Value) {
        let body = json!({"order_id": order_id, "total": money(amount), "card_token": "tok_visa"});
        self.post(&["payments"], body).await
    }

    /// Asks for the refund of an order by a call.
    pub(crate) async fn refund(&self, order_id: OrderId) -> (StatusCode, Value) {
        let id = order_id.to_string();
        self.post(&["payments", &id, "refund"], json!({"total": money(4200)})).await
    }

    async fn post(&self, path: &[&str], body: Value) -> (StatusCode, Value) {
        let call = self.api.call(Method::POST, "", path, |call| {
            call.header("Idempotency-Key", Uuid::now_v7().to_string()).json(&body)
        });
        let response = call.await.unwrap();
        (response.status(), response.json().await.unwrap_or(json!(null)))
    }

    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let response = self.api.call(Method::GET, "", &["metrics"], |call| call).await.unwrap();
        let text = response.text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name))?.trim().to_owned();
        line.parse().ok()
    }
}
