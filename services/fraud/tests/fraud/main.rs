//! The service on every broker and database, beside a shop that has never heard of it.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod alone;
mod history;
