//! The commands: what the order service's saga asks of payment and inventory. Each may be refused, and is answered by one of its
//! owner's events. Those that undo something are answered again when they are sent again.
//!
//! No card number is in one either: `card_token` is an opaque token.

use serde::{Deserialize, Serialize};

use crate::{Line, Money, OrderId};

/// Put the goods of an order aside, all lines or none. Answered by `StockReserved` or `StockRejected`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReserveStock {
    /// The order.
    pub order_id: OrderId,
    /// What was ordered; no SKU twice.
    pub lines: Vec<Line>,
}

/// Put the goods of an order back, if they were put aside, and never put them aside after this. Answered by `StockReleased`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseStock {
    /// The order.
    pub order_id: OrderId,
}

/// Charge the customer's card, once. Answered by `PaymentTaken` or `PaymentDeclined`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChargeCard {
    /// The order.
    pub order_id: OrderId,
    /// How much.
    pub amount: Money,
    /// The card, as the card processor's opaque token.
    pub card_token: String,
}

/// Give back what was charged for an order, if anything was, and charge nothing after this. Answered by `PaymentRefunded`,
/// `PaymentVoided` or, where the card had been declined, `PaymentDeclined`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundPayment {
    /// The order.
    pub order_id: OrderId,
    /// What the order costs.
    pub amount: Money,
}

/// Declares the commands: who sends each, to which service, its name and its version. All are about an order.
macro_rules! commands {
    ($($sender:ident => $owner:ident: { $($command:ident = $name:literal, $version:literal;)+ })+) => {
        $($(
            impl crate::Message for $command {
                const TYPE: &'static str = concat!("com.example.shop.", $name, ".", $version);
                const SOURCE: &'static str = concat!("/", stringify!($sender));

                fn subject(&self) -> String {
                    self.order_id.to_string()
                }
            }

            impl crate::Command for $command {
                const OWNER: &'static str = stringify!($owner);
            }
        )+)+

        /// Who sends commands to whom. Nobody else does.
        pub const SENDERS: &[(&str, &str)] = &[$((stringify!($sender), stringify!($owner))),+];
    };
}

commands! {
    order => payment: {
        ChargeCard = "payment.charge", "v1";
        RefundPayment = "payment.refund", "v1";
    }
    order => inventory: {
        ReserveStock = "stock.reserve", "v1";
        ReleaseStock = "stock.release", "v1";
    }
}
