//! What the fraud service announces.

use serde::{Deserialize, Serialize};

use crate::OrderId;

/// An order looks like fraud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderFlagged {
    /// The order.
    pub order_id: OrderId,
    /// How much: the higher, the more.
    pub score: u32,
    /// What speaks against it, `large_total`.
    pub reasons: Vec<String>,
}
