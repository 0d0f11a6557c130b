//! The fraud service: looks at every order that is placed, and announces those that look like fraud.
//!
//! It came after the others, and none of them knows of it: it listens to what they say anyway. When it starts for the first
//! time it has yesterday's orders told to it too, so that it knows who ordered how much before it came.

mod config;
pub mod handlers;
mod http;
pub mod score;
pub mod store;

use std::{net::SocketAddr, process::ExitCode};

use runtime::{Local, Migrations, Program, Service};
use sqlx::migrate::Migrator;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::Config;
use config::DEFAULT_LISTEN;
pub use handlers::SUBSCRIPTION;

static POSTGRES: Migrator = sqlx::migrate!("./migrations/postgres");
static SQLITE: Migrator = sqlx::migrate!("./migrations/sqlite");

/// The service's tables.
pub const MIGRATIONS: Migrations = Migrations { postgres: &POSTGRES, sqlite: &SQLITE };

/// Runs the service until it is told to stop.
///
/// # Errors
/// When it can't start (a URL that can't be used, a migration that fails), or a part of it ended by itself.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut service = Service::open(SUBSCRIPTION, &config.plumbing, MIGRATIONS, shutdown).await?;
    service.catch_up(config.history);
    service.subscribe(Local(handlers::Scoring { threshold: config.threshold }));
    let api = http::api(service.db.clone());
    service.serve(listener, api).await
}

impl Program for Config {
    const NAME: &'static str = "fraud";
    const ABOUT: &'static str =
        "Looks at every order that is placed, and announces those that look like fraud.";

    fn listen(&self) -> SocketAddr {
        self.plumbing.listen.unwrap_or(DEFAULT_LISTEN)
    }

    fn start(self) -> ExitCode {
        runtime::program(Self::NAME, self.listen(), |listener, shutdown| {
            run(self, listener, shutdown)
        })
    }
}
