//! `shop run SERVICE`: the same as the service's own program.

use std::{io::Read as _, process::ExitCode, time::Duration};

use anyhow::Context as _;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How long a service whose supervisor is gone has for an orderly end.
const GRACE: Duration = Duration::from_secs(10);

/// `shop run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Stop when standard input ends: whoever holds its other end is gone then.
    #[arg(long, hide = true)]
    parent_pipe: bool,

    #[command(subcommand)]
    service: Service,
}

#[derive(Debug, clap::Subcommand)]
enum Service {
    /// Takes orders, and decides what becomes of them
    Order(order::Config),
    /// Charges and refunds cards
    Payment(payment::Config),
    /// Keeps the catalogue and the stock
    Inventory(inventory::Config),
    /// Writes to customers
    Email(email::Config),
    /// The outside world: a card processor and a mail server, with faults on demand
    Sandbox(sandbox::Config),
}

impl Args {
    /// Runs the service until it is told to stop.
    pub(crate) fn run(self) -> ExitCode {
        if self.parent_pipe {
            std::thread::spawn(follow_parent);
        }
        match self.service {
            Service::Order(config) => {
                let listen = config.plumbing.listen.unwrap_or(order::DEFAULT_LISTEN);
                runtime::program("order", listen, |listener, shutdown| {
                    order::run(config, listener, shutdown)
                })
            }
            Service::Payment(config) => {
                let listen = config.plumbing.listen.unwrap_or(payment::DEFAULT_LISTEN);
                runtime::program("payment", listen, |listener, shutdown| {
                    payment::run(config, listener, shutdown)
                })
            }
            Service::Inventory(config) => {
                let listen = config.plumbing.listen.unwrap_or(inventory::DEFAULT_LISTEN);
                runtime::program("inventory", listen, |listener, shutdown| {
                    inventory::run(config, listener, shutdown)
                })
            }
            Service::Email(config) => {
                let listen = config.plumbing.listen.unwrap_or(email::DEFAULT_LISTEN);
                runtime::program("email", listen, |listener, shutdown| {
                    email::run(config, listener, shutdown)
                })
            }
            Service::Sandbox(config) => {
                runtime::program("sandbox", config.listen, async |listener, shutdown| {
                    let smtp = tokio::net::TcpListener::bind(config.smtp_listen)
                        .await
                        .with_context(|| format!("can't listen on {}", config.smtp_listen))?;
                    sandbox::run(config, listener, smtp, shutdown).await
                })
            }
        }
    }
}

/// Waits for the supervisor's end and then ends this process: orderly, as SIGTERM does, or else by force.
#[expect(clippy::disallowed_methods, reason = "this thread is no worker of the runtime")]
fn follow_parent() {
    let mut byte = [0; 64];
    let mut input = std::io::stdin().lock();
    while matches!(input.read(&mut byte), Ok(1..)) {}
    let this = Pid::this();
    let _ = kill(this, Signal::SIGTERM);
    std::thread::sleep(GRACE);
    let _ = kill(this, Signal::SIGKILL);
}
