//! What the inventory service announces.

use serde::{Deserialize, Serialize};

use super::Money;
use crate::OrderId;

/// A product is for sale, at this price. The highest version of a SKU is the truth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductListed {
    /// The product's stock keeping unit.
    pub sku: String,
    /// What people call it.
    pub name: String,
    /// The price of one.
    pub unit_price: Money,
    /// Grows with every change of the product, so that a late message can't undo a newer one.
    pub version: i64,
}

/// All lines of the order are put aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReserved {
    /// The order.
    pub order_id: OrderId,
}

/// A line that can't be served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortage {
    /// The product's stock keeping unit.
    pub sku: String,
    /// How many were ordered.
    pub wanted: u32,
    /// How many could be had.
    pub available: u32,
}

/// Something was missing, so nothing is put aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockRejected {
    /// The order.
    pub order_id: OrderId,
    /// What was missing.
    pub shortages: Vec<Shortage>,
}

/// Nothing is put aside for this order any more, and never will be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReleased {
    /// The order.
    pub order_id: OrderId,
}
