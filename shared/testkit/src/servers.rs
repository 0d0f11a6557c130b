//! Servers for tests: of the PostgreSQL and RabbitMQ that `DATABASE_URL` and `AMQP_URL` name, each test gets a part of its own.
//!
//! `scripts/test` always sets both. Without one, what needs it is skipped, loudly.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use lapin::{Connection, ConnectionProperties, options::QueueDeleteOptions};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

/// A database of a test's own, deleted when this is dropped.
#[derive(Debug)]
pub struct TestDatabase {
    /// Its URL, `postgres://…` or `sqlite://…`.
    pub url: String,
    made: Made,
}

#[derive(Debug)]
enum Made {
    Postgres { server: String, name: String },
    Sqlite { folder: PathBuf },
}

/// A new, empty PostgreSQL database; none without `DATABASE_URL`.
///
/// # Panics
/// When the server doesn't make one.
pub async fn postgres_database() -> Option<TestDatabase> {
    let server = server("DATABASE_URL")?;
    let name = format!("test_{}", Uuid::now_v7().simple());
    let mut connection = PgConnection::connect(&server).await.expect("DATABASE_URL answers");
    let create = format!("CREATE DATABASE {name}");
    connection.execute(AssertSqlSafe(create)).await.expect("a new database");
    let (base, query) = server.split_once('?').unwrap_or((&server, ""));
    let (base, _) = base.rsplit_once('/').expect("DATABASE_URL names a database");
    let url = format!("{base}/{name}?{query}").trim_end_matches('?').to_owned();
    Some(TestDatabase { url, made: Made::Postgres { server, name } })
}

/// A SQLite file in a folder of its own; the file isn't there yet.
///
/// # Panics
/// When the folder can't be made.
#[must_use]
pub fn sqlite_database() -> TestDatabase {
    let folder = temporary_folder();
    TestDatabase {
        url: format!("sqlite://{}", folder.join("test.db").display()),
        made: Made::Sqlite { folder },
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        match &self.made {
            Made::Postgres { server, name } => {
                let (server, drop) = (server.clone(), format!("DROP DATABASE {name} WITH (FORCE)"));
                // A destructor can't await, so a thread does.
                let dropping = std::thread::spawn(move || {
                    let runtime =
                        tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                    runtime.block_on(async {
                        let mut connection = PgConnection::connect(&server).await?;
                        connection.execute(AssertSqlSafe(drop)).await?;
                        anyhow::Ok(())
                    })
                });
                if !matches!(dropping.join(), Ok(Ok(()))) {
                    eprintln!("the test database {name} was not deleted");
                }
            }
            Made::Sqlite { folder } => drop(std::fs::remove_dir_all(folder)),
        }
    }
}

/// A broker URL with a namespace of its own in the RabbitMQ of `AMQP_URL`; none without that. Give what was declared there
/// to [`delete_queues`] afterwards.
#[must_use]
pub fn amqp_url() -> Option<String> {
    let url = server("AMQP_URL")?;
    let separator = if url.contains('?') { '&' } else { '?' };
    Some(format!("{url}{separator}namespace=test-{}", Uuid::now_v7().simple()))
}

/// Deletes the exchanges and the queues that a [`broker::Broker`] with this URL and topology has declared. Not while they are being
/// declared: RabbitMQ can then lose what such queues need, on the whole node (rabbitmq-server issue 16652).
///
/// # Errors
/// When the broker doesn't answer.
pub async fn delete_queues(url: &str, topology: &broker::Topology) -> anyhow::Result<()> {
    let namespace = url.split(['?', '&']).find_map(|part| part.strip_prefix("namespace="));
    let prefix = namespace.map(|namespace| format!("{namespace}.")).unwrap_or_default();
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    for subscription in &topology.subscriptions {
        let queue = format!("{prefix}{}", subscription.queue);
        let retries =
            topology.retry_delays.iter().map(|d| format!("{queue}.retry.{}", d.as_millis()));
        for queue in [queue.clone(), format!("{queue}.dead")].into_iter().chain(retries) {
            channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
        }
        channel.exchange_delete(format!("{queue}.failures").into(), Default::default()).await?;
    }
    if topology.history {
        let history = format!("{prefix}shop.history");
        channel.queue_delete(history.into(), QueueDeleteOptions::default()).await?;
    }
    for exchange in [contracts::Exchange::Events, contracts::Exchange::Commands] {
        let exchange = format!("{prefix}{}", exchange.name());
        channel.exchange_delete(exchange.into(), Default::default()).await?;
    }
    connection.close(200, "OK".into()).await?;
    Ok(())
}

/// A RabbitMQ of a test's own, for tests that stop it. Ended and deleted when this is dropped.
#[derive(Debug)]
pub struct TestRabbitMq {
    /// Its URL, the same after a restart.
    pub url: String,
    folder: PathBuf,
}

