//! Every SQL statement of the service.

use std::collections::{BTreeMap, HashMap};

use ::store::{Db, Result, Tx};
use contracts::{OrderId, Timestamp};
use uuid::Uuid;

use crate::mail::Key;

/// Somebody who would send a mail.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// The mail.
    pub key: Key,
    /// The message that asks for it.
    pub message_id: Uuid,
    /// Who would send it: one process, for one message.
    pub claimant: Uuid,
}

/// A claim that is given back after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Released {
    /// The mail.
    pub key: Key,
    /// Who had claimed it.
    pub claimant: Uuid,
    /// Whether the mail server may have the mail.
    pub unknown: bool,
}

/// What a claim on a mail came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Nobody else sends it until the claim runs out.
    Granted {
        /// What its Message-ID is made from: the message that was the first to ask for it.
        message_id: Uuid,
        /// When the claim runs out.
        until: Timestamp,
        /// How often it was handed over, and the mail server didn't say whether it has it.
        unknown: u32,
    },
    /// Somebody else is sending it, or died over it.
    Held {
        /// When that claim runs out.
        until: Timestamp,
    },
    /// It was sent.
    Sent,
}

/// What is known of a mail. No addresses.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Mail {
    /// The mail's kind.
    pub kind: String,
    /// `sending`, `failed` (and to be tried again, or a dead letter), `sent`.
    pub state: String,
    /// What its Message-ID is made from.
    pub message_id: Uuid,
    /// How often sending it was begun.
    pub attempts: i64,
    /// When the mail server took it, in microseconds since 1970.
    pub sent_at: Option<i64>,
}

/// Claims mails, a batch in two statements; what came of each, in their order. Of two that want the same mail one gets it,
/// whether they are in this batch or in concurrent transactions, which are waited for. Who has a claim may claim again,
/// and then holds it longer.
///
/// # Errors
/// When the database is away.
pub async fn claim(
    tx: &mut Tx,
    wanted: &[Wanted],
    now: Timestamp,
    until: Timestamp,
) -> Result<Vec<Claim>> {
    // One statement can't touch a row twice.
    let mut firsts: BTreeMap<Key, &Wanted> = BTreeMap::new();
    for one in wanted {
        firsts.entry(one.key).or_insert(one);
    }
    // In the order of their keys: two transactions that touch the same rows then never wait for each other in a circle.
    let rows: Vec<&Wanted> = firsts.into_values().collect();
    let mut claims = take(tx, &rows, now, until).await?;
    let others: Vec<Key> =
        rows.iter().map(|one| one.key).filter(|key| !claims.contains_key(key)).collect();
    claims.extend(held(tx, &others).await?);
    Ok(wanted
        .iter()
        .map(|one| match claims.get_mut(&one.key) {
            // The first gets it, and the next find it taken.
            Some(claim @ Claim::Granted { .. }) => std::mem::replace(claim, Claim::Held { until }),
            Some(claim) => *claim,
            None => Claim::Held { until: now },
        })
        .collect())
}

