//! Reading a request: a JSON body that is bounded, well-formed and valid, and the idempotency key.

use axum::{
    body::Body,
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use futures_util::StreamExt as _;
use garde::Validate;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use store::idempotency::Keyed;
use uuid::Uuid;

use super::MAX_BODY;
use crate::Problem;

/// A JSON body that has passed its type's rules, with its bytes' hash.
#[derive(Debug)]
pub struct Json<T> {
    /// The body.
    pub value: T,
    /// SHA-256 of its bytes.
    pub hash: Vec<u8>,
}

impl<S, T> FromRequest<S> for Json<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Validate<Context = ()>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::unsupported_media_type());
        }
        let bytes = read(request.into_body()).await?;
        let value: T = parse(&bytes)?;
        value.validate()?;
        Ok(Self { value, hash: Sha256::digest(&bytes).to_vec() })
    }
}

/// Reads a body up to [`MAX_BODY`]. Of a larger one some more is read and thrown away: a client that is still sending when the
/// connection is closed would not see the answer.
async fn read(body: Body) -> Result<Vec<u8>, Problem> {
    let mut chunks = body.into_data_stream();
    let (mut bytes, mut total) = (Vec::new(), 0);
    while let Some(chunk) = chunks.next().await {
        let chunk =
            chunk.map_err(|_| Problem::bad_request("the body could not be read to its end"))?;
        total += chunk.len();
        if total <= MAX_BODY {
            bytes.extend_from_slice(&chunk);
        } else if total > 16 * MAX_BODY {
            break;
        }
    }
    if total > MAX_BODY { Err(Problem::too_large()) } else { Ok(bytes) }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// Text that is no JSON is a 400, JSON that doesn't fit is a 422 that names the field.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // serde would take the array of a struct's fields for the struct.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::invalid_field(".", "must be a JSON object"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        if error.inner().is_data() {
            Problem::invalid_field(error.path().to_string(), without_position(error.inner()))
        } else {
            Problem::bad_request(format!("the body is not JSON: {}", error.inner()))
        }
    })?;
    deserializer
        .end()
        .map_err(|error| Problem::bad_request(format!("the body is not JSON: {error}")))?;
    Ok(value)
}

/// The error without serde_json's " at line 1 column 2": the field's path says it better.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

/// The `Idempotency-Key` of a request for `operation`, with the request's fingerprint; none when it has none.
///
/// # Errors
/// When it is empty, longer than 255 bytes, not printable ASCII, or given twice.
pub fn idempotency_key(
    headers: &HeaderMap,
    operation: &str,
    hash: &[u8],
) -> Result<Option<Keyed>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    // The draft makes it a structured-field string, in quotes; most clients send it bare.
    let key = value.to_str().map(|text| text.trim().trim_matches('"')).unwrap_or_default();
    if key.is_empty() || key.len() > 255 || values.next().is_some() {
        return Err(Problem::bad_request(
            "Idempotency-Key must be given once, as 1 to 255 printable ASCII characters",
        ));
    }
    Ok(Some(Keyed { key: format!("{operation} {key}"), fingerprint: hash.to_vec() }))
}

/// The `Idempotency-Key` of a call that must have one, a UUID: it goes on to whoever is asked in turn.
///
/// # Errors
/// When it is missing, or no UUID.
pub fn uuid_key(headers: &HeaderMap) -> Result<Uuid, Problem> {
    let key = headers.get("idempotency-key").and_then(|value| value.to_str().ok());
    key.and_then(|key| key.trim().trim_matches('"').parse().ok())
        .ok_or_else(|| Problem::bad_request("Idempotency-Key must be given, and be a UUID"))
}