/// Starts a RabbitMQ for one test; none without `AMQP_URL`, which says whether tests may need one.
///
/// # Panics
/// When it doesn't start.
pub async fn own_rabbitmq() -> Option<TestRabbitMq> {
    server("AMQP_URL")?;
    let folder = temporary_folder();
    let output = servers(&["start", "rabbitmq"], &folder).await;
    let url = output.strip_prefix("AMQP_URL=").expect("a URL").trim_end().to_owned();
    Some(TestRabbitMq { url, folder })
}

impl TestRabbitMq {
    /// Stops it in an orderly way and starts it again.
    pub async fn restart(&self) {
        servers(&["restart"], &self.folder).await;
    }

    /// Ends it as a crash would; but the names of its queues' Raft members are on the disk. RabbitMQ leaves those of new queues in memory
    /// for half a second or more, and after a crash before that such a queue begins anew, and a stream is down for good.
    pub async fn kill(&self) {
        let write = "[ok = dets:sync(Names) || System <- [quorum_queues, coordination], \
                     #{names := #{directory_rev := Names}} <- [ra_system:fetch(System)]].";
        self.ctl(&["eval", write]).await;
        servers(&["kill"], &self.folder).await;
    }

    /// Starts it again after it was killed.
    pub async fn start(&self) {
        servers(&["start", "rabbitmq"], &self.folder).await;
    }

    /// Runs `rabbitmqctl` against it.
    pub async fn ctl(&self, words: &[&str]) {
        let mut script = script(&["ctl"], &self.folder);
        script.args(words);
        let run = tokio::task::spawn_blocking(move || script.stdout(Stdio::null()).status());
        let status = run.await.expect("a thread").expect("scripts/servers runs");
        assert!(status.success(), "rabbitmqctl failed");
    }
}

impl Drop for TestRabbitMq {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            let errors: Vec<&str> = log.lines().filter(|line| line.contains("[error]")).collect();
            let tail = errors[errors.len().saturating_sub(8)..].join("\n");
            eprintln!("--- the last errors of the test's own RabbitMQ\n{tail}");
        }
        let _ = script(&["remove"], &self.folder).status();
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// A PostgreSQL of a test's own, for tests that stop it. Ended and deleted when this is dropped.
#[derive(Debug)]
pub struct TestPostgres {
    /// The URL of its first database, the same after a restart.
    pub url: String,
    folder: PathBuf,
}

/// Starts a PostgreSQL for one test; none without `DATABASE_URL`, which says whether tests may need one.
///
/// # Panics
/// When it doesn't start.
pub async fn own_postgres() -> Option<TestPostgres> {
    server("DATABASE_URL")?;
    let folder = temporary_folder();
    let output = servers(&["start", "postgres"], &folder).await;
    let url = output.strip_prefix("DATABASE_URL=").expect("a URL").trim_end().to_owned();
    Some(TestPostgres { url, folder })
}

impl TestPostgres {
    /// Makes a database; its URL.
    ///
    /// # Panics
    /// When it can't be made.
    pub async fn database(&self, name: &str) -> String {
        let mut connection = PgConnection::connect(&self.url).await.expect("it answers");
        let create = format!("CREATE DATABASE \"{name}\"");
        connection.execute(AssertSqlSafe(create)).await.expect("a new database");
        let (server, _) = self.url.rsplit_once('/').expect("the URL names a database");
        format!("{server}/{name}")
    }

    /// Stops it in an orderly way and starts it again.
    pub async fn restart(&self) {
        servers(&["restart"], &self.folder).await;
    }

    /// Ends it as a crash would.
    pub async fn kill(&self) {
        servers(&["kill"], &self.folder).await;
    }

    /// Starts it again after it was killed.
    pub async fn start(&self) {
        servers(&["start", "postgres"], &self.folder).await;
    }
}

impl Drop for TestPostgres {
    fn drop(&mut self) {
        let _ = script(&["remove"], &self.folder).status();
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// Runs `scripts/servers`; what it printed.
async fn servers(words: &[&str], folder: &Path) -> String {
    let mut script = script(words, folder);
    let run = tokio::task::spawn_blocking(move || script.stderr(Stdio::inherit()).output());
    let output = run.await.expect("a thread").expect("scripts/servers runs");
    assert!(output.status.success(), "scripts/servers failed");
    String::from_utf8(output.stdout).expect("text")
}

fn script(words: &[&str], folder: &Path) -> Command {
    let mut script = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/servers"));
    // The server goes with this process, however that ends.
    script.args(words).arg(folder).env("SERVERS_OWNER", std::process::id().to_string());
    script
}

/// The server that an environment variable names. Says so when none does.
fn server(variable: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "tests have no config.rs")]
    let url = std::env::var(variable).ok().filter(|url| !url.is_empty());
    if url.is_none() {
        skipped(&format!("{variable} is not set (scripts/test sets it)"));
    }
    url
}

/// Says that a test, or a part of it, was skipped. Not by eprintln!, which the test runner swallows when the test passes.
pub(crate) fn skipped(why: &str) {
    let _ = std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes());
}

pub(crate) fn temporary_folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("shop-test-{}", Uuid::now_v7().simple()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    folder
}
