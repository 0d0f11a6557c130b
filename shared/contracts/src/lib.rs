//! The contracts between the services: the events and commands, their envelope, and who listens to what. No I/O.
//!
//! A service depends on this crate and on the plumbing, never on another service.

mod commands;
mod envelope;
mod events;
mod message;
mod timestamp;
mod topology;

pub use commands::{ChargeCard, RefundPayment, ReleaseStock, ReserveStock, SENDERS};
pub use envelope::{Cause, Envelope, Header};
pub use events::*;
pub use message::{Command, DecodeError, Event, Incoming, Malformed, Message};
pub use timestamp::Timestamp;
pub use topology::{Exchange, Publication, SUBSCRIPTIONS, Subscription, subscription};

/// The id of an order; a UUIDv7 that the order service makes.
pub type OrderId = uuid::Uuid;
