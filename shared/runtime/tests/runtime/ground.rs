//! What the tests stand on: a database and a broker of their own.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use broker::{Broker, Topology};
use clap::Parser as _;
use contracts::{Cancellation, Cause, Customer, Money, OrderCancelled, OrderId};
use runtime::{
    CrashPoint, Failure, Handler, Metrics, Plumbing, Pulse, Received, Relay, Subscriber,
};
use store::{Db, Options, Tx};
use testkit::TestDatabase;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

contracts::incoming! {
    /// What the tests' service reacts to.
    pub(crate) enum Incoming { OrderCancelled }
}

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("tests/runtime/migrations");
/// The queue that the tests read; `OrderCancelled` goes into two others too.
pub(crate) const QUEUE: &str = "payment";

/// A subscriber at work.
pub(crate) struct Handling {
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

impl Handling {
    /// Ends it: a subscriber that still ran would declare anew what is deleted after a test.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap();
    }
}

pub(crate) struct Ground {
    pub(crate) db: Db,
    pub(crate) broker: Broker,
    pub(crate) plumbing: Plumbing,
    pub(crate) metrics: Metrics,
    url: String,
    topology: Topology,
    databases: Vec<TestDatabase>,
}

#[derive(clap::Parser)]
struct Settings {
    #[command(flatten)]
    plumbing: Plumbing,
}

impl Ground {
    pub(crate) async fn embedded() -> Self {
        let (database, broker) = (testkit::sqlite_database(), testkit::sqlite_database());
        Self::new(database.url.clone(), broker.url.clone(), vec![database, broker]).await
    }

    pub(crate) async fn servers() -> Option<Self> {
        let (database, broker) = (testkit::postgres_database().await?, testkit::amqp_url()?);
        Some(Self::new(database.url.clone(), broker, vec![database]).await)
    }

    async fn new(database: String, url: String, databases: Vec<TestDatabase>) -> Self {
        let db = Db::open(&database, Options::default()).await.unwrap();
        db.migrate(&MIGRATIONS, &MIGRATIONS).await.unwrap();
        let plumbing = Settings::parse_from(["test", "--retry-delays", "50ms,100ms"]).plumbing;
        let topology = Topology {
            subscriptions: contracts::SUBSCRIPTIONS.to_vec(),
            retry_delays: plumbing.retry_delays.clone(),
            history: false,
        };
        let broker = Broker::open(&url, topology.clone()).await.unwrap();
        broker.declare().await.unwrap();
        Self { db, broker, plumbing, metrics: Metrics::new(), url, topology, databases }
    }

    /// Deletes what a namespace of a shared broker would keep.
    pub(crate) async fn clear(self) {
        if self.url.starts_with("amqp") {
            testkit::delete_queues(&self.url, &self.topology).await.unwrap();
        }
    }

    /// The database, opened as another program would.
    pub(crate) async fn open_database(&self, options: Options) -> Db {
        Db::open(&self.databases[0].url, options).await.unwrap()
    }

    pub(crate) fn relay(&self) -> Relay {
        self.relay_to(self.broker.clone())
    }

    pub(crate) fn relay_to(&self, broker: Broker) -> Relay {
        Relay::new(self.db.clone(), broker, self.metrics.clone(), CrashPoint::default())
    }

    /// Puts events about new orders into the outbox.
    pub(crate) async fn publish(&self, count: usize) -> Vec<OrderId> {
        let ids: Vec<OrderId> = (0..count).map(|_| OrderId::now_v7()).collect();
        let mut tx = self.db.begin().await.unwrap();
        for id in &ids {
            tx.publish(&cancelled(*id), &Cause::default()).unwrap();
        }
        tx.commit().await.unwrap();
        ids
    }

    /// Handles the queue with a handler until it is told to stop.
    pub(crate) fn handle(&self, handler: impl Handler) -> Handling {
        let (db, broker) = (self.db.clone(), self.broker.clone());
        let subscriber =
            Subscriber::new(QUEUE, db, broker, self.metrics.clone(), &self.plumbing, handler);
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(subscriber.run(Pulse::default(), shutdown.clone()));
        Handling { shutdown, running }
    }

