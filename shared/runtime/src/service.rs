//! A running service: what it stands on, and the loops that it runs beside its HTTP server.

use std::time::Duration;

use anyhow::Context as _;
use broker::{Broker, Topology};
use contracts::{SUBSCRIPTIONS, Subscription, Timestamp};
use sqlx::migrate::Migrator;
use store::{Chain, Db};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    CrashPoint, Handler, Metrics, Plumbing, Pulse, Relay, Subscriber, Watchdog, gauges, http,
};

/// The migrations of a service, one set per engine.
#[derive(Debug, Clone, Copy)]
pub struct Migrations {
    /// For PostgreSQL.
    pub postgres: &'static Migrator,
    /// For SQLite.
    pub sqlite: &'static Migrator,
}

/// The pauses between tries to read the history double from the first to the last: each begins from the start.
const CATCH_UP_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// How long the relay may take for what is left in the outbox when the service is told to stop.
const LAST_DRAIN: Duration = Duration::from_secs(5);
/// How long the graceful shutdown may take in all: Docker, for one, kills after ten seconds.
const STOPPING: Duration = Duration::from_secs(9);

/// A service while it runs.
#[derive(Debug)]
pub struct Service {
    /// Its name; also its queue's.
    pub name: &'static str,
    /// Its own database.
    pub db: Db,
    /// The broker.
    pub broker: Broker,
    /// Its metrics.
    pub metrics: Metrics,
    /// Where it was told to crash.
    pub crash: CrashPoint,
    /// Ends when it is to stop.
    pub shutdown: CancellationToken,
    plumbing: Plumbing,
    tasks: JoinSet<&'static str>,
    watchdog: Watchdog,
}

impl Service {
    /// Opens the database (waiting until it is there), brings its schema up to date, and opens the broker.
    ///
    /// # Errors
    /// When a URL can't be used, a migration fails, or it is told to stop before the database is there.
    pub async fn open(
        subscription: Subscription,
        plumbing: &Plumbing,
        migrations: Migrations,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        let name = subscription.queue;
        let url = plumbing.database_url(name);
        make_folder(&url).await?;
        make_folder(&plumbing.broker).await?;
        let options = store::Options {
            max_connections: plumbing.database_connections,
            ..store::Options::default()
        };
        let db = Db::open(&url, options).await.context("opening the database")?;
        shutdown
            .run_until_cancelled(migrate(&db, migrations))
            .await
            .context("stopped before the database was there")??;
        let mut subscriptions = SUBSCRIPTIONS.to_vec();
        if !subscriptions.contains(&subscription) {
            subscriptions.push(subscription);
        }
        let topology =
            Topology { subscriptions, retry_delays: plumbing.retry_delays.clone(), history: true };
        let broker =
            Broker::open(&plumbing.broker, topology).await.context("opening the broker")?;
        Ok(Self {
            name,
            db,
            broker,
            metrics: Metrics::new(),
            crash: plumbing.crash_at.clone(),
            shutdown,
            plumbing: plumbing.clone(),
            tasks: JoinSet::new(),
            watchdog: Watchdog::default(),
        })
    }

    /// Runs a loop of the service's own beside the others. It must report its progress, also when there is nothing to do, more often
    /// than every few seconds; and end when [`shutdown`](Self::shutdown) does.
    pub fn spawn<F>(&mut self, name: &'static str, task: impl FnOnce(Pulse) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = task(self.watchdog.pulse(name));
        self.tasks.spawn(async move {
            task.await;
            name
        });
    }

    /// Handles what the service's queue delivers.
    pub fn subscribe<H: Handler>(&mut self, handler: H) {
        let subscriber = Subscriber::new(
            self.name,
            self.db.clone(),
            self.broker.clone(),
            self.metrics.clone(),
            &self.plumbing,
            handler,
        );
        let shutdown = self.shutdown.clone();
        self.spawn("subscriber", |pulse| subscriber.run(pulse, shutdown));
    }

