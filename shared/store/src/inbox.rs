//! The inbox: the messages that this service has applied. Its rows are the guard against applying one
//! twice, so they are kept for good: a dead letter may be replayed after any time.

use std::collections::HashSet;

use contracts::{Header, Timestamp};
use uuid::Uuid;

use crate::{Db, Result, Tx};

/// What the inbox keeps of a message.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// The message.
    pub header: Header,
    /// Which attempt succeeded, from 1.
    pub attempt: u32,
    /// How many times a person replayed it before.
    pub replays: u32,
}

/// What identifies a message for ever.
type Key = (String, Uuid);

impl Tx {
    /// Writes the receipts; which of them are new. What isn't was applied before and must not be applied again.
    /// A concurrent transaction with the same message is waited for.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn receive(&mut self, receipts: &[Receipt]) -> Result<HashSet<Key>> {
        let now = Timestamp::now().as_micros();
        // Two transactions that insert the same keys in different order would wait for each other.
        let mut sorted: Vec<&Receipt> = receipts.iter().collect();
        sorted.sort_unstable_by_key(|receipt| receipt.header.id);
        let new = self
            .fetch_many::<_, Key>(
                "INSERT INTO inbox (source, message_id, type, attempt, replays, received_at) VALUES {}
                 ON CONFLICT (source, message_id) DO NOTHING RETURNING source, message_id",
                &sorted,
                |row, receipt| {
                    row.bind(receipt.header.source.clone())
                        .bind(receipt.header.id)
                        .bind(receipt.header.kind.clone())
                        .bind(i64::from(receipt.attempt))
                        .bind(i64::from(receipt.replays))
                        .bind(now)
                },
            )
            .await?;
        Ok(new.into_iter().collect())
    }

    /// Which of these messages were applied before. Only to save a call: the guard is [`receive`](Self::receive).
    ///
    /// # Errors
    /// When the database is away.
    pub async fn received(&mut self, headers: &[&Header]) -> Result<HashSet<Key>> {
        let found = self
            .fetch_many::<_, Key>(
                "SELECT source, message_id FROM inbox WHERE (source, message_id) IN (VALUES {})",
                headers,
                |row, header| row.bind(header.source.clone()).bind(header.id),
            )
            .await?;
        Ok(found.into_iter().collect())
    }
}

impl Db {
    /// The receipt of a message: attempt and replays; none when it wasn't applied.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn receipt(&self, source: &str, id: Uuid) -> Result<Option<(u32, u32)>> {
        let row = self
            .read("SELECT attempt, replays FROM inbox WHERE source = $1 AND message_id = $2")
            .bind(source.to_owned())
            .bind(id)
            .optional::<(i64, i64)>()
            .await?;
        Ok(row.map(|(attempt, replays)| {
            (u32::try_from(attempt).unwrap_or(0), u32::try_from(replays).unwrap_or(0))
        }))
    }
}