/// Takes the mails that no other replica has claimed. The clocks of two machines may differ by a minute; a claim that begins later
/// than that comes from a clock that was set back since, and has ended.
async fn take(
    tx: &mut Tx,
    rows: &[&Wanted],
    now: Timestamp,
    until: Timestamp,
) -> Result<HashMap<Key, Claim>> {
    let taken = tx
        .fetch_many::<_, (OrderId, String, Uuid, i64)>(
            "INSERT INTO mails (order_id, kind, message_id, state, claimed_by, claimed_at, claimed_until, attempts)
             VALUES {}
             ON CONFLICT (order_id, kind) DO UPDATE SET
                 state = excluded.state, claimed_by = excluded.claimed_by,
                 claimed_at = excluded.claimed_at, claimed_until = excluded.claimed_until,
                 attempts = mails.attempts + CASE WHEN mails.claimed_by = excluded.claimed_by THEN 0 ELSE 1 END
             WHERE mails.state <> 'sent'
                 AND (mails.claimed_until <= excluded.claimed_at OR mails.claimed_by = excluded.claimed_by
                     OR mails.claimed_at > excluded.claimed_at + 60000000)
             RETURNING order_id, kind, message_id, unknown_outcomes",
            rows,
            |row, one| {
                row.bind(one.key.order_id)
                    .bind(one.key.kind.as_str())
                    .bind(one.message_id)
                    .bind("sending")
                    .bind(one.claimant)
                    .bind(now.as_micros())
                    .bind(until.as_micros())
                    .bind(1_i64)
            },
        )
        .await?;
    Ok(taken
        .into_iter()
        .filter_map(|(order_id, kind, message_id, unknown)| {
            let unknown = u32::try_from(unknown).unwrap_or(u32::MAX);
            Some((Key::read(order_id, &kind)?, Claim::Granted { message_id, until, unknown }))
        })
        .collect())
}

/// Why these mails could not be taken.
async fn held(tx: &mut Tx, keys: &[Key]) -> Result<HashMap<Key, Claim>> {
    let rows = tx
        .fetch_many::<_, (OrderId, String, String, i64)>(
            "SELECT order_id, kind, state, claimed_until FROM mails WHERE (order_id, kind) IN (VALUES {})",
            keys,
            |row, key| row.bind(key.order_id).bind(key.kind.as_str()),
        )
        .await?;
    Ok(rows
        .into_iter()
        .filter_map(|(order_id, kind, state, until)| {
            let until = Timestamp::from_micros(until);
            let claim = if state == "sent" { Claim::Sent } else { Claim::Held { until } };
            Some((Key::read(order_id, &kind)?, claim))
        })
        .collect())
}

/// Gives claims back after failures: whoever wants one of these mails next gets it at once. A claim that meanwhile ran out and was
/// taken by another stays that other's.
///
/// # Errors
/// When the database is away.
pub async fn release(tx: &mut Tx, claims: &[Released]) -> Result<()> {
    let mut sorted = claims.to_vec();
    sorted.sort_unstable();
    tx.execute_many(
        "UPDATE mails SET state = 'failed', claimed_by = NULL, claimed_until = 0,
             unknown_outcomes = mails.unknown_outcomes + released.column4
         FROM (VALUES {}) AS released
         WHERE mails.order_id = released.column1 AND mails.kind = released.column2
             AND mails.state = 'sending' AND mails.claimed_by = released.column3",
        &sorted,
        |row, released| {
            row.bind(released.key.order_id)
                .bind(released.key.kind.as_str())
                .bind(released.claimant)
                .bind(i64::from(released.unknown))
        },
    )
    .await
    .map(drop)
}

/// Writes down which mails were sent, and when.
///
/// # Errors
/// When the database is away.
pub async fn mark_sent(tx: &mut Tx, sent: &[(Key, Timestamp)]) -> Result<()> {
    let mut sorted = sent.to_vec();
    sorted.sort_unstable();
    tx.execute_many(
        "UPDATE mails SET state = 'sent', claimed_by = NULL, sent_at = sent.column3
         FROM (VALUES {}) AS sent
         WHERE mails.order_id = sent.column1 AND mails.kind = sent.column2",
        &sorted,
        |row, (key, at)| row.bind(key.order_id).bind(key.kind.as_str()).bind(at.as_micros()),
    )
    .await
    .map(drop)
}

/// The mails of an order, the first one first.
///
/// # Errors
/// When the database is away.
pub async fn mails(db: &Db, order_id: OrderId) -> Result<Vec<Mail>> {
    db.read(
        "SELECT kind, state, message_id, attempts, sent_at FROM mails WHERE order_id = $1
         ORDER BY claimed_at, kind",
    )
    .bind(order_id)
    .all()
    .await
}
