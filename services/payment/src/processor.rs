//! The card processor, over HTTP. Every charge carries a key, so that asking again never charges twice.

use std::time::Duration;

use contracts::{Money, OrderId};
use reqwest::{Method, StatusCode};
use runtime::{
    Failure,
    client::{Answer, Client},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Longest text of the processor's that is kept, in bytes.
const MAX_TEXT: usize = 200;

/// The card processor.
#[derive(Debug, Clone)]
pub struct Processor {
    client: Client,
}

/// A charge to ask for.
#[derive(Debug)]
pub struct Charge<'c> {
    /// The same for every attempt, in every process.
    pub key: Uuid,
    /// How much.
    pub amount: &'c Money,
    /// The card. Never in a log or a table.
    pub card_token: &'c str,
    /// What it is for.
    pub order_id: OrderId,
}

/// What came of a charge; it never changes any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Charged {
    /// The money is taken.
    Succeeded {
        /// The processor's name for the charge.
        id: String,
    },
    /// It isn't, and never will be under this key.
    Declined {
        /// The processor's word for it, `card_declined`.
        reason: String,
    },
}

/// What came of a reversal; it never changes any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reversal {
    /// There was a charge; it was given back in full.
    Refunded,
    /// There was none, and there never will be one under this key.
    Voided,
}

#[derive(Serialize)]
struct ChargeRequest<'c> {
    amount: i64,
    currency: &'c str,
    card_token: &'c str,
    reference: OrderId,
}

/// The processor's answer to a charge.
#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
enum Receipt {
    Succeeded { id: String },
    Declined { reason: String },
}

#[derive(Deserialize)]
struct ReversalReceipt {
    outcome: Reversal,
}

impl Processor {
    /// The processor at `url`, which may take `timeout` for each answer.
    ///
    /// # Errors
    /// When the URL can't be used.
    pub fn new(url: &str, timeout: Duration) -> anyhow::Result<Self> {
        Ok(Self { client: Client::new(url, timeout)? })
    }

    /// Asks for the money, or for what came of asking before.
    ///
    /// # Errors
    /// Transient when the outcome is unknown (no answer, or one that makes no sense): the charge may have been made. Permanent when the
    /// processor refuses the request as such.
    pub async fn charge(&self, charge: &Charge<'_>) -> Result<Charged, Failure> {
        let request = ChargeRequest {
            amount: charge.amount.amount,
            currency: &charge.amount.currency,
            card_token: charge.card_token,
            reference: charge.order_id,
        };
        let response = self
            .client
            .call(Method::POST, "/charges", &["charges"], |call| {
                call.header("Idempotency-Key", charge.key.to_string()).json(&request)
            })
            .await
            .map_err(unanswered)?;
        let status = response.status();
        if !status.is_success() && status != StatusCode::PAYMENT_REQUIRED {
            return Err(refused(status));
        }
        match (status, read::<Receipt>(response).await?) {
            (StatusCode::PAYMENT_REQUIRED, Receipt::Declined { reason }) => {
                Ok(Charged::Declined { reason: bounded(reason) })
            }
            (status, Receipt::Succeeded { id }) if status.is_success() => {
                Ok(Charged::Succeeded { id: bounded(id) })
            }
            (status, _) => Err(Failure::Transient(anyhow::anyhow!(
                "the card processor's status {status} and its receipt contradict each other"
            ))),
        }
    }

    /// Undoes the charge with this key, whether it was made, declined, or is still on its way.
    ///
    /// # Errors
    /// When that isn't certain: ask again, until it is.
    pub async fn reverse(&self, key: Uuid) -> Result<Reversal, Failure> {
        let key = key.to_string();
        let path = ["charges", key.as_str(), "reverse"];
        let response = self
            .client
            .call(Method::POST, "/charges/{key}/reverse", &path, |call| call)
            .await
            .map_err(unanswered)?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(refused(status));
        }
        Ok(read::<ReversalReceipt>(response).await?.outcome)
    }
}

async fn read<T: serde::de::DeserializeOwned>(answer: Answer) -> Result<T, Failure> {
    answer.json().await.map_err(|error| unknown(error.into()))
}

fn unanswered(error: reqwest::Error) -> Failure {
    // The URL is in the span; the error goes into logs and dead letters, where a password in it would stay.
    unknown(error.without_url().into())
}

/// A failure that leaves the outcome unknown.
fn unknown(error: anyhow::Error) -> Failure {
    Failure::Transient(error.context("the card processor's answer is not known"))
}

/// Those of the 4xx that ask for another try are no word on the request.
fn refused(status: StatusCode) -> Failure {
    let error = anyhow::anyhow!("the card processor answered {status}");
    let later = [
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::CONFLICT,
        StatusCode::TOO_EARLY,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    if status.is_client_error() && !later.contains(&status) {
        Failure::Permanent(error)
    } else {
        Failure::Transient(error)
    }
}

/// The text, cut between two characters where it is too long.
fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_refusal_is_permanent() {
        for status in [400, 401, 404, 413, 422] {
            let failure = refused(StatusCode::from_u16(status).unwrap());
            assert!(matches!(failure, Failure::Permanent(_)), "{status}");
        }
        for status in [204, 302, 408, 409, 425, 429, 500, 502, 503, 504] {
            let failure = refused(StatusCode::from_u16(status).unwrap());
            assert!(matches!(failure, Failure::Transient(_)), "{status}");
        }
    }

    #[test]
    fn receipts_are_read_by_their_status() {
        let read = |text| serde_json::from_str::<Receipt>(text);
        let taken = read(r#"{"id": "ch_1", "status": "succeeded", "extra": true}"#).unwrap();
        assert!(matches!(taken, Receipt::Succeeded { id } if id == "ch_1"));
        let declined = read(r#"{"id": "ch_1", "status": "declined", "reason": "why"}"#).unwrap();
        assert!(matches!(declined, Receipt::Declined { reason } if reason == "why"));
        for unclear in [r#"{"id": "ch_1", "status": "processing"}"#, r#"{"id": "ch_1"}"#, "{}"] {
            assert!(read(unclear).is_err(), "{unclear}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(bounded("é".repeat(MAX_TEXT)).len(), MAX_TEXT);
        assert_eq!(bounded("é".repeat(MAX_TEXT) + "x").len(), MAX_TEXT);
        assert_eq!(bounded("short".to_owned()), "short");
    }
}
