//! The `shop` program: runs the whole system on this machine, and talks to it from a terminal.
//!
//! It links every service, and starts each as a process of its own by running itself again, so that the
//! embedded system is still five processes that can be killed one by one.

mod checkout;
mod client;
mod compare;
mod dead;
mod definitions;
mod place;
mod run;
mod saga;
mod terminal;
mod up;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;

/// An event-driven checkout: order, payment, inventory and email, with a sandbox for the outside world.
///
/// Without a command it does `up`.
#[derive(Debug, Parser)]
#[command(name = "shop", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Start everything, each service as a process of its own, until Ctrl-C
    Up(up::Args),
    /// Run one service in this process
    Run(Box<run::Args>),
    /// Place an order and watch what becomes of it, or place many and measure
    Checkout(checkout::Args),
    /// Run the three ways to make an order side by side, break things, and measure
    Compare(compare::Args),
    /// Look at messages that failed for good, and deliver them again
    Dead(dead::Args),
    /// Look at what was asked of other services and not answered, ask again, or declare it dealt with
    Saga(saga::Args),
    /// Print what RabbitMQ must have (exchanges, queues, a user per service) for services that may declare nothing
    Definitions(definitions::Args),
}

/// Does what the command line says; the exit code is the program's.
#[must_use]
pub fn main() -> ExitCode {
    let done = match Cli::parse_from(arguments()).command {
        // A service makes its own runtime, as its own program does.
        Command::Run(args) => return args.run(),
        Command::Up(args) => block_on(up::run(args)),
        Command::Checkout(args) => block_on(checkout::run(args)),
        Command::Compare(args) => block_on(compare::run(args)),
        Command::Dead(args) => block_on(dead::run(args)),
        Command::Saga(args) => block_on(saga::run(args)),
        Command::Definitions(args) => definitions::run(args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("shop: {error:#}");
        ExitCode::FAILURE
    })
}

/// The command line; nothing at all means `up`.
fn arguments() -> Vec<OsString> {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.len() < 2 {
        arguments.push("up".into());
    }
    arguments
}

/// One thread is enough: these commands wait for others most of the time, and share their cores.
fn block_on(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}
