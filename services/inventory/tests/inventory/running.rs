//! The whole service, running, as its neighbours see it.

use std::time::Duration;

use broker::{Broker, Consumer, DeadLetter, Topology};
use clap::Parser as _;
use contracts::{SUBSCRIPTIONS, Timestamp};
use inventory::Config;
use reqwest::Method;
use runtime::client::{Answer, Client};
use serde_json::Value;
use testkit::{TestDatabase, sqlite_database};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

#[derive(clap::Parser)]
struct Program {
    #[command(flatten)]
    config: Config,
}

/// How long anything may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// The service on a database, with a jobs-table broker of its own.
pub(crate) struct Running {
    client: Client,
    broker: Broker,
    /// What the order service would get.
    orders: Consumer,
    shutdown: CancellationToken,
    service: JoinHandle<anyhow::Result<()>>,
    _broker_file: TestDatabase,
}

impl Running {
    pub(crate) async fn start(database: &TestDatabase) -> Self {
        let broker_file = sqlite_database();
        let args = ["inventory", "--database", &database.url, "--broker", &broker_file.url];
        let config = Program::parse_from(args).config;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let service = tokio::spawn(inventory::run(config, listener, shutdown.clone()));
        let topology = Topology { subscriptions: SUBSCRIPTIONS.to_vec(), ..Topology::default() };
        let broker = Broker::open(&broker_file.url, topology).await.unwrap();
        Self {
            client: Client::new(&base, PATIENCE).unwrap(),
            orders: broker.consume("order", 64),
            broker,
            shutdown,
            service,
            _broker_file: broker_file,
        }
    }

    pub(crate) async fn get(&self, path: &[&str]) -> Answer {
        self.client.call(Method::GET, "test", path, |request| request).await.unwrap()
    }

    pub(crate) async fn get_json(&self, path: &[&str]) -> Value {
        let response = self.get(path).await;
        assert!(response.status().is_success(), "{path:?}: {}", response.status());
        response.json().await.unwrap()
    }

    pub(crate) async fn put(&self, sku: &str, kind: &str, body: impl Into<Vec<u8>>) -> Answer {
        let path = ["products", sku];
        let call = self.client.call(Method::PUT, "test", &path, |request| {
            request.header("Content-Type", kind).body(body.into())
        });
        call.await.unwrap()
    }

    /// Has the goods of an order released or shipped by a call; the status and the body of the answer.
    pub(crate) async fn post(&self, order: Uuid, action: &str) -> (u16, Value) {
        let order = order.to_string();
        let path = ["reservations", &order, action];
        let answer = self.client.call(Method::POST, "test", &path, |request| request);
        let answer = answer.await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Publishes an event, under an id.
    pub(crate) async fn publish<E: contracts::Event>(&self, id: Uuid, event: &E) {
        let cause = contracts::Cause::default();
        let envelope = contracts::Envelope::new(event, id, Timestamp::now(), &cause).unwrap();
        let routing_key = E::ROUTING_KEY.to_owned();
        let message = broker::Message {
            exchange: contracts::Exchange::Events,
            routing_key,
            body: envelope.to_bytes().unwrap(),
        };
        let outcomes = self.broker.publish(&[message]).await;
        assert_eq!(outcomes, [broker::Outcome::Confirmed]);
    }

    /// The next `count` messages that the order service gets.
    pub(crate) async fn told(&mut self, count: usize) -> Vec<contracts::Envelope> {
        let mut told = Vec::new();
        let waiting = async {
            while told.len() < count {
                let deliveries = self.orders.next().await;
                told.extend(
                    deliveries.iter().map(|it| contracts::Envelope::from_bytes(&it.body).unwrap()),
                );
                let acks = deliveries.into_iter().map(|it| (it, broker::Verdict::Ack)).collect();
                self.orders.settle(acks).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the messages arrive");
        assert_eq!(told.len(), count, "more than expected");
        told
    }

    /// Waits until an order's goods are in a state.
    pub(crate) async fn reservation(&self, order: Uuid, state: &str) -> Value {
        let order = order.to_string();
        eventually(async || {
            let response = self.get(&["reservations", &order]).await;
            let body: Value = response.json().await.unwrap();
            (body["state"] == state).then_some(body)
        })
        .await
    }

    /// Waits until the service has dead letters.
    pub(crate) async fn dead_letters(&self) -> Vec<DeadLetter> {
        eventually(async || {
            let letters = self.broker.dead_letters("inventory", 10).await.unwrap();
            (!letters.is_empty()).then_some(letters)
        })
        .await
    }

    /// Stops it in an orderly way.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.service.await.unwrap().unwrap();
        self.broker.close().await;
    }
}

/// Looks again and again until there is something to see.
async fn eventually<T>(look: impl AsyncFn() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("it happens")
}
