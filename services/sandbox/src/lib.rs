//! The outside world of the shop: a card processor (HTTP) and a mail server (SMTP), with faults on demand.
//!
//! What it is for: to see the shop survive a provider that is slow, failing, down, or that loses its answers,
//! and to have a witness afterwards: the ledger is the truth about money, the mails are the truth about mail.

mod config;
mod faults;
mod journal;
mod mail;
mod page;
mod problem;
mod processor;

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use runtime::{Metrics, Program, http};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

pub use config::Config;
use faults::Faults;
use mail::Mailbox;
use processor::Processor;

/// What the parts share.
#[derive(Debug, Clone)]
struct Sandbox {
    processor: Arc<Processor>,
    mailbox: Arc<Mailbox>,
    faults: Arc<Faults>,
    shutdown: CancellationToken,
}

/// Runs the sandbox until `shutdown`, on a listener for HTTP and one for SMTP.
///
/// # Errors
/// When a journal in the data folder can't be opened or read, or a listener fails.
pub async fn run(
    config: Config,
    listener: TcpListener,
    smtp: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let data = &config.data;
    std::fs::create_dir_all(data).with_context(|| format!("can't create {}", data.display()))?;
    // Of its own, so that an end of one server ends the other.
    let stop = shutdown.child_token();
    let sandbox = Sandbox {
        processor: Arc::new(Processor::open(data)?),
        mailbox: Arc::new(Mailbox::open(data)?),
        faults: Arc::default(),
        shutdown: stop.clone(),
    };
    let mails = mail::serve(smtp, sandbox.clone());
    let app = http::app("sandbox", router(sandbox), None, Metrics::new());
    let http = async {
        let _stop = stop.clone().drop_guard();
        http::serve(listener, app, stop.clone()).await;
    };
    tokio::join!(http, mails);
    Ok(())
}

/// Everything that the sandbox serves over HTTP.
fn router(sandbox: Sandbox) -> OpenApiRouter {
    OpenApiRouter::new()
        .merge(processor::routes())
        .merge(mail::routes())
        .merge(faults::routes())
        .with_state(sandbox)
}

impl Program for Config {
    const NAME: &'static str = "sandbox";
    const ABOUT: &'static str =
        "The outside world of the shop: a card processor and a mail server with faults on demand.";

    fn listen(&self) -> SocketAddr {
        self.listen
    }

    fn start(self) -> ExitCode {
        runtime::program(Self::NAME, self.listen(), async |listener, shutdown| {
            let smtp = runtime::bind(self.smtp_listen, "--smtp-listen").await?;
            tracing::info!(address = %smtp.local_addr()?, "listening for mail");
            run(self, listener, smtp, shutdown).await
        })
    }
}
