//! The payment service as a program.

use std::process::ExitCode;

use clap::Parser as _;

/// Charges for the shop's orders, and undoes that for those that are cancelled.
#[derive(Debug, clap::Parser)]
#[command(name = "payment", version)]
struct Program {
    #[command(flatten)]
    config: payment::Config,
}

fn main() -> ExitCode {
    let Program { config } = Program::parse();
    let listen = config.plumbing.listen.unwrap_or(payment::DEFAULT_LISTEN);
    runtime::program("payment", listen, |listener, shutdown| {
        payment::run(config, listener, shutdown)
    })
}
