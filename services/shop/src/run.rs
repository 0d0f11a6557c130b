//! `shop run SERVICE`: the same as the service's own program.

use std::{io::Read as _, process::ExitCode, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use runtime::Program as _;

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
    /// Looks at every order for signs of fraud
    Fraud(fraud::Config),
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
            Service::Order(config) => config.start(),
            Service::Payment(config) => config.start(),
            Service::Inventory(config) => config.start(),
            Service::Email(config) => config.start(),
            Service::Fraud(config) => config.start(),
            Service::Sandbox(config) => config.start(),
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
