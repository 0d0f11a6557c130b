//! Reading a request: a JSON body that is bounded, well-formed and valid, and the idempotency key.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, HttpBody as _},
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use futures_util::StreamExt as _;
use garde::Validate;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use store::idempotency::Keyed;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use uuid::Uuid;

use super::MAX_BODY;
use crate::Problem;

/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// A body up to this size, in bytes, is always read: most are smaller.
const SMALL_BODY: usize = 4 * 1024;
/// How long a larger one waits until it is read.
const LARGE_PATIENCE: Duration = Duration::from_secs(5);
/// Larger ones that are read at a time. This times [`MAX_BODY`] is the memory that they take at most.
const MAX_LARGE_BODIES: usize = 32;

/// The permits to read large bodies: an extension of the requests of one server. Cloning shares them.
#[derive(Debug, Clone)]
pub(super) struct LargeBodies(Arc<Semaphore>);

impl Default for LargeBodies {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_LARGE_BODIES)))
    }
}

impl LargeBodies {
    async fn permit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        match timeout(LARGE_PATIENCE, self.0.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Problem::unavailable("too many large requests at once; try again")),
        }
    }
}

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
        let large = request.extensions().get::<LargeBodies>().cloned().unwrap_or_default();
        let reading = timeout(BODY_TIMEOUT, read(request.into_body(), &large));
        let bytes = reading.await.map_err(|_| Problem::request_timeout())??;
        let value: T = parse(&bytes)?;
        value.validate()?;
        Ok(Self { value, hash: Sha256::digest(&bytes).to_vec() })
    }
}

/// Reads a body up to [`MAX_BODY`]. Of a larger one some more is read and thrown away: a client that is still sending when the
/// connection is closed would not see the answer.
async fn read(body: Body, large: &LargeBodies) -> Result<Vec<u8>, Problem> {
    // As large as it says that it can be: growing would take twice the memory.
    let expected = body.size_hint().upper().and_then(|size| usize::try_from(size).ok());
    let expected = expected.unwrap_or(MAX_BODY).min(MAX_BODY);
    let (mut bytes, mut total, mut permit) = (Vec::new(), 0, None);
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk =
            chunk.map_err(|_| Problem::bad_request("the body could not be read to its end"))?;
        total += chunk.len();
        if total > SMALL_BODY && permit.is_none() {
            permit = Some(large.permit().await?);
            bytes.reserve_exact(expected.saturating_sub(bytes.len()));
        }
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

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[derive(Debug, serde::Deserialize, Validate)]
    struct Empty {}

    /// A body that never ends after its first `length` bytes.
    fn unended(length: usize) -> Body {
        let begun = stream::iter([Ok::<_, std::io::Error>("{".repeat(length))]);
        Body::from_stream(begun.chain(stream::pending()))
    }

    async fn answer(body: Body, large: LargeBodies) -> u16 {
        let request = Request::post("/")
            .header(header::CONTENT_TYPE, "application/json")
            .extension(large)
            .body(body)
            .unwrap();
        Json::<Empty>::from_request(request, &())
            .await
            .map_or_else(|refused| refused.status, |_| 200)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_waited_for_for_a_while() {
        assert_eq!(answer(unended(1), LargeBodies::default()).await, 408);
    }

    #[tokio::test(start_paused = true)]
    async fn large_bodies_that_never_end_take_bounded_memory_and_delay_no_small_one() {
        let large = LargeBodies::default();
        let unended: Vec<_> = (0..MAX_LARGE_BODIES)
            .map(|_| tokio::spawn(answer(unended(MAX_BODY), large.clone())))
            .collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(large.0.available_permits(), 0);
        let begun = tokio::time::Instant::now();
        assert_eq!(answer(Body::from("{}"), large.clone()).await, 200);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        let one_more = format!("{}{{}}", " ".repeat(SMALL_BODY));
        assert_eq!(answer(Body::from(one_more.clone()), large.clone()).await, 503);
        for one in unended {
            assert_eq!(one.await.unwrap(), 408);
        }
        assert_eq!(answer(Body::from(one_more), large).await, 200);
    }
}
