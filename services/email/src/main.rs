//! The email service as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::main::<email::Config>()
}
