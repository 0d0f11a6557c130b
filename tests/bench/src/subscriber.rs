//! A subscriber alone: from a queue that is full to a row per message.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use broker::{Broker, Message, Outcome};
use clap::Parser as _;
use contracts::{Event as _, OrderPlaced};
use runtime::{Apply, Failure, Local, Metrics, Plumbing, Received};
use store::{Db, Options, Tx};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    message::{self, QUEUE},
    rounds::Rounds,
};

/// Messages that are published at a time.
const BATCH: usize = 500;
/// No round takes longer.
const LIMIT: Duration = Duration::from_secs(120);
const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS bench (order_id UUID PRIMARY KEY, amount BIGINT NOT NULL)";

/// `bench subscriber`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    rounds: Rounds,

    /// An empty database
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database: String,
}

/// The settings that a service has when it is told nothing.
#[derive(Debug, clap::Parser)]
struct Defaults {
    #[command(flatten)]
    plumbing: Plumbing,
}

contracts::incoming! {
    /// What is in the queue.
    pub enum Incoming { OrderPlaced }
}

/// Fills the queue, lets a subscriber empty it, and prints how fast that went.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let db = Db::open(&args.database, Options::default()).await?;
    db.migrate(&no_migrations(), &no_migrations()).await?;
    db.create_if_missing(TABLE, TABLE).await?;
    let broker = message::broker(&args.rounds.amqp).await?;
    let plumbing = Defaults::try_parse_from(["bench"])?.plumbing;
    let mut measurements = args.rounds.of("subscriber");
    for _ in 0..args.rounds.rounds {
        fill(&broker, args.rounds.messages).await?;
        let work = empty(&db, &broker, &plumbing, args.rounds.messages);
        measurements.add(args.rounds.messages, work).await?;
    }
    let (rows,) = db.read("SELECT count(*) FROM bench").one::<(i64,)>().await?;
    let expected = args.rounds.messages * args.rounds.rounds;
    ensure!(usize::try_from(rows)? == expected, "{rows} rows were written, not {expected}");
    measurements.rate().print()?;
    broker.close().await;
    db.close().await;
    Ok(())
}

/// A schema without tables of its own.
pub(crate) fn no_migrations() -> sqlx::migrate::Migrator {
    sqlx::migrate::Migrator::with_migrations(Vec::new())
}

async fn fill(broker: &Broker, messages: usize) -> anyhow::Result<()> {
    let bodies = (0..messages).map(|_| message::body()).collect::<anyhow::Result<Vec<_>>>()?;
    for bodies in bodies.chunks(BATCH) {
        let message = |body: &Vec<u8>| Message {
            exchange: contracts::Exchange::Events,
            routing_key: OrderPlaced::ROUTING_KEY.to_owned(),
            body: body.clone(),
        };
        let batch: Vec<Message> = bodies.iter().map(message).collect();
        let outcomes = broker.publish(&batch).await;
        let lost = outcomes.iter().find(|outcome| **outcome != Outcome::Confirmed);
        ensure!(lost.is_none(), "a message was not taken: {lost:?}");
    }
    Ok(())
}

/// From the first batch's arrival at the handler to the last one's commit.
async fn empty(
    db: &Db,
    broker: &Broker,
    plumbing: &Plumbing,
    messages: usize,
) -> anyhow::Result<Duration> {
    let progress = Arc::new(Progress { messages, ..Progress::default() });
    let subscriber = runtime::Subscriber::new(
        QUEUE,
        db.clone(),
        broker.clone(),
        Metrics::new(),
        plumbing,
        Local(Rows(progress.clone())),
    );
    let stop = CancellationToken::new();
    let running = tokio::spawn(subscriber.run(runtime::Pulse::default(), stop.clone()));
    let all = tokio::time::timeout(LIMIT, progress.all.notified()).await;
    stop.cancel();
    running.await?;
    let left = messages - progress.applied.load(Ordering::Relaxed);
    all.with_context(|| format!("{left} messages were not applied within {LIMIT:?}"))?;
    let began = progress.began.get().context("no message came")?;
    let ended = progress.ended.get().context("the end was missed")?;
    Ok(ended.duration_since(*began))
}

/// How far a round is.
#[derive(Debug, Default)]
struct Progress {
    messages: usize,
    applied: AtomicUsize,
    began: OnceLock<Instant>,
    ended: OnceLock<Instant>,
    all: Notify,
}

impl Progress {
    fn add(&self, messages: usize) {
        if self.applied.fetch_add(messages, Ordering::Relaxed) + messages >= self.messages {
            self.ended.get_or_init(Instant::now);
            self.all.notify_one();
        }
    }
}

/// Writes a row per message.
#[derive(Debug)]
struct Rows(Arc<Progress>);

impl Apply for Rows {
    type Message = Incoming;

    async fn apply(&self, tx: &mut Tx, batch: &[&Received<Incoming>]) -> Result<(), Failure> {
        self.0.began.get_or_init(Instant::now);
        tx.execute_many(
            "INSERT INTO bench (order_id, amount) VALUES {}",
            batch,
            |row, received| {
                let Incoming::OrderPlaced(order) = &received.message;
                row.bind(order.order_id).bind(order.total.amount)
            },
        )
        .await?;
        let (progress, messages) = (self.0.clone(), batch.len());
        tx.on_commit(move || progress.add(messages));
        Ok(())
    }
}
