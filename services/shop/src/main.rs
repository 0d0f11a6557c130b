//! The `shop` program; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    shop::main()
}
