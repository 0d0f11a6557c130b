//! A broker of a test's own, and what the cases do with it again and again.

use std::{panic::AssertUnwindSafe, time::Duration};

use broker::{Broker, Consumer, Delivery, History, Message, Outcome, Topology, Verdict};
use contracts::{Exchange, Subscription, Timestamp};
use futures_util::FutureExt as _;
use lapin::{Channel, Connection, ConnectionProperties};
use testkit::TestDatabase;
use tokio::time::timeout;

/// No case takes longer unless something hangs.
const LIMIT: Duration = Duration::from_secs(60);
/// What is on its way arrives sooner than this; a lease that must expire first takes five seconds.
pub(crate) const ARRIVAL: Duration = Duration::from_secs(15);
/// Nothing more comes when nothing came for this long.
pub(crate) const QUIET: Duration = Duration::from_millis(400);
/// The delays of the topology.
pub(crate) const SOON: Duration = Duration::from_millis(300);
pub(crate) const LATER: Duration = Duration::from_secs(6);

const SUBSCRIPTIONS: &[Subscription] = &[
    Subscription::to("payment", &["order.placed", "order.cancelled"]).with_commands(),
    Subscription::to("email", &["order.placed"]),
];

/// The adapter and its engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    RabbitMq,
    /// Whose topology somebody else has declared.
    ProvisionedRabbitMq,
    SqliteTable,
    PostgresTable,
}

/// A broker that nobody else uses.
pub(crate) struct Fixture {
    /// Never [`Kind::ProvisionedRabbitMq`], which is [`Kind::RabbitMq`] with `provisioned`.
    pub(crate) kind: Kind,
    pub(crate) url: String,
    provisioned: bool,
    _database: Option<TestDatabase>,
}

impl Fixture {
    async fn new(kind: Kind) -> Option<Self> {
        let database = match kind {
            Kind::RabbitMq | Kind::ProvisionedRabbitMq => {
                let url = testkit::amqp_url()?;
                let provisioned = kind == Kind::ProvisionedRabbitMq;
                if provisioned {
                    let broker = Broker::open(&url, topology()).await.unwrap();
                    broker.declare().await.unwrap();
                    broker.close().await;
                }
                return Some(Self { kind: Kind::RabbitMq, url, provisioned, _database: None });
            }
            Kind::SqliteTable => testkit::sqlite_database(),
            Kind::PostgresTable => testkit::postgres_database().await?,
        };
        let url = database.url.clone();
        Some(Self { kind, url, provisioned: false, _database: Some(database) })
    }

    /// The broker, opened as another process would.
    pub(crate) async fn open(&self) -> Broker {
        let url = if self.provisioned { &undeclaring(&self.url) } else { &self.url };
        Broker::open(url, topology()).await.unwrap()
    }

    /// What the names of exchanges and queues begin with.
    pub(crate) fn namespace(&self) -> &str {
        self.url.split_once("namespace=").unwrap().1
    }
}

