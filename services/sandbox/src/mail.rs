//! The mail server: takes mail by SMTP, delivers none of it, and keeps the truth about what was sent.

mod connection;
mod http;
mod index;
mod letter;
mod mailbox;
mod server;
mod session;

pub(crate) use http::routes;
pub(crate) use mailbox::Mailbox;
pub(crate) use server::serve;

/// The largest mail that is taken, in bytes: 1 MiB.
const LARGEST_MAIL: usize = 1024 * 1024;
