//! Which queues were given what had happened before they were there.

use contracts::Timestamp;

use crate::{Db, Result};

impl Db {
    /// Whether a queue was given what had happened before.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn has_caught_up(&self, queue: &str) -> Result<bool> {
        let row = self
            .read("SELECT 1 FROM caught_up WHERE queue = $1")
            .bind(queue.to_owned())
            .optional::<(i32,)>()
            .await?;
        Ok(row.is_some())
    }

    /// Notes that a queue was given what had happened before.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn note_caught_up(&self, queue: &str) -> Result<()> {
        self.write(
            "INSERT INTO caught_up (queue, at) VALUES ($1, $2) ON CONFLICT (queue) DO NOTHING",
        )
        .bind(queue.to_owned())
        .bind(Timestamp::now().as_micros())
        .execute()
        .await
        .map(drop)
    }
}
