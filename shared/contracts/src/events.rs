//! The events, and the values inside them. They carry the state that their readers need, so that no reader
//! has to call back.
//!
//! No card number or other secret is ever in one: `card_token` is an opaque token.

mod inventory;
mod order;
mod payment;

pub use inventory::{ProductListed, Shortage, StockRejected, StockReleased, StockReserved};
pub use order::{
    Cancellation, Coordination, Customer, Line, OrderCancelled, OrderConfirmed, OrderPlaced,
};
pub use payment::{PaymentDeclined, PaymentRefunded, PaymentTaken, PaymentVoided};

use serde::{Deserialize, Serialize};

/// An amount of money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// Minor units of the currency: cents.
    pub amount: i64,
    /// ISO 4217 code, `EUR`.
    pub currency: String,
}

/// Declares that a struct is an event: its source, its name (the routing key), its version and its subject.
macro_rules! event {
    ($event:ident, $source:literal, $name:literal, $version:literal, |$this:ident| $subject:expr) => {
        impl $crate::Message for $event {
            const TYPE: &'static str = concat!("com.example.shop.", $name, ".", $version);
            const SOURCE: &'static str = $source;

            fn subject(&self) -> String {
                let $this = self;
                $subject.to_string()
            }
        }

        impl $crate::Event for $event {
            const ROUTING_KEY: &'static str = $name;
        }
    };
}
use event;
