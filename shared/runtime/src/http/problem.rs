//! Errors as problem documents (RFC 9457): what is wrong, where, and what to do. Never a stack trace or SQL.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use store::Chain;
use utoipa::ToSchema;

/// The kind of [`Problem::unknown_order`].
pub const UNKNOWN_ORDER: &str = "unknown-order";
/// The kind of [`Problem::other_total`].
pub const OTHER_TOTAL: &str = "other-total";

/// The URI of a kind of problem, by the slug that ends it.
#[must_use]
pub fn uri(slug: &str) -> String {
    format!("https://shop.example.com/problems/{slug}")
}

/// A problem document, `application/problem+json`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// A URI that names the kind of problem.
    #[serde(rename = "type")]
    #[schema(example = "https://shop.example.com/problems/invalid-request")]
    pub kind: String,
    /// The kind in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong here, and what to do.
    pub detail: String,
    /// What is wrong with which field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// What else there is to say, each under a name of its own.
    #[serde(flatten)]
    #[schema(value_type = Option<Object>)]
    extensions: Option<Box<serde_json::Map<String, serde_json::Value>>>,
    /// After how many seconds trying again makes sense.
    #[serde(skip)]
    retry_after: Option<u32>,
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The field's path, `items[0].quantity`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl Problem {
    /// A problem; `slug` ends the URI of its kind.
    #[must_use]
    pub fn new(
        status: StatusCode,
        slug: &str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            kind: uri(slug),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            extensions: None,
            retry_after: None,
        }
    }

    /// The problem with one thing more that it says.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.extensions.get_or_insert_default().insert(name.to_owned(), value.into());
        self
    }

    /// 400: the request is not even well-formed.
    #[must_use]
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "The request is malformed", detail)
    }

    /// 404.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    /// 404: the service has done nothing for the order. Callers tell it from other reasons for a 404 by its kind.
    #[must_use]
    pub fn unknown_order() -> Self {
        let detail = "this service has done nothing for such an order";
        Self::new(StatusCode::NOT_FOUND, UNKNOWN_ORDER, "The order is unknown", detail)
    }

    /// 409: the order is charged once, and already a different amount. Callers tell it from other conflicts by its kind.
    #[must_use]
    pub fn other_total(detail: impl Into<String>) -> Self {
        let title = "The order is already charged a different amount";
        Self::conflict(OTHER_TOTAL, title, detail)
    }

    /// 405.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        let detail = "this path doesn't take this method; see /docs";
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "Method not allowed",
            detail,
        )
    }

    /// 409: the state of things doesn't allow it.
    #[must_use]
    pub fn conflict(slug: &str, title: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, slug, title, detail)
    }

    /// 408.
    #[must_use]
    pub fn request_timeout() -> Self {
        let detail = "the request's body didn't arrive in time";
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "request-timeout",
            "The request took too long",
            detail,
        )
    }

    /// 413.
    #[must_use]
    pub fn too_large() -> Self {
        let detail = format!("a request's body may have {} bytes at most", super::MAX_BODY);
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large", detail)
    }

    /// 415.
    #[must_use]
    pub fn unsupported_media_type() -> Self {
        let detail = "send the body with Content-Type: application/json";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(status, "unsupported-media-type", "Unsupported media type", detail)
    }

    /// 422: well-formed, but these fields are wrong.
    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let detail = "correct the fields named in `errors`";
        Self { errors, ..Self::new(status, "invalid-request", "The request is not valid", detail) }
    }

    /// 422, for one field.
    #[must_use]
    pub fn invalid_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError { field: field.into(), message: message.into() }])
    }

    /// 503: try again in a second.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let problem = Self::new(status, "unavailable", "Temporarily unavailable", detail);
        Self { retry_after: Some(1), ..problem }
    }

    /// 500: our fault; the log says what.
    #[must_use]
    pub fn internal() -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, "internal", "Internal error", "this is our fault, and it is in the log")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        if let store::Error::CommitUnknown(_) = &error {
            tracing::warn!(
                error = %Chain(&error),
                "whether a request was carried out isn't known"
            );
            return Self::unavailable(
                "it may have been carried out or not; look, or repeat it with the same Idempotency-Key",
            );
        }
        if error.is_unavailable() {
            tracing::warn!(
                error = %Chain(&error),
                "the database is not available"
            );
            return Self::unavailable("nothing was written; try again");
        }
        tracing::error!(error = %Chain(&error), "the database refused a request");
        Self::internal()
    }
}

impl From<garde::Report> for Problem {
    fn from(report: garde::Report) -> Self {
        Self::invalid(
            report
                .iter()
                .map(|(path, error)| FieldError {
                    field: path.to_string(),
                    message: error.to_string(),
                })
                .collect(),
        )
    }
}