    /// Has the events of the last `period` delivered to the service's queue, once: for a service that is new, and would know what
    /// happened before. It goes on beside what is delivered now; what comes both ways is applied once.
    pub fn catch_up(&mut self, period: Duration) {
        let (queue, db, broker) = (self.name, self.db.clone(), self.broker.clone());
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            let catching_up = catch_up(queue, db, broker, Timestamp::now() - period);
            shutdown.run_until_cancelled(catching_up).await;
            shutdown.cancelled().await;
            "catching up"
        });
    }

    /// Runs the relay and serves HTTP until told to stop; then ends in order: no new requests, what is being handled is finished,
    /// the outbox is drained if the broker is there.
    ///
    /// # Errors
    /// When the server fails, or one of the loops ended by itself (it panicked): the process should then be restarted.
    pub async fn serve(mut self, listener: TcpListener, api: OpenApiRouter) -> anyhow::Result<()> {
        self.watch();
        // The relay stops last, so that it sends what the others still commit.
        let relaying = CancellationToken::new();
        let relay = Relay::new(
            self.db.clone(),
            self.broker.clone(),
            self.metrics.clone(),
            self.crash.clone(),
        );
        let mut relay = tokio::spawn(relay.run(self.watchdog.pulse("relay"), relaying.clone()));
        let ground = http::Ground {
            db: self.db.clone(),
            broker: self.broker.clone(),
            watchdog: self.watchdog.clone(),
        };
        let app = http::app(self.name, api, Some(ground), self.metrics.clone());
        let server = http::serve(listener, app, self.shutdown.clone());
        tokio::pin!(server);
        let stuck = self.watchdog.start()?;
        let (tasks, shutdown) = (&mut self.tasks, &self.shutdown);
        let loops = async {
            while let Some(ended) = tasks.join_next().await {
                if !shutdown.is_cancelled() {
                    return anyhow::anyhow!("a loop ended by itself: {ended:?}");
                }
            }
            // They end when told to; the server still has requests to finish.
            std::future::pending().await
        };
        let told_to_stop = self.shutdown.clone().cancelled_owned();
        let out_of_time = tokio::spawn(async {
            told_to_stop.await;
            tokio::time::sleep(STOPPING).await;
        });
        let outcome = tokio::select! {
            () = &mut server => Ok(()),
            error = loops => Err(error),
            ended = &mut relay => Err(anyhow::anyhow!("the relay ended by itself: {ended:?}")),
            Ok(stuck) = stuck => Err(stuck.into()),
        };
        self.shutdown.cancel();
        outcome?;
        let ending = async {
            while self.tasks.join_next().await.is_some() {}
            relaying.cancel();
            // What it doesn't get sent by then is sent after the next start.
            if let Ok(ended) = tokio::time::timeout(LAST_DRAIN, relay).await {
                ended?;
            }
            self.broker.close().await;
            self.db.close().await;
            Ok(())
        };
        tokio::select! {
            ended = ending => ended,
            _ = out_of_time => {
                tracing::warn!("not all loops ended in time; what they had begun is done again");
                Ok(())
            }
        }
    }

    /// Keeps the gauges that every service has up to date.
    fn watch(&mut self) {
        let (db, metrics, shutdown) =
            (self.db.clone(), self.metrics.clone(), self.shutdown.clone());
        self.spawn("outbox gauges", |pulse| gauges::watch_outbox(db, metrics, pulse, shutdown));
        let (name, broker) = (self.name, self.broker.clone());
        let (metrics, shutdown) = (self.metrics.clone(), self.shutdown.clone());
        self.spawn("queue gauges", |pulse| {
            gauges::watch_queue(name, broker, metrics, pulse, shutdown)
        });
    }
}

/// Tries until the queue was given what happened since then.
async fn catch_up(queue: &'static str, db: Db, broker: Broker, since: Timestamp) {
    let mut pause = CATCH_UP_PAUSES.0;
    loop {
        let given = async {
            if db.has_caught_up(queue).await? {
                return anyhow::Ok(None);
            }
            let events = broker.recall(queue, since).await?;
            db.note_caught_up(queue).await?;
            Ok(Some(events))
        };
        match given.await {
            Ok(None) => return,
            Ok(Some(events)) => return tracing::info!(queue, events, "caught up with the history"),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(queue, error, "the history can't be read; trying on");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(CATCH_UP_PAUSES.1);
            }
        }
    }
}

/// The folder of an SQLite file, where the URL names one.
async fn make_folder(url: &str) -> anyhow::Result<()> {
    if let Some(path) = url.strip_prefix("sqlite://")
        && let Some(folder) = std::path::Path::new(path.split('?').next().unwrap_or(path)).parent()
    {
        tokio::fs::create_dir_all(folder)
            .await
            .with_context(|| format!("making the folder {}", folder.display()))?;
    }
    Ok(())
}

async fn migrate(db: &Db, migrations: Migrations) -> anyhow::Result<()> {
    let mut waiting = false;
    loop {
        match db.migrate(migrations.postgres, migrations.sqlite).await {
            Ok(()) => return Ok(()),
            Err(error @ store::Error::LoginRefused(_)) => {
                return Err(error).context("bringing the schema up to date");
            }
            Err(error) if error.is_unavailable() => {
                if !std::mem::replace(&mut waiting, true) {
                    tracing::warn!(
                        error = %Chain(&error),
                        "waiting for the database"
                    );
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(error) => return Err(error).context("bringing the schema up to date"),
        }
    }
}
