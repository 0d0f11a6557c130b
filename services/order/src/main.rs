//! The order service as a program.

use std::process::ExitCode;

use clap::Parser as _;

/// Takes checkouts and follows each order until it is settled.
#[derive(Debug, clap::Parser)]
#[command(version)]
struct Program {
    #[command(flatten)]
    config: order::Config,
}

fn main() -> ExitCode {
    let Program { config } = Program::parse();
    let listen = config.plumbing.listen.unwrap_or(order::DEFAULT_LISTEN);
    runtime::program("order", listen, |listener, shutdown| order::run(config, listener, shutdown))
}