    /// Waits until so many attempts at messages have ended like this.
    pub(crate) async fn attempts(&self, outcome: &str, count: u64) {
        let wanted =
            format!("shop_attempts_total{{queue=\"{QUEUE}\",outcome=\"{outcome}\"}} {count}\n");
        let started = std::time::Instant::now();
        loop {
            let metrics = self.metrics.render();
            if metrics.contains(&wanted) {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "no {wanted} in {metrics}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Makes the database of a server refuse (`on`) or take (`off`) what is written, over new connections; the others end.
    pub(crate) async fn read_only(&self, value: &str) {
        let mut tx = self.db.begin().await.unwrap();
        tx.query("SET TRANSACTION READ WRITE").execute().await.unwrap();
        let alter = format!(
            "DO $$ BEGIN EXECUTE format(
                 'ALTER DATABASE %I SET default_transaction_read_only = {value}', current_database()); END $$"
        );
        tx.query(alter).execute().await.unwrap();
        tx.commit().await.unwrap();
        let others = "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity
                      WHERE datname = current_database() AND pid <> pg_backend_pid()";
        self.db.read(others).execute().await.unwrap();
        let this = "SELECT pg_terminate_backend(pg_backend_pid())::text";
        self.db.read(this).execute().await.unwrap_err();
    }

    /// What was applied: order and attempt.
    pub(crate) async fn applied(&self) -> Vec<(String, i64)> {
        self.db.read("SELECT order_id, attempt FROM applied ORDER BY order_id").all().await.unwrap()
    }

    /// Waits until so many are applied and so many dead, and the queue is empty; what was applied.
    pub(crate) async fn comes_to(&self, applied: usize, dead: u64) -> Vec<(String, i64)> {
        let started = std::time::Instant::now();
        loop {
            let (rows, depth) = (self.applied().await, self.broker.depth(QUEUE).await.unwrap());
            if (rows.len(), depth.dead, depth.ready) == (applied, dead, 0) {
                return rows;
            }
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "{} applied, not {applied}; {depth:?}, not {dead} dead",
                rows.len()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

pub(crate) fn cancelled(order_id: OrderId) -> OrderCancelled {
    OrderCancelled {
        order_id,
        customer: Customer { email: "ada@example.com".into(), name: None },
        lines: Vec::new(),
        total: Money { amount: 1, currency: "EUR".into() },
        reason: Cancellation::Customer,
        coordination: contracts::Coordination::Choreography,
    }
}

/// How a message is to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// `call` fails so many times.
    Call(u32),
    /// `call` panics.
    Panic,
    /// `apply` panics.
    PanicInApply,
    /// `apply` refuses it.
    Refused,
}

/// Writes down what it applies; has trouble with some messages.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) troubles: HashMap<OrderId, Trouble>,
    /// How often each was called for.
    pub(crate) calls: std::sync::Arc<Mutex<HashMap<OrderId, u32>>>,
    /// Calls wait until this many are under way together.
    pub(crate) together: Option<std::sync::Arc<tokio::sync::Barrier>>,
}

impl Handler for Recorder {
    type Message = Incoming;
    type Plan = OrderId;
    type Answer = ();

    async fn prepare(
        &self,
        _: &mut Tx,
        batch: &[&Received<Incoming>],
    ) -> Result<Vec<OrderId>, Failure> {
        Ok(batch.iter().map(|received| order(&received.message)).collect())
    }

    async fn call(&self, received: &Received<Incoming>, plan: OrderId) -> Result<(), Failure> {
        *self.calls.lock().unwrap().entry(plan).or_default() += 1;
        if let Some(together) = &self.together {
            together.wait().await;
        }
        match self.troubles.get(&plan) {
            Some(Trouble::Call(times)) if received.attempt <= *times => {
                Err(Failure::Transient(anyhow::anyhow!("not now").context("asking outside")))
            }
            Some(Trouble::Panic) => panic!("on purpose"),
            _ => Ok(()),
        }
    }

    async fn apply(
        &self,
        tx: &mut Tx,
        batch: &[(&Received<Incoming>, &())],
    ) -> Result<(), Failure> {
        for (received, ()) in batch {
            let id = order(&received.message);
            tx.query("INSERT INTO applied (order_id, attempt) VALUES ($1, $2)")
                .bind(id.to_string())
                .bind(i64::from(received.attempt))
                .execute()
                .await?;
            assert!(self.troubles.get(&id) != Some(&Trouble::PanicInApply), "on purpose");
            if self.troubles.get(&id) == Some(&Trouble::Refused) {
                return Err(Failure::Permanent(anyhow::anyhow!("a rule refuses it")));
            }
        }
        Ok(())
    }
}

fn order(Incoming::OrderCancelled(event): &Incoming) -> OrderId {
    event.order_id
}
