//! What is printed, and where.

use std::{
    fmt::Display,
    io::{self, Write as _},
};

/// Prints a line. A reader that went away (`shop up | head`) is no reason to stop.
pub(crate) fn say(line: impl Display) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// The terminal's width in columns; none when standard output is no terminal.
pub(crate) fn width() -> Option<u16> {
    terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| width.0)
}
