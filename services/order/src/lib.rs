//! The order service: takes checkouts, and follows each order until it is settled.
//!
//! A checkout commits one order and announces one fact; what the other services make of it comes back as
//! facts, in any order and any number of times.

mod call_again;
mod calls;
mod checkout;
mod config;
mod deadline;
#[cfg(test)]
mod fixtures;
mod handlers;
mod http;
pub mod machine;
mod metrics;
mod moving;
mod order;
mod placing;
mod saga;
mod store;
mod waiting;

use std::{net::SocketAddr, process::ExitCode};

use runtime::{Local, Migrations, Program, Service};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::Config;
use config::DEFAULT_LISTEN;

static POSTGRES: sqlx::migrate::Migrator = sqlx::migrate!("./migrations/postgres");
static SQLITE: sqlx::migrate::Migrator = sqlx::migrate!("./migrations/sqlite");

/// Runs the service until told to stop.
///
/// # Errors
/// When a setting can't be used, or a part of the service fails in a way that only a restart can mend.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let migrations = Migrations { postgres: &POSTGRES, sqlite: &SQLITE };
    let mut service =
        Service::open(handlers::SUBSCRIPTION, &config.plumbing, migrations, shutdown.clone())
            .await?;
    let metrics = metrics::Orders::register(&service.metrics);
    let (waiters, pace) = (waiting::Waiters::default(), config.pace());
    let watchers = moving::Watchers { waiters, metrics, pace };
    let (placing, writer) = placing::start(service.db.clone(), &watchers, service.crash.clone());

    let stopping = shutdown.clone();
    service.spawn("checkout writer", |pulse| writer.run(pulse, stopping));
    service.subscribe(Local(handlers::Facts { watchers: watchers.clone() }));
    let deadlines = deadline::Deadlines {
        db: service.db.clone(),
        watchers: watchers.clone(),
        plumbing: service.metrics.clone(),
    };
    let stopping = shutdown.clone();
    service.spawn("deadlines", |pulse| deadlines.run(pulse, stopping));
    let callees = calls::Callees::new(&config)?;
    let (db, plumbing) = (service.db.clone(), service.metrics.clone());
    let sagas = saga::Sagas::new(db, callees.clone(), watchers.clone(), plumbing);
    service.spawn("sagas", |pulse| sagas.run(pulse, shutdown));

    let api = http::api(http::Shop {
        db: service.db.clone(),
        placing,
        coupons: checkout::Coupons::new(&config.payment, config.coupon_timeout)?,
        callees,
        watchers,
        plumbing: service.metrics.clone(),
        keys: http::KeysInUse::default(),
        deadline: config.deadline,
        max_outbox: config.max_outbox,
    });
    service.serve(listener, api).await
}

impl Program for Config {
    const NAME: &'static str = "order";
    const ABOUT: &'static str = "Takes checkouts, and follows each order until it is settled.";

    fn listen(&self) -> SocketAddr {
        self.plumbing.listen.unwrap_or(DEFAULT_LISTEN)
    }

    fn start(self) -> ExitCode {
        runtime::program(Self::NAME, self.listen(), |listener, shutdown| {
            run(self, listener, shutdown)
        })
    }
}
