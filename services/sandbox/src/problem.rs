//! The sandbox's own errors as problem documents.

use axum::{extract::rejection::QueryRejection, http::StatusCode};
use runtime::Problem;

use crate::journal::JournalError;

impl From<JournalError> for Problem {
    fn from(error: JournalError) -> Self {
        tracing::error!(%error, "can't write the journal");
        Self::internal()
    }
}

/// 400: a query parameter that makes no sense.
pub(crate) fn bad_query(rejection: QueryRejection) -> Problem {
    Problem::bad_request(rejection.body_text())
}

/// 500: the fault that was ordered, not a bug.
pub(crate) fn ordered_failure() -> Problem {
    let detail = "nothing was carried out; this failure was ordered at /faults";
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    Problem::new(status, "ordered-failure", "The card processor failed", detail)
}

/// 504: the answer that was to get lost, after it was held back for longer than anybody waits.
pub(crate) fn lost_answer() -> Problem {
    let detail = "the request was carried out; the loss of its answer was ordered at /faults";
    Problem::new(StatusCode::GATEWAY_TIMEOUT, "lost-answer", "The answer is lost", detail)
}

/// 422: an idempotency key that was used for something else.
pub(crate) fn key_reused(detail: String) -> Problem {
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    Problem::new(status, "idempotency-key-reused", "The idempotency key is taken", detail)
}
