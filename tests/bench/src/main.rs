//! Measures the system and its parts. `scripts/bench` runs all of it, in an order in which nothing disturbs the rest.
//!
//! Each measuring command prints what it measured as JSON, a line each, on standard output, and how far it is on standard
//! error. `bench report` makes tables of such lines, and says which aims were reached.

mod machine;
mod measured;
mod message;
mod process;
mod raw;
mod relay;
mod report;
mod rounds;
mod subscriber;
mod system;

use std::process::ExitCode;

use clap::Parser as _;

/// Measures the system and its parts; each command prints a line of JSON per result
#[derive(Debug, clap::Parser)]
#[command(name = "bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// What the measuring is done on
    Machine(machine::Args),
    /// The whole system: start, idling, checkouts, memory
    System(Box<system::Args>),
    /// lapin alone, publishing with confirms to a quorum queue: the limit of the relay
    Raw(raw::Args),
    /// The relay alone: from an outbox that is full to RabbitMQ
    Relay(relay::Args),
    /// A subscriber alone: from a queue that is full to a row per message
    Subscriber(subscriber::Args),
    /// Tables of what the others have printed, and which aims were reached
    Report(report::Args),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    // Another installed provider would do as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // What measures the system shares its cores, and so gets by with one thread.
    let one_thread = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    // The parts run as they do in a service.
    let as_a_service = || tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match command {
        Command::Machine(args) => machine::run(args),
        Command::System(args) => one_thread()?.block_on(system::run(*args)),
        Command::Raw(args) => as_a_service()?.block_on(raw::run(args)),
        Command::Relay(args) => as_a_service()?.block_on(relay::run(args)),
        Command::Subscriber(args) => as_a_service()?.block_on(subscriber::run(args)),
        Command::Report(args) => report::run(&args),
    }
}
