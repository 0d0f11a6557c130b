//! The sandbox as a program of its own.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use tokio::net::TcpListener;

/// The outside world of the shop: a card processor and a mail server with faults on demand.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    config: sandbox::Config,
}

fn main() -> ExitCode {
    let Cli { config } = Cli::parse();
    runtime::program("sandbox", config.listen, async |listener, shutdown| {
        let address = config.smtp_listen;
        let smtp = TcpListener::bind(address).await.with_context(|| {
            format!(
                "can't listen on {address}: is the port taken? Choose another with --smtp-listen or SANDBOX_SMTP_LISTEN"
            )
        })?;
        tracing::info!(address = %smtp.local_addr()?, "listening for mail");
        sandbox::run(config, listener, smtp, shutdown).await
    })
}
