//! The email service: tells customers by mail what became of their orders.
//!
//! It reacts to `OrderPlaced` (an acknowledgement), `OrderConfirmed` (the receipt) and `OrderCancelled` (a notice), and
//! announces nothing. How often a mail may be sent is told in [`handlers`].

mod config;
pub mod handlers;
mod http;
pub mod mail;
pub mod mailer;
mod releases;
pub mod store;

use std::{net::SocketAddr, process::ExitCode};

use anyhow::Context as _;
use runtime::{Migrations, Program, Service};
use sqlx::migrate::Migrator;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::Config;
use config::DEFAULT_LISTEN;

static POSTGRES: Migrator = sqlx::migrate!("./migrations/postgres");
static SQLITE: Migrator = sqlx::migrate!("./migrations/sqlite");

/// The service's tables.
pub const MIGRATIONS: Migrations = Migrations { postgres: &POSTGRES, sqlite: &SQLITE };

/// Runs the service until it is told to stop. The mail server may be away: mails are then sent when it is back.
///
/// # Errors
/// When it can't start (a URL that can't be used, a migration that fails), or a part of it ended by itself.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let subscription = contracts::subscription("email").context("no such subscription")?;
    let mailer = mailer::Mailer::new(&config)?;
    let mut service =
        Service::open(subscription, &config.plumbing, MIGRATIONS, shutdown.clone()).await?;
    let mails = handlers::Mails::new(service.db.clone(), mailer, shutdown);
    service.subscribe(mails.clone());
    let api = http::api(service.db.clone(), mails);
    service.serve(listener, api).await
}

impl Program for Config {
    const NAME: &'static str = "email";
    const ABOUT: &'static str = "Tells customers by mail what became of their orders.";

    fn listen(&self) -> SocketAddr {
        self.plumbing.listen.unwrap_or(DEFAULT_LISTEN)
    }

    fn start(self) -> ExitCode {
        runtime::program(Self::NAME, self.listen(), |listener, shutdown| {
            run(self, listener, shutdown)
        })
    }
}
