//! What the payment service announces.

use serde::{Deserialize, Serialize};

use super::Money;
use crate::OrderId;

/// The card was charged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentTaken {
    /// The order that was paid.
    pub order_id: OrderId,
    /// What was charged.
    pub amount: Money,
    /// The processor's name for the charge.
    pub charge_id: String,
}

/// The card was not charged, and won't be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentDeclined {
    /// The order that wasn't paid.
    pub order_id: OrderId,
    /// The processor's word for it, `card_declined`.
    pub reason: String,
}

/// A charge was given back in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRefunded {
    /// The order.
    pub order_id: OrderId,
    /// What was given back.
    pub amount: Money,
}

/// It is certain that the card was never charged for this order, and never will be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentVoided {
    /// The order.
    pub order_id: OrderId,
}
