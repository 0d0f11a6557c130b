//! Charges and reversals over HTTP, with the faults that are switched on.

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use runtime::{Problem, http::Json as ValidJson};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ChargeError,
    charge::{Charge, InvalidKey, Key, Outcome, Receipt, Status},
    turn::Turn,
};
use crate::{Sandbox, problem};

/// What a reversal came to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({ "outcome": "refunded" }))]
struct Reversal {
    outcome: Outcome,
}

/// The routes under `/charges`.
pub(super) fn routes() -> OpenApiRouter<Sandbox> {
    OpenApiRouter::new().routes(routes!(charge)).routes(routes!(reverse))
}

/// Takes money from a card
///
/// Once per `Idempotency-Key`: the same key with the same body is answered as the first time, for ever, also after the
/// charge was reversed.
#[utoipa::path(
    post, path = "/charges", tag = "card processor", request_body = Charge,
    params(("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters", example = "order-1")),
    responses(
        (status = CREATED, body = Receipt, description = "The money is taken"),
        (status = PAYMENT_REQUIRED, body = Receipt, description = "The card is declined, or the key was reversed",
            example = json!({ "id": "ch_0192f1c47d3c7b5e9a512f1b6c9d8e70", "status": "declined", "reason": "card_declined" })),
        (status = BAD_REQUEST, body = Problem, description = "No `Idempotency-Key`, or no JSON"),
        (status = UNPROCESSABLE_ENTITY, body = Problem, description = "A field is out of its range, or the key was used with another body"),
    ),
)]
async fn charge(
    State(sandbox): State<Sandbox>,
    headers: HeaderMap,
    ValidJson { value: charge, .. }: ValidJson<Charge>,
) -> Result<(StatusCode, Json<Receipt>), Problem> {
    let turn = Turn::admit(&sandbox)?;
    let key = idempotency_key(&headers)?;
    let receipt = turn
        .take(move |sandbox| sandbox.processor.charge(key, charge, &sandbox.faults.processor()));
    let receipt = receipt.await??;
    let status = match receipt.status {
        Status::Succeeded => StatusCode::CREATED,
        Status::Declined => StatusCode::PAYMENT_REQUIRED,
    };
    Ok((status, Json(receipt)))
}

/// Undoes a charge, by its `Idempotency-Key`
///
/// A charge that was made is given back in full. Where there is none, the key is blocked for ever, so that a charge that
/// is still on its way is declined with the reason `reversed`. Asking again gives the same answer.
#[utoipa::path(
    post, path = "/charges/{key}/reverse", tag = "card processor",
    params(("key" = String, Path, description = "The `Idempotency-Key` of the charge", example = "order-1")),
    responses(
        (status = OK, body = Reversal, description = "`refunded`: the money is given back. `voided`: none was or will be taken"),
        (status = BAD_REQUEST, body = Problem, description = "The key can't be one"),
    ),
)]
async fn reverse(
    State(sandbox): State<Sandbox>,
    Path(key): Path<String>,
) -> Result<Json<Reversal>, Problem> {
    let turn = Turn::admit(&sandbox)?;
    let key: Key = key.parse()?;
    let outcome = turn.take(move |sandbox| sandbox.processor.reverse(key)).await??;
    Ok(Json(Reversal { outcome }))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Key, Problem> {
    let mut values = headers.get_all("Idempotency-Key").iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Problem::bad_request("the header Idempotency-Key must be given once"));
    };
    Ok(value.to_str().unwrap_or_default().parse::<Key>()?)
}

impl From<InvalidKey> for Problem {
    fn from(error: InvalidKey) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<ChargeError> for Problem {
    fn from(error: ChargeError) -> Self {
        match error {
            ChargeError::KeyReused(error) => problem::key_reused(error.to_string()),
            ChargeError::Journal(error) => error.into(),
        }
    }
}
