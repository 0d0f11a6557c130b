//! The payment service with the real parts around it: its database, the broker, and the card processor of the sandbox.
//!
//! With `DATABASE_URL`, the same on PostgreSQL too.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod charging;
mod failing;
mod gate;
mod http;
mod replicas;
mod reversing;
mod statements;
mod world;
