//! Giving claims back, many in one transaction: while the mail server is away, every mail fails, and failing must not be
//! what loads the database.

use std::sync::{Mutex, PoisonError};

use ::store::{Chain, Db};

use crate::store::{self, Released};

/// The claims that wait to be given back.
#[derive(Debug)]
pub(crate) struct Releases {
    db: Db,
    waiting: Mutex<Vec<Released>>,
    /// Held by whoever gives back what waits, for all who wait.
    turn: tokio::sync::Mutex<()>,
}

impl Releases {
    pub(crate) fn new(db: Db) -> Self {
        Self { db, waiting: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// Gives a claim back, together with those that came while another transaction was under way. A claim that can't be given back
    /// runs out by itself.
    pub(crate) async fn release(&self, released: Released) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(released);
        let _turn = self.turn.lock().await;
        let batch =
            std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        if batch.is_empty() {
            return;
        }
        if let Err(error) = self.commit(&batch).await {
            tracing::warn!(
                error = %Chain(&error),
                "claims on mails could not be given back; they will run out"
            );
        }
    }

    async fn commit(&self, batch: &[Released]) -> ::store::Result<()> {
        let mut tx = self.db.begin().await?;
        store::release(&mut tx, batch).await?;
        tx.commit().await
    }
}
