//! The fraud service as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::main::<fraud::Config>()
}
