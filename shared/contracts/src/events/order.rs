//! What the order service announces.

use serde::{Deserialize, Serialize};

use super::Money;
use crate::{OrderId, Timestamp};

/// Whom an order is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// Where the mails go. Never in spans, logs or routing keys.
    pub email: String,
    /// How the mails address them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// So many of one product at the price of the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The product's stock keeping unit.
    pub sku: String,
    /// What the mails call it.
    pub name: String,
    /// How many; at least one.
    pub quantity: u32,
    /// The price of one when the order was placed.
    pub unit_price: Money,
}

/// Who coordinates an order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coordination {
    /// Payment and inventory react to `OrderPlaced` and `OrderCancelled` by themselves.
    #[default]
    Choreography,
    /// The order service's saga tells payment and inventory what to do, by commands.
    Orchestration,
    /// The order service calls the others one after the other, and the customer waits. Such an order is never announced.
    Sync,
}

impl Coordination {
    /// The name as it is in messages, `choreography`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Choreography => "choreography",
            Self::Orchestration => "orchestration",
            Self::Sync => "sync",
        }
    }
}

/// A customer's checkout was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderPlaced {
    /// The order.
    pub order_id: OrderId,
    /// Whom it is for.
    pub customer: Customer,
    /// What was ordered; no SKU twice.
    pub lines: Vec<Line>,
    /// What is to be charged, the coupon taken off.
    pub total: Money,
    /// The card, as the card processor's opaque token; empty where payment waits to be told to charge it.
    pub card_token: String,
    /// Who coordinates.
    pub coordination: Coordination,
    /// When it was placed.
    pub placed_at: Timestamp,
}

/// The money is taken and the goods are reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderConfirmed {
    /// The order.
    pub order_id: OrderId,
    /// Whom the receipt is for.
    pub customer: Customer,
    /// What leaves the warehouse.
    pub lines: Vec<Line>,
    /// What was charged.
    pub total: Money,
}

/// Why an order was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cancellation {
    /// The card was declined.
    PaymentDeclined,
    /// Something was out of stock.
    StockRejected,
    /// The customer asked for it.
    Customer,
    /// It wasn't confirmed in time.
    Deadline,
    /// One of those who were asked didn't answer in time, or failed.
    NoAnswer,
    /// Another amount than its total was charged.
    WrongAmount,
}

impl Cancellation {
    /// The name as it is in messages, `payment_declined`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PaymentDeclined => "payment_declined",
            Self::StockRejected => "stock_rejected",
            Self::Customer => "customer",
            Self::Deadline => "deadline",
            Self::NoAnswer => "no_answer",
            Self::WrongAmount => "wrong_amount",
        }
    }
}

/// The order will not be fulfilled: whoever did something for it undoes that, whoever did nothing never will.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCancelled {
    /// The order.
    pub order_id: OrderId,
    /// Whom the notice is for.
    pub customer: Customer,
    /// What had been ordered.
    pub lines: Vec<Line>,
    /// What was to be charged.
    pub total: Money,
    /// Why.
    pub reason: Cancellation,
    /// Who coordinates: unless it is choreography, payment and inventory are told what to undo.
    #[serde(default)]
    pub coordination: Coordination,
}
