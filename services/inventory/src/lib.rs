//! The inventory service: what is sold at which price, how much of it there is, and what is put aside for whom.
//!
//! It reacts to `OrderPlaced`, `OrderConfirmed` and `OrderCancelled`, and announces `StockReserved`,
//! `StockRejected` and `StockReleased`; and `ProductListed` whenever a product is created or changed.

pub mod catalogue;
mod config;
pub mod handlers;
mod http;
mod metrics;
pub mod reservation;
pub mod store;

use std::{net::SocketAddr, process::ExitCode};

use anyhow::Context as _;
use runtime::{Local, Migrations, Program, Service};
use sqlx::migrate::Migrator;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::Config;
use config::DEFAULT_LISTEN;

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
    let subscription = contracts::subscription("inventory").context("no such subscription")?;
    let mut service =
        Service::open(subscription, &config.plumbing, MIGRATIONS, shutdown.clone()).await?;
    handlers::list_seed(&service.db).await.context("listing the first products")?;
    let stock = metrics::Stock::register(&service.metrics);
    let (db, metrics) = (service.db.clone(), service.metrics.clone());
    service.spawn("stock gauges", |pulse| stock.watch(db, metrics, pulse, shutdown));
    service.subscribe(Local(handlers::Books));
    let api = http::api(service.db.clone());
    service.serve(listener, api).await
}

impl Program for Config {
    const NAME: &'static str = "inventory";
    const ABOUT: &'static str = "What is sold, and how much of it there is: puts goods aside for orders, all lines or none.";

    fn listen(&self) -> SocketAddr {
        self.plumbing.listen.unwrap_or(DEFAULT_LISTEN)
    }

    fn start(self) -> ExitCode {
        runtime::program(Self::NAME, self.listen(), |listener, shutdown| {
            run(self, listener, shutdown)
        })
    }
}
