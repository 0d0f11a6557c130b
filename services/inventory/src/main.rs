//! The inventory service as a program of its own.

use std::process::ExitCode;

use clap::Parser as _;
use inventory::Config;

/// What is sold, and how much of it there is: puts goods aside for orders, all lines or none.
#[derive(Debug, clap::Parser)]
#[command(name = "inventory", version)]
struct Program {
    #[command(flatten)]
    config: Config,
}

fn main() -> ExitCode {
    let config = Program::parse().config;
    let listen = config.plumbing.listen.unwrap_or(inventory::DEFAULT_LISTEN);
    runtime::program("inventory", listen, |listener, shutdown| {
        inventory::run(config, listener, shutdown)
    })
}
