//! Dead letters: a table of their own, so that they cost the deliveries nothing.

use contracts::Timestamp;
use store::Tx;
use uuid::Uuid;

use super::{Table, to_json};
use crate::{DeadLetter, History, Result, Selection, message_id};

impl Table {
    pub(crate) async fn dead_letters(&self, queue: &str) -> Result<Vec<DeadLetter>> {
        self.find(queue).await?;
        let mut tx = self.db.begin().await?;
        let rows = select_dead(&mut tx, queue).await?;
        Ok(rows.into_iter().map(|(_, letter)| letter).collect())
    }

    pub(crate) async fn replay(
        &self,
        queue: &str,
        selection: &Selection,
    ) -> Result<Vec<DeadLetter>> {
        self.find(queue).await?;
        let mut tx = self.db.begin().await?;
        let letters = take_dead(&mut tx, queue, selection).await?;
        let now = Timestamp::now().as_micros();
        tx.execute_many(
            "INSERT INTO deliveries (queue, routing_key, body, due_at, times, history) VALUES {}",
            &letters,
            |row, letter| {
                row.bind(letter.queue.clone())
                    .bind(letter.routing_key.clone())
                    .bind(letter.body.clone())
                    .bind(now)
                    .bind(0_i64)
                    .bind(to_json(&letter.history.clone().replayed()))
            },
        )
        .await?;
        tx.commit().await?;
        Ok(letters)
    }

    pub(crate) async fn purge(
        &self,
        queue: &str,
        selection: &Selection,
    ) -> Result<Vec<DeadLetter>> {
        self.find(queue).await?;
        let mut tx = self.db.begin().await?;
        let letters = take_dead(&mut tx, queue, selection).await?;
        tx.commit().await?;
        Ok(letters)
    }
}

/// A delivery on its way to the dead letters.
pub(super) struct Dying<'d> {
    pub(super) seq: i64,
    pub(super) lease: i64,
    pub(super) routing_key: &'d str,
    pub(super) body: &'d [u8],
    pub(super) history: History,
}

/// Moves deliveries to the dead letters. One that is no longer there, or leased anew, is another consumer's.
pub(super) async fn bury(tx: &mut Tx, queue: &str, dying: &[Dying<'_>]) -> store::Result<()> {
    for one in dying {
        let mine = tx
            .query("DELETE FROM deliveries WHERE seq = $1 AND lease = $2")
            .bind(one.seq)
            .bind(one.lease)
            .execute()
            .await?;
        if mine == 0 {
            continue;
        }
        tx.query(
            "INSERT INTO dead_letters (queue, message_id, routing_key, body, history) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(queue.to_owned())
        .bind(message_id(one.body))
        .bind(one.routing_key.to_owned())
        .bind(one.body.to_vec())
        .bind(to_json(&one.history))
        .execute()
        .await?;
    }
    Ok(())
}

async fn select_dead(tx: &mut Tx, queue: &str) -> Result<Vec<(i64, DeadLetter)>> {
    let rows = tx
        .query(
            "SELECT seq, message_id, routing_key, body, history FROM dead_letters WHERE queue = $1 ORDER BY seq
             FOR UPDATE",
        )
        .bind(queue.to_owned())
        .all::<(i64, Uuid, String, Vec<u8>, String)>()
        .await?;
    Ok(rows
        .into_iter()
        .map(|(seq, id, routing_key, body, history)| {
            let history = serde_json::from_str(&history).unwrap_or_default();
            (seq, DeadLetter { id, queue: queue.to_owned(), routing_key, body, history })
        })
        .collect())
}

async fn take_dead(tx: &mut Tx, queue: &str, selection: &Selection) -> Result<Vec<DeadLetter>> {
    let mut rows = select_dead(tx, queue).await?;
    rows.retain(|(_, letter)| selection.contains(&letter.id));
    tx.execute_many("DELETE FROM dead_letters WHERE seq IN (VALUES {})", &rows, |row, (seq, _)| {
        row.bind(*seq)
    })
    .await?;
    Ok(rows.into_iter().map(|(_, letter)| letter).collect())
}
