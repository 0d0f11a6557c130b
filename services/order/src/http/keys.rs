//! Idempotency keys: a request that is repeated gets the first answer again.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use ::store::{
    Db,
    idempotency::{Answer, Keyed},
};
use axum::{
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use runtime::Problem;

/// The keys of the requests that this process is answering. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeysInUse(Arc<Mutex<HashSet<String>>>);

/// A key in use, until this is dropped.
pub(crate) struct InUse {
    keys: KeysInUse,
    key: String,
}

impl KeysInUse {
    /// Takes a key; `Err` with the answer when the request was answered before.
    ///
    /// # Errors
    /// When a request with this key is being answered, or the key was used for another request.
    pub(crate) async fn take(
        &self,
        db: &Db,
        keyed: &Keyed,
    ) -> Result<Result<InUse, Answer>, Problem> {
        let new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(keyed.key.clone());
        if !new {
            return Err(Problem::conflict(
                "request-in-progress",
                "The request is in progress",
                "a request with this Idempotency-Key is being answered; try again in a moment",
            ));
        }
        let in_use = InUse { keys: self.clone(), key: keyed.key.clone() };
        match db.answer(&keyed.key).await? {
            Some(answer) => Ok(Err(to_the_same(keyed, answer)?)),
            None => Ok(Ok(in_use)),
        }
    }
}

impl InUse {
    pub(crate) fn key(&self) -> &str {
        &self.key
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.keys.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// The answer that was given before, to the same request.
///
/// # Errors
/// When that was to another one.
pub(crate) fn to_the_same(keyed: &Keyed, answer: Answer) -> Result<Answer, Problem> {
    if keyed.fingerprint != answer.fingerprint {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency-key-reused",
            "The Idempotency-Key was used for another request",
            "use a new key for a new request",
        ));
    }
    Ok(answer)
}

/// The answer that was given before, once more.
pub(crate) fn repeat(answer: Answer) -> Response {
    let status =
        u16::try_from(answer.status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let status = status.unwrap_or(StatusCode::OK);
    let kind = if status.is_success() { "application/json" } else { "application/problem+json" };
    let mut response = (status, [(header::CONTENT_TYPE, kind)], answer.body).into_response();
    if let Some(location) = answer.location.and_then(|location| location.parse().ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}
