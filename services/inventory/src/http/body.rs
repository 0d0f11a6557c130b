//! The forms of requests and answers.

use contracts::{Money, OrderId, Timestamp};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    catalogue::{self, Listing, Product},
    reservation::{Lines, Reservation, State},
};

/// A price.
#[derive(Debug, Clone, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Price {
    /// Minor units of the currency: cents. 0 to 100,000,000.
    #[garde(range(min = 0, max = 100_000_000))]
    #[schema(minimum = 0, maximum = 100_000_000, example = 1250)]
    amount: i64,
    /// ISO 4217 code: three upper-case letters.
    #[garde(custom(is_currency))]
    #[schema(pattern = "^[A-Z]{3}$", example = "EUR")]
    currency: String,
}

/// What a product shall be.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Mug, yellow", "unit_price": {"amount": 1250, "currency": "EUR"}, "on_hand": 100}))]
pub(crate) struct ProductChange {
    /// What people call it: 1 to 200 characters.
    #[garde(length(chars, min = 1, max = 200), custom(is_one_line))]
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// The price of one.
    #[garde(dive)]
    unit_price: Price,
    /// How many are in the warehouse, the reserved ones included: 0 to 1,000,000,000. Without it: as many as before.
    #[garde(range(max = 1_000_000_000))]
    #[schema(maximum = 1_000_000_000)]
    on_hand: Option<u32>,
}

impl From<ProductChange> for Listing {
    fn from(change: ProductChange) -> Self {
        let Price { amount, currency } = change.unit_price;
        Self { name: change.name, unit_price: Money { amount, currency }, on_hand: change.on_hand }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde passes the context by reference")]
fn is_currency(text: &str, (): &()) -> garde::Result {
    if text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
        Ok(())
    } else {
        Err(garde::Error::new("must be an ISO 4217 code: three upper-case letters, such as EUR"))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde passes the context by reference")]
fn is_sku(text: &str, (): &()) -> garde::Result {
    if catalogue::is_sku(text) {
        Ok(())
    } else {
        Err(garde::Error::new("must be 1 to 64 characters of a-z, 0-9 and -"))
    }
}

/// The name goes into mails and logs, where a line break would be a forged line.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde passes the context by reference")]
fn is_one_line(text: &str, (): &()) -> garde::Result {
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        Err(garde::Error::new("must be one line with something to read"))
    } else {
        Ok(())
    }
}

/// A product.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "sku": "mug-blue", "name": "Mug, blue", "unit_price": {"amount": 1250, "currency": "EUR"},
    "on_hand": 100_000, "reserved": 3, "available": 99_997, "version": 1,
}))]
pub(crate) struct ProductBody {
    /// Stock keeping unit.
    sku: String,
    /// What people call it.
    name: String,
    /// The price of one.
    unit_price: Price,
    /// How many are in the warehouse, the reserved ones included.
    on_hand: u32,
    /// How many are put aside for orders.
    reserved: u32,
    /// How many can be had: on hand without the reserved ones.
    available: u32,
    /// Grows with every change of the listing.
    version: i64,
}

impl From<Product> for ProductBody {
    fn from(product: Product) -> Self {
        Self {
            available: product.stock().available(),
            sku: product.sku,
            name: product.name,
            unit_price: Price { amount: product.amount, currency: product.currency },
            on_hand: product.on_hand,
            reserved: product.reserved,
            version: product.version,
        }
    }
}

/// What is to be put aside for an order.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReservationRequest {
    /// The order's id.
    #[garde(skip)]
    order_id: uuid::Uuid,
    /// What was ordered: 1 to 50 lines.
    #[garde(length(min = 1, max = 50), dive)]
    lines: Vec<LineRequest>,
}

/// So many of one product.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct LineRequest {
    /// Stock keeping unit.
    #[garde(custom(is_sku))]
    #[schema(example = "mug-blue")]
    sku: String,
    /// How many, 1 to 1,000.
    #[garde(range(min = 1, max = 1_000))]
    #[schema(example = 2)]
    quantity: u32,
}

impl ReservationRequest {
    pub(crate) fn into_parts(self) -> (OrderId, Lines) {
        let mut lines = Lines::default();
        for LineRequest { sku, quantity } in self.lines {
            *lines.0.entry(sku).or_default() += quantity;
        }
        (self.order_id, lines)
    }
}

/// What became of an order's goods.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReservationBody {
    /// The order's id.
    order_id: uuid::Uuid,
    /// How far they are.
    #[serde(serialize_with = "by_name")]
    #[schema(value_type = String, example = "reserved", pattern = "^(reserved|rejected|released|shipped)$")]
    state: State,
    /// What was ordered; empty for an order that was cancelled before it was placed.
    lines: Vec<LineBody>,
    /// When that changed last, RFC 3339.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// So many of one product.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LineBody {
    /// Stock keeping unit.
    #[schema(example = "mug-blue")]
    sku: String,
    /// How many.
    #[schema(example = 2)]
    quantity: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn by_name<S: serde::Serializer>(state: &State, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(state.as_str())
}

impl ReservationBody {
    pub(crate) const fn state(&self) -> State {
        self.state
    }

    pub(crate) fn new(reservation: Reservation, updated_at: Timestamp) -> Self {
        let lines = reservation.lines.0.into_iter();
        Self {
            order_id: reservation.order_id,
            state: reservation.state,
            lines: lines.map(|(sku, quantity)| LineBody { sku, quantity }).collect(),
            updated_at,
        }
    }
}
