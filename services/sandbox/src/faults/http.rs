//! The switches over HTTP.

use axum::{Json, extract::State, http::StatusCode};
use runtime::{Problem, http::Json as ValidJson};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    Sandbox,
    faults::{MailFaults, ProcessorFaults},
};

/// The faults of both parts.
#[derive(Debug, Serialize, ToSchema)]
struct AllFaults {
    processor: ProcessorFaults,
    mail: MailFaults,
}

/// The routes under `/faults`.
pub(crate) fn routes() -> OpenApiRouter<Sandbox> {
    OpenApiRouter::new()
        .routes(routes!(show, clear))
        .routes(routes!(put_processor))
        .routes(routes!(put_mail))
}

/// What is broken at the moment
#[utoipa::path(get, path = "/faults", tag = "faults", responses((status = OK, body = AllFaults)))]
async fn show(State(sandbox): State<Sandbox>) -> Json<AllFaults> {
    Json(AllFaults {
        processor: ProcessorFaults::clone(&sandbox.faults.processor()),
        mail: MailFaults::clone(&sandbox.faults.mail()),
    })
}

/// Back to healthy, both parts
#[utoipa::path(delete, path = "/faults", tag = "faults", responses((status = NO_CONTENT)))]
async fn clear(State(sandbox): State<Sandbox>) -> StatusCode {
    sandbox.faults.set_processor(ProcessorFaults::default());
    sandbox.faults.set_mail(MailFaults::default());
    StatusCode::NO_CONTENT
}

/// Breaks the card processor
///
/// Replaces all its faults: what is left out is healthy. Applies to `POST /charges` and `POST /charges/{key}/reverse`
/// from the next request on; the ledger can always be read.
#[utoipa::path(
    put, path = "/faults/processor", tag = "faults", request_body = ProcessorFaults,
    responses(
        (status = OK, body = ProcessorFaults),
        (status = UNPROCESSABLE_ENTITY, body = Problem, description = "A field is unknown or out of its range"),
    ),
)]
async fn put_processor(
    State(sandbox): State<Sandbox>,
    ValidJson { value: faults, .. }: ValidJson<ProcessorFaults>,
) -> Json<ProcessorFaults> {
    sandbox.faults.set_processor(faults.clone());
    Json(faults)
}

/// Breaks the mail server
///
/// Replaces all its faults: what is left out is healthy. Applies from the next command on, to open connections too; the
/// mails can always be read.
#[utoipa::path(
    put, path = "/faults/mail", tag = "faults", request_body = MailFaults,
    responses(
        (status = OK, body = MailFaults),
        (status = UNPROCESSABLE_ENTITY, body = Problem, description = "A field is unknown or out of its range"),
    ),
)]
async fn put_mail(
    State(sandbox): State<Sandbox>,
    ValidJson { value: faults, .. }: ValidJson<MailFaults>,
) -> Json<MailFaults> {
    sandbox.faults.set_mail(faults.clone());
    Json(faults)
}
