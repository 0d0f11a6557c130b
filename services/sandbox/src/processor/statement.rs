//! What the ledger shows of itself.

use std::{collections::BTreeMap, sync::Arc};

use contracts::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::charge::{Charge, ChargeId, Key};

/// A charge that was made.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct Entry {
    /// The idempotency key that it was made with.
    #[schema(value_type = String)]
    pub(super) key: Key,
    /// The charge's id at the processor.
    #[schema(value_type = String, example = "ch_0192f1c47d3c7b5e9a512f1b6c9d8e70")]
    pub(super) charge_id: ChargeId,
    /// What the money is for: the order's id.
    #[schema(value_type = String)]
    pub(super) reference: Arc<str>,
    /// How much, in minor units of the currency.
    pub(super) amount: i64,
    /// ISO 4217 code.
    pub(super) currency: String,
    /// When the money was taken.
    #[schema(value_type = String, format = DateTime)]
    pub(super) at: Timestamp,
    /// When it was given back, in full.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) refunded_at: Option<Timestamp>,
}

/// What the entries come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({ "charges": 3, "refunds": 1, "charged_twice": 0, "net": { "EUR": 8400 } }))]
pub(super) struct Totals {
    /// How many charges were made.
    pub(super) charges: u64,
    /// How many of them were given back.
    pub(super) refunds: u64,
    /// How many references have more than one charge that isn't given back. Anything but 0 is a bug in the shop.
    pub(super) charged_twice: u64,
    /// What is left of the money, by currency, in minor units.
    pub(super) net: BTreeMap<String, i64>,
}

impl Totals {
    /// Counts a charge.
    pub(super) fn charge(&mut self, charge: &Charge) {
        self.charges += 1;
        self.add(&charge.currency, charge.amount);
    }

    /// Counts that a charge was given back.
    pub(super) fn refund(&mut self, charge: &Charge) {
        self.refunds += 1;
        self.add(&charge.currency, -charge.amount);
    }

    fn add(&mut self, currency: &str, amount: i64) {
        match self.net.get_mut(currency) {
            // A charge is at most 10^12: ten million of the largest fit.
            Some(net) => *net = net.saturating_add(amount),
            None => {
                self.net.insert(currency.to_owned(), amount);
            }
        }
    }
}