/// A channel past the adapter, for what only another program would do.
pub(crate) async fn channel(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

/// The URL for a program that declares nothing.
pub(crate) fn undeclaring(url: &str) -> String {
    format!("{url}{}declare=false", if url.contains('?') { '&' } else { '?' })
}

pub(crate) fn topology() -> Topology {
    Topology {
        subscriptions: SUBSCRIPTIONS.to_vec(),
        retry_delays: vec![SOON, LATER],
        history: false,
    }
}

/// Runs a case against a broker of its own, and tidies up however it ends.
pub(crate) async fn run(kind: Kind, case: impl AsyncFnOnce(&Fixture)) {
    let Some(fixture) = Fixture::new(kind).await else { return };
    let ended = AssertUnwindSafe(timeout(LIMIT, case(&fixture))).catch_unwind().await;
    if fixture.kind == Kind::RabbitMq {
        testkit::delete_queues(&fixture.url, &topology()).await.unwrap();
    }
    match ended {
        Ok(in_time) => in_time.unwrap_or_else(|_| panic!("not done within {LIMIT:?}")),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

pub(crate) fn message(routing_key: &str, body: impl Into<Vec<u8>>) -> Message {
    Message { exchange: Exchange::Events, routing_key: routing_key.to_owned(), body: body.into() }
}

/// `count` placed orders, each with its own bytes.
pub(crate) fn orders(count: usize) -> Vec<Message> {
    (0..count).map(|n| message("order.placed", format!("order {n}"))).collect()
}

/// Publishes what must be confirmed.
pub(crate) async fn publish(broker: &Broker, batch: &[Message]) {
    let outcomes = broker.publish(batch).await;
    assert_eq!(outcomes, vec![Outcome::Confirmed; batch.len()]);
}

/// Takes at least `count` deliveries, unanswered.
pub(crate) async fn take(consumer: &mut Consumer, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let more = timeout(ARRIVAL, consumer.next()).await;
        let more = more.unwrap_or_else(|_| panic!("{} of {count} messages came", taken.len()));
        assert!(!more.is_empty(), "nothing is no delivery");
        taken.extend(more);
    }
    taken
}

/// Takes exactly one delivery.
pub(crate) async fn take_one(consumer: &mut Consumer) -> Delivery {
    let mut taken = take(consumer, 1).await;
    assert_eq!(taken.len(), 1);
    taken.remove(0)
}

/// Whatever still comes until nothing comes for a while, unanswered.
pub(crate) async fn rest(consumer: &mut Consumer) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while let Ok(more) = timeout(QUIET, consumer.next()).await {
        taken.extend(more);
    }
    taken
}

/// Takes and acks `count` deliveries, and fails if more come. Their bytes, sorted.
pub(crate) async fn drain(consumer: &mut Consumer, count: usize) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    while bodies.len() < count {
        let taken = take(consumer, 1).await;
        bodies.extend(taken.iter().map(|delivery| delivery.body.clone()));
        ack(consumer, taken).await;
    }
    let more = rest(consumer).await;
    assert_eq!(bodies.len() + more.len(), count, "no more than was published");
    bodies.sort();
    bodies
}

pub(crate) async fn ack(consumer: &mut Consumer, deliveries: Vec<Delivery>) {
    consumer
        .settle(deliveries.into_iter().map(|delivery| (delivery, Verdict::Ack)).collect())
        .await;
}

pub(crate) fn bodies(messages: &[Message]) -> Vec<Vec<u8>> {
    let mut bodies: Vec<_> = messages.iter().map(|message| message.body.clone()).collect();
    bodies.sort();
    bodies
}

/// A history with every field filled.
pub(crate) fn failed(failures: u32, seconds: i64) -> History {
    History {
        failures,
        first_failed_at: Some(Timestamp::from_micros(1_795_000_000_123_456)),
        last_failed_at: Some(Timestamp::from_micros((1_795_000_000 + seconds) * 1_000_000 + 7)),
        error: Some("no route to the card processor: \"timed out\"\nafter 5 s – twice".to_owned()),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        replays: 0,
    }
}

/// Publishes messages and makes dead letters of them, in `payment`.
pub(crate) async fn bury(broker: &Broker, messages: &[Message]) {
    let before = broker.depth("payment").await.unwrap().dead;
    let mut consumer = broker.consume("payment", 100);
    publish(broker, messages).await;
    let taken = take(&mut consumer, messages.len()).await;
    let dead = taken
        .into_iter()
        .enumerate()
        .map(|(n, delivery)| (delivery, Verdict::Dead { history: failed(3, n as i64) }));
    consumer.settle(dead.collect()).await;
    // A consumer that goes while they are on their way would have them delivered again.
    while broker.depth("payment").await.unwrap().dead < before + messages.len() as u64 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Lets the leases of the jobs table run out.
pub(crate) async fn lapse(fixture: &Fixture) {
    let db = store::Db::open(&fixture.url, store::Options::default()).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    tx.query("UPDATE deliveries SET due_at = 0").execute().await.unwrap();
    tx.commit().await.unwrap();
}
