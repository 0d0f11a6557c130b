//! The payment service: charges for orders that are placed, and undoes that for orders that are cancelled.
//!
//! An order is charged once, whatever is delivered twice or out of order and whenever a process dies: see
//! [`payment::transition`] for the rules, [`handlers`] for the charge and [`reversals`] for undoing it.

mod books;
mod config;
pub mod handlers;
mod http;
pub mod payment;
pub mod processor;
pub mod reversals;
pub mod store;

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use runtime::{Program, Service};
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::sync::CancellationToken;

pub use config::Config;
use config::DEFAULT_LISTEN;
use handlers::Charging;
use processor::Processor;
use reversals::Reversals;

/// Runs the service until `shutdown`.
///
/// # Errors
/// When a setting can't be used, the database's schema can't be brought up to date, or one of its loops ends by itself.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let subscription = contracts::subscription("payment").context("payment has no queue")?;
    let processor = Processor::new(&config.processor, config.processor_timeout)
        .context("the card processor's URL")?;
    let mut service =
        Service::open(subscription, &config.plumbing, store::MIGRATIONS, shutdown).await?;

    let to_reverse = Arc::new(Notify::new());
    service.subscribe(Charging::new(processor.clone(), to_reverse.clone()));
    let payments = http::Payments {
        db: service.db.clone(),
        processor: processor.clone(),
        to_reverse: to_reverse.clone(),
    };
    let reversals = Reversals {
        db: service.db.clone(),
        processor,
        woken: to_reverse,
        metrics: reversals::Metrics::registered(&service.metrics),
        plumbing: service.metrics.clone(),
        pace: (&config).into(),
    };
    let shutdown = service.shutdown.clone();
    service.spawn("reversals", |pulse| reversals.run(pulse, shutdown));

    let api = http::routes(payments);
    service.serve(listener, api).await
}

impl Program for Config {
    const NAME: &'static str = "payment";
    const ABOUT: &'static str =
        "Charges for the shop's orders, and undoes that for those that are cancelled.";

    fn listen(&self) -> SocketAddr {
        self.plumbing.listen.unwrap_or(DEFAULT_LISTEN)
    }

    fn start(self) -> ExitCode {
        runtime::program(Self::NAME, self.listen(), |listener, shutdown| {
            run(self, listener, shutdown)
        })
    }
}
