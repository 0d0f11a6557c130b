//! The `shop` program as the tests run it.

use std::process::ExitCode;

fn main() -> ExitCode {
    shop::main()
}
