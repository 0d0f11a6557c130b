//! A service's database: one SQL text for PostgreSQL and SQLite, and the three tables that make delivery
//! safe: outbox, inbox, idempotency keys.
//!
//! Apart from the `CREATE` statements, only this crate knows the dialects. `Db` reads; [`Tx`] writes, and publishes events in the same
//! transaction as the change that they announce.

mod caught_up;
mod db;
mod error;
pub mod idempotency;
mod inbox;
mod many;
mod outbox;
mod pool;
mod query;
mod tx;

pub use db::{Db, Options};
pub use error::{Chain, Error};
pub use inbox::Receipt;
pub use many::RowValues;
pub use outbox::{Backlog, Lease, Leased};
pub use query::{Bind, Query, Row};
pub use tx::Tx;

/// What this crate's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
