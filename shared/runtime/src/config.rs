//! The settings that every service has.

use std::{net::SocketAddr, time::Duration};

use crate::CrashPoint;

/// The delays before further attempts, unless a service is told otherwise.
pub const RETRY_DELAYS: &str = "1s,5s,30s,2m,10m";

/// Where a service listens, and what it stands on. Each flag can be given by the environment variable beside it.
#[derive(Debug, Clone, clap::Args)]
pub struct Plumbing {
    /// Where the HTTP server listens.
    #[arg(long, env = "LISTEN", value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,

    /// The service's own database: postgres://… or sqlite://path [default: sqlite://data/<service>.db]
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database: Option<String>,

    /// The broker: amqp://user:password@host:5672/vhost, or a jobs table at sqlite://path or postgres://…
    ///
    /// Several nodes of a RabbitMQ cluster: amqp://user:password@one:5672,two:5672/vhost. With ?declare=false at its end nothing is
    /// declared: what the service needs must be there (deploy/rabbitmq/definitions.json), and is looked for when it connects.
    /// ?namespace=NAME puts a name before that of every queue and exchange.
    #[arg(
        long,
        env = "BROKER_URL",
        value_name = "URL",
        hide_env_values = true,
        default_value = "sqlite://data/broker.db"
    )]
    pub broker: String,

    /// Database connections at most.
    #[arg(long, env = "DATABASE_CONNECTIONS", default_value_t = 8)]
    pub database_connections: u32,

    /// Messages that are handled at a time at most.
    #[arg(long, env = "PREFETCH", default_value_t = 256)]
    pub prefetch: u16,

    /// How long messages are held while the database is not available. After that they go back to the broker, and none are taken
    /// until it is: RabbitMQ ends a consumer that holds one for too long (consumer_timeout, half an hour), and counts that as a
    /// delivery of each.
    #[arg(
        long,
        env = "DATABASE_PATIENCE",
        value_name = "DURATION",
        value_parser = humantime::parse_duration,
        default_value = "2m"
    )]
    pub patience: Duration,

    /// How long a failed message waits before each further attempt; after the last one it is a dead letter.
    #[arg(
        long,
        env = "RETRY_DELAYS",
        value_delimiter = ',',
        value_parser = humantime::parse_duration,
        default_value = RETRY_DELAYS
    )]
    pub retry_delays: Vec<Duration>,

    /// Kill this process (SIGKILL) at a named point, to see that nothing is lost: before_commit, after_commit,
    /// after_call, after_confirm; `point:3` for its third passing.
    #[arg(
        long,
        env = "CRASH_AT",
        value_name = "POINT",
        default_value = "",
        hide_default_value = true
    )]
    pub crash_at: CrashPoint,
}

impl Plumbing {
    /// The URL of the service's database.
    #[must_use]
    pub fn database_url(&self, service: &str) -> String {
        self.database.clone().unwrap_or_else(|| format!("sqlite://data/{service}.db"))
    }
}
