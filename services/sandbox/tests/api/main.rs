//! The sandbox from outside: HTTP and SMTP, faults, restarts.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod charges;
mod faults;
mod mails;
mod malformed;
mod restart;
mod world;
