//! The values that go in and out of the card processor.

use std::sync::Arc;

use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A request to take money from a card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "amount": 4200, "currency": "EUR", "card_token": "tok_visa", "reference": "0192f1c4-7d3c-7b5e-9a51-2f1b6c9d8e70"
}))]
pub(crate) struct Charge {
    /// How much, in minor units of the currency (cents).
    #[garde(range(min = 1, max = 1_000_000_000_000))]
    #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
    pub(crate) amount: i64,
    /// ISO 4217 code.
    #[garde(custom(three_capitals))]
    #[schema(pattern = "^[A-Z]{3}$")]
    pub(crate) currency: String,
    /// Stands for the card. `tok_declined` and `tok_insufficient_funds` are always declined.
    #[garde(length(min = 1, max = 200))]
    #[schema(value_type = String, min_length = 1, max_length = 200)]
    pub(crate) card_token: Box<str>,
    /// What the money is for: the order's id.
    #[garde(length(min = 1, max = 200))]
    #[schema(value_type = String, min_length = 1, max_length = 200)]
    pub(crate) reference: Arc<str>,
}

fn three_capitals(currency: &str, _: &()) -> garde::Result {
    if currency.len() == 3 && currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Ok(());
    }
    Err(garde::Error::new("must be an ISO 4217 code, such as EUR"))
}

/// What came of a charge. The same for ever, whenever its key is sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({ "id": "ch_0192f1c47d3c7b5e9a512f1b6c9d8e70", "status": "succeeded" }))]
pub(crate) struct Receipt {
    /// The charge's id at the processor.
    #[schema(value_type = String)]
    pub(crate) id: ChargeId,
    /// Whether the money was taken.
    pub(crate) status: Status,
    /// Why it was declined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<Reason>,
}

impl Receipt {
    /// The money was taken.
    pub(crate) fn succeeded(id: ChargeId) -> Self {
        Self { id, status: Status::Succeeded, reason: None }
    }

    /// It wasn't.
    pub(crate) fn declined(id: ChargeId, reason: Reason) -> Self {
        Self { id, status: Status::Declined, reason: Some(reason) }
    }
}

/// Whether the money was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// Yes.
    Succeeded,
    /// No, and it never will be under this key.
    Declined,
}

/// Why a charge was declined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// The bank doesn't say more.
    CardDeclined,
    /// There isn't enough on the account.
    InsufficientFunds,
    /// The key was reversed before the charge came.
    Reversed,
}

/// What a reversal came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// There was a charge; it is given back in full.
    Refunded,
    /// There was none, and there never will be one.
    Voided,
}

/// A charge's id at the processor, `ch_…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct ChargeId(pub(crate) Uuid);

impl From<ChargeId> for String {
    fn from(id: ChargeId) -> Self {
        format!("ch_{}", id.0.simple())
    }
}

impl TryFrom<String> for ChargeId {
    type Error = uuid::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Uuid::try_parse(text.strip_prefix("ch_").unwrap_or(&text)).map(Self)
    }
}

/// The idempotency key of a charge: 1 to 255 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Key(Arc<str>);

/// A text that can't be a key.
#[derive(Debug, thiserror::Error)]
#[error("an idempotency key has 1 to 255 visible ASCII characters")]
pub(crate) struct InvalidKey;

impl std::str::FromStr for Key {
    type Err = InvalidKey;

    /// Takes the key as it is, or in quotes (the header is a structured-field string in the IETF's draft).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
        if (1..=255).contains(&bare.len()) && bare.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(bare.into()));
        }
        Err(InvalidKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_with_and_without_quotes() {
        let key: Key = "order-1".parse().unwrap();
        assert_eq!("\"order-1\"".parse::<Key>().unwrap(), key);
        let (longest, too_long) = ("k".repeat(255), "k".repeat(256));
        assert!(longest.parse::<Key>().is_ok());
        for bad in ["", "\"\"", "a b", "ä", "a\n", &too_long] {
            assert!(bad.parse::<Key>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_charge_within_its_bounds_is_taken() {
        let charge = |amount, currency: &str, token: &str| Charge {
            amount,
            currency: currency.to_owned(),
            card_token: token.into(),
            reference: "order".into(),
        };
        assert!(charge(1, "EUR", "tok_visa").validate().is_ok());
        let bad = [
            charge(0, "EUR", "tok_visa"),
            charge(-1, "EUR", "tok_visa"),
            charge(i64::MAX, "EUR", "tok_visa"),
            charge(1, "eur", "tok_visa"),
            charge(1, "EURO", "tok_visa"),
            charge(1, "EUR", ""),
        ];
        for charge in bad {
            assert!(charge.validate().is_err(), "{charge:?}");
        }
    }
}
