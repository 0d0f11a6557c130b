//! Idempotency keys of HTTP requests: the first answer is kept with the change that it reports, and given
//! again to whoever sends the same request with the same key
//! (<https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/07/>).

use contracts::Timestamp;

use crate::{Db, Result, Tx};

/// A request that carries a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed {
    /// The client's key, together with the operation that it is for.
    pub key: String,
    /// A hash of the request: the same key with another request is a mistake of the client.
    pub fingerprint: Vec<u8>,
}

/// The answer that was given.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Answer {
    /// The fingerprint of the request that it answered.
    pub fingerprint: Vec<u8>,
    /// HTTP status.
    pub status: i32,
    /// The `Location` header.
    pub location: Option<String>,
    /// The body, JSON.
    pub body: String,
}

const SELECT: &str =
    "SELECT fingerprint, status, location, body FROM idempotency_keys WHERE idempotency_key = $1";

impl Db {
    /// The answer that was given to a key.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn answer(&self, key: &str) -> Result<Option<Answer>> {
        self.read(SELECT).bind(key.to_owned()).optional().await
    }
}

impl Tx {
    /// Keeps the answers to keyed requests; which keys were new. For one that wasn't, another request was answered
    /// first (and waited for, if it is still being answered): undo, and give that answer.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn keep_answers(&mut self, answers: &[(&str, &Answer)]) -> Result<Vec<String>> {
        let now = Timestamp::now().as_micros();
        let mut sorted = answers.to_vec();
        sorted.sort_unstable_by_key(|(key, _)| *key);
        let new = self
            .fetch_many::<_, (String,)>(
                "INSERT INTO idempotency_keys (idempotency_key, fingerprint, status, location, body, created_at)
                 VALUES {} ON CONFLICT (idempotency_key) DO NOTHING RETURNING idempotency_key",
                &sorted,
                |row, (key, answer)| {
                    row.bind((*key).to_owned())
                        .bind(answer.fingerprint.clone())
                        .bind(answer.status)
                        .bind(answer.location.clone())
                        .bind(answer.body.clone())
                        .bind(now)
                },
            )
            .await?;
        Ok(new.into_iter().map(|(key,)| key).collect())
    }

    /// Puts another answer in the place of the one that is kept for a key: for a request whose end was not known when it was
    /// first written down.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn replace_answer(&mut self, key: &str, answer: &Answer) -> Result<()> {
        self.query("UPDATE idempotency_keys SET status = $1, location = $2, body = $3 WHERE idempotency_key = $4")
            .bind(answer.status)
            .bind(answer.location.clone())
            .bind(answer.body.clone())
            .bind(key.to_owned())
            .execute()
            .await
            .map(drop)
    }
}
