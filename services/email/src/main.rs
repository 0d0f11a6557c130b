//! The email service as a program of its own.

use std::process::ExitCode;

use clap::Parser as _;
use email::Config;

/// Tells customers by mail what became of their orders.
#[derive(Debug, clap::Parser)]
#[command(name = "email", version)]
struct Program {
    #[command(flatten)]
    config: Config,
}

fn main() -> ExitCode {
    let config = Program::parse().config;
    let listen = config.plumbing.listen.unwrap_or(email::DEFAULT_LISTEN);
    runtime::program("email", listen, |listener, shutdown| email::run(config, listener, shutdown))
}
