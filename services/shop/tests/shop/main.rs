//! The `shop` program from outside: what it prints, its exit codes, and the processes that it leaves or doesn't.
//!
//! `DATABASE_URL` and `AMQP_URL` name the servers for `real_parts`; without them it is skipped, loudly.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod browser;
mod compare;
mod dead;
mod definitions;
mod real_parts;
mod up;
mod usage;
mod world;
