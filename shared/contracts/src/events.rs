//! The events, and the values inside them. They carry the state that their readers need, so that no reader
//! has to call back.
//!
//! No card number or other secret is ever in one: `card_token` is an opaque token.

mod fraud;
mod inventory;
mod money;
mod order;
mod payment;

pub use fraud::OrderFlagged;
pub use inventory::{ProductListed, Shortage, StockRejected, StockReleased, StockReserved};
pub use money::Money;
pub use order::{
    Cancellation, Coordination, Customer, Line, OrderCancelled, OrderConfirmed, OrderPlaced,
};
pub use payment::{PaymentDeclined, PaymentRefunded, PaymentTaken, PaymentVoided};

use crate::Publication;

/// Declares the events: who announces each, its name (the routing key), its version and its subject. There is no other way
/// to make one, so that [`PUBLICATIONS`] names them all.
macro_rules! events {
    ($($service:ident: { $($event:ident = $name:literal, $version:literal, |$this:ident| $subject:expr;)+ })+) => {
        $($(
            impl crate::Message for $event {
                const TYPE: &'static str = concat!("com.example.shop.", $name, ".", $version);
                const SOURCE: &'static str = concat!("/", stringify!($service));

                fn subject(&self) -> String {
                    let $this = self;
                    $subject.to_string()
                }
            }

            impl crate::Event for $event {
                const ROUTING_KEY: &'static str = $name;
            }
        )+)+

        /// What each service announces. One that isn't here announces nothing.
        pub const PUBLICATIONS: &[Publication] = &[$(
            Publication { service: stringify!($service), routing_keys: &[$($name),+] },
        )+];
    };
}

events! {
    order: {
        OrderPlaced = "order.placed", "v1", |order| order.order_id;
        OrderConfirmed = "order.confirmed", "v1", |order| order.order_id;
        OrderCancelled = "order.cancelled", "v1", |order| order.order_id;
    }
    payment: {
        PaymentTaken = "payment.taken", "v1", |payment| payment.order_id;
        PaymentDeclined = "payment.declined", "v1", |payment| payment.order_id;
        PaymentRefunded = "payment.refunded", "v1", |payment| payment.order_id;
        PaymentVoided = "payment.voided", "v1", |payment| payment.order_id;
    }
    inventory: {
        ProductListed = "product.listed", "v1", |product| product.sku;
        StockReserved = "stock.reserved", "v1", |stock| stock.order_id;
        StockRejected = "stock.rejected", "v1", |stock| stock.order_id;
        StockReleased = "stock.released", "v1", |stock| stock.order_id;
    }
    fraud: {
        OrderFlagged = "order.flagged", "v1", |order| order.order_id;
    }
}
