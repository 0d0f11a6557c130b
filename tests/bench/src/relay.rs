//! The relay alone: from an outbox that is full to a quorum queue.

use std::time::Instant;

use anyhow::ensure;
use contracts::Cause;
use runtime::{CrashPoint, Metrics, Relay};
use store::{Db, Options};

use crate::{message, rounds::Rounds, subscriber::no_migrations};

/// Messages that are put into the outbox in one transaction.
const BATCH: usize = 500;

/// `bench relay`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    rounds: Rounds,

    /// An empty database
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database: String,
}

/// Fills an outbox, drains it, and prints how fast that went.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let db = Db::open(&args.database, Options::default()).await?;
    db.migrate(&no_migrations(), &no_migrations()).await?;
    let broker = message::broker(&args.rounds.amqp).await?;
    let relay = Relay::new(db.clone(), broker.clone(), Metrics::new(), CrashPoint::default());
    let messages = args.rounds.messages;
    // Connections, and statements that were prepared.
    fill(&db, messages / 10).await?;
    relay.drain().await?;
    let mut measurements = args.rounds.of("relay");
    for _ in 0..args.rounds.rounds {
        message::purge(&args.rounds.amqp).await?;
        fill(&db, messages).await?;
        let drain = async {
            let began = Instant::now();
            let sent = relay.drain().await?;
            let took = began.elapsed();
            ensure!(sent == messages, "{sent} messages were sent, not {messages}");
            Ok(took)
        };
        measurements.add(messages, drain).await?;
    }
    let left = db.outbox_backlog().await?.rows;
    ensure!(left == 0, "{left} messages are left in the outbox");
    measurements.rate().print()?;
    message::purge(&args.rounds.amqp).await?;
    broker.close().await;
    db.close().await;
    Ok(())
}

async fn fill(db: &Db, messages: usize) -> anyhow::Result<()> {
    let mut left = messages;
    while left > 0 {
        let mut tx = db.begin().await?;
        for _ in 0..left.min(BATCH) {
            tx.publish(&message::placed(), &Cause::default())?;
        }
        tx.commit().await?;
        left -= left.min(BATCH);
    }
    Ok(())
}
