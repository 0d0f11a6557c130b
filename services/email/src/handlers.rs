//! What the service does with a message: sends the mail that it leads to, once.
//!
//! A mail server knows no idempotency keys, so a *claim* is committed before it is called: a row by (order, kind of mail) says
//! who is sending the mail and until when. Two replicas with the same message, or two messages with the same fact, thus
//! don't both send:
//! - a mail that was sent is left alone;
//! - one that somebody else is sending is waited for, at the cost of no attempt, until it was sent or the claim has run
//!   out. Only the claims of a process that died run out: a failure gives the claim back at once, so that the next attempt
//!   finds it free, on whichever replica it takes place.
//!
//! A claim lasts [`CLAIM_TIMEOUTS`] times as long as handing a mail over may take, and sending begins only while at least
//! [`MARGIN_TIMEOUTS`] times that is left of it: what is left over covers clocks that differ. While the mail server takes
//! its time to accept the mail, for minutes perhaps, the claim is renewed.
//!
//! There is one window in which a mail may repeat: between the mail server's acceptance and the commit that writes it
//! down. A process that is killed there, doesn't hear the acceptance (the connection breaks, or the timeout is over), or can't
//! commit before the claim runs out (the database is unavailable), leaves a mail that looks unsent, and it is sent again: with
//! the same Message-ID, which is made from the message that first asked for it. After [`UNKNOWN_OUTCOMES`] answers that
//! didn't come, it isn't sent again by itself: then an operator decides, by a replay.

use std::{convert::Infallible, sync::Arc, time::Duration};

use ::store::{Chain, Db, Tx};
use anyhow::anyhow;
use contracts::Timestamp;
use runtime::{Failure, Handler, Received};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    mail::{Key, Mail},
    mailer::{self, Mailer, Slot},
    releases::Releases,
    store::{self, Claim, Released, Wanted},
};

contracts::incoming! {
    /// What the service reacts to.
    pub enum Incoming { OrderPlaced, OrderConfirmed, OrderCancelled }
}

/// How long a claim lasts, in timeouts of a mail.
pub const CLAIM_TIMEOUTS: f64 = 2.0;
/// How much of a claim must be left when sending begins, in timeouts of a mail.
pub const MARGIN_TIMEOUTS: f64 = 1.5;
/// After so many times, a mail that the server may have is a dead letter.
const UNKNOWN_OUTCOMES: u32 = 2;
/// The pause between two looks at a mail that somebody else is sending doubles from the first to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Sends the mail that a message leads to. Cloning shares the connections.
#[derive(Debug, Clone)]
pub struct Mails {
    db: Db,
    mailer: Arc<Mailer>,
    releases: Arc<Releases>,
    shutdown: CancellationToken,
    /// This process, as long as it lives: it knows its own claims, and nobody else's.
    process: Uuid,
}

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub enum Outcome {
    /// The mail server took it.
    Sent(Timestamp),
    /// Somebody else had sent it.
    Skipped,
}

impl Mails {
    /// A handler; waiting for others ends with `shutdown`.
    #[must_use]
    pub fn new(db: Db, mailer: Mailer, shutdown: CancellationToken) -> Self {
        let (mailer, releases) = (Arc::new(mailer), Arc::new(Releases::new(db.clone())));
        Self { db, mailer, releases, shutdown, process: Uuid::now_v7() }
    }

    /// The service's database.
    pub(crate) const fn db(&self) -> &Db {
        &self.db
    }

    /// Sends the mail that an event leads to, and waits until the mail server has it; whether it was sent now.
    ///
    /// # Errors
    /// When it can't be sent, or isn't known to be: the next try is the caller's.
    pub async fn send_now(&self, event: &Incoming, message_id: Uuid) -> Result<Outcome, Failure> {
        let wanted = self.wanted(event, message_id);
        let mut tx = self.db.begin().await?;
        let claims = self.claim(&mut tx, &[wanted]).await?;
        tx.commit().await?;
        let claim = claims.first().copied().unwrap_or(Claim::Held { until: Timestamp::now() });
        let outcome = self.deliver(event, message_id, claim).await?;
        if let Outcome::Sent(at) = outcome {
            let mut tx = self.db.begin().await?;
            store::mark_sent(&mut tx, &[(wanted.key, at)]).await?;
            tx.commit().await?;
        }
        Ok(outcome)
    }

    fn wanted(&self, event: &Incoming, message_id: Uuid) -> Wanted {
        let claimant = Uuid::new_v5(&self.process, message_id.as_bytes());
        Wanted { key: Key::of(event), message_id, claimant }
    }

    async fn claim(&self, tx: &mut Tx, wanted: &[Wanted]) -> ::store::Result<Vec<Claim>> {
        let now = Timestamp::now();
        let until = now + self.mailer.timeout().mul_f64(CLAIM_TIMEOUTS);
        store::claim(tx, wanted, now, until).await
    }

    /// Claims one mail again.
    async fn claim_again(&self, wanted: Wanted) -> Result<Claim, Failure> {
        let mut tx = self.db.begin().await?;
        let claims = self.claim(&mut tx, &[wanted]).await?;
        tx.commit().await?;
        let soon = Claim::Held { until: Timestamp::now() + PAUSES.1 };
        Ok(claims.first().copied().unwrap_or(soon))
    }

    /// Waits until the mail may be free, or a while.
    async fn wait(&self, until: Timestamp, pause: &mut Duration) -> Result<(), Failure> {
        let left = until.since(Timestamp::now()).max(PAUSES.0);
        let wait = tokio::time::sleep(left.min(*pause));
        *pause = (*pause * 2).min(PAUSES.1);
        self.shutdown.run_until_cancelled(wait).await.ok_or_else(|| {
            Failure::Transient(anyhow!("stopped while another was sending the mail"))
        })
    }

    /// Sends a mail as soon as nobody else does, unless somebody else has.
    async fn deliver(
        &self,
        event: &Incoming,
        asked_by: Uuid,
        claim: Claim,
    ) -> Result<Outcome, Failure> {
        let wanted = self.wanted(event, asked_by);
        let margin = self.mailer.timeout().mul_f64(MARGIN_TIMEOUTS);
        let (mut claim, mut pause) = (claim, PAUSES.0);
        loop {
            claim = match claim {
                Claim::Sent => return Ok(Outcome::Skipped),
                Claim::Held { until } => {
                    self.wait(until, &mut pause).await?;
                    self.claim_again(wanted).await?
                }
                Claim::Granted { message_id, until, unknown } => {
                    let slot = self.mailer.slot().await;
                    if until.since(Timestamp::now()) >= margin {
                        return self.send(event, wanted, message_id, unknown, slot).await;
                    }
                    // So many mails waited for a slow server that the claim may run out before this one is sent.
                    match self.claim_again(wanted).await? {
                        Claim::Granted { message_id, unknown, .. } => {
                            return self.send(event, wanted, message_id, unknown, slot).await;
                        }
                        other => other,
                    }
                }
            };
        }
    }

    /// Sends a mail that is claimed, and gives the claim back when that fails.
    async fn send(
        &self,
        event: &Incoming,
        claimed: Wanted,
        message_id: Uuid,
        unknown_before: u32,
        slot: Slot<'_>,
    ) -> Result<Outcome, Failure> {
        let mail = Mail::of(event);
        let sent = match self.mailer.letter(&mail, message_id) {
            Ok(letter) => tokio::select! {
                sent = self.mailer.send(slot, &letter) => sent,
                never = self.renew(claimed) => match never {},
            },
            Err(error) => Err(error),
        };
        let Err(error) = sent else { return Ok(Outcome::Sent(Timestamp::now())) };
        let unknown = matches!(error, mailer::Error::Unknown(_));
        let Wanted { key, claimant, .. } = claimed;
        self.releases.release(Released { key, claimant, unknown }).await;
        if unknown && unknown_before.saturating_add(1) >= UNKNOWN_OUTCOMES {
            return Err(Failure::Permanent(error.into()));
        }
        Err(error.into())
    }

    /// Keeps a claim. While the database is unavailable it runs on.
    async fn renew(&self, claimed: Wanted) -> Infallible {
        loop {
            tokio::time::sleep(self.mailer.timeout().div_f64(CLAIM_TIMEOUTS)).await;
            if let Err(error) = self.claim_again(claimed).await {
                let error = tracing::field::display(Chain(&error));
                tracing::warn!(error, "the claim on a mail that is being sent can't be renewed");
            }
        }
    }
}

impl Handler for Mails {
    type Message = Incoming;
    type Plan = Claim;
    type Answer = Outcome;

    async fn prepare(
        &self,
        tx: &mut Tx,
        batch: &[&Received<Incoming>],
    ) -> Result<Vec<Claim>, Failure> {
        let wanted: Vec<Wanted> = batch
            .iter()
            .map(|received| self.wanted(&received.message, received.header.id))
            .collect();
        Ok(self.claim(tx, &wanted).await?)
    }

    async fn call(&self, received: &Received<Incoming>, plan: Claim) -> Result<Outcome, Failure> {
        self.deliver(&received.message, received.header.id, plan).await
    }

    async fn apply(
        &self,
        tx: &mut Tx,
        batch: &[(&Received<Incoming>, &Outcome)],
    ) -> Result<(), Failure> {
        let sent: Vec<(Key, Timestamp)> = batch
            .iter()
            .filter_map(|(received, outcome)| match outcome {
                Outcome::Sent(at) => Some((Key::of(&received.message), *at)),
                Outcome::Skipped => None,
            })
            .collect();
        Ok(store::mark_sent(tx, &sent).await?)
    }
}

impl From<mailer::Error> for Failure {
    fn from(error: mailer::Error) -> Self {
        if error.is_permanent() {
            Self::Permanent(error.into())
        } else {
            Self::Transient(error.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use contracts::Incoming as _;

    use super::*;

    #[test]
    fn the_queue_is_bound_to_what_is_handled() {
        let subscription = contracts::subscription("email").unwrap();
        assert_eq!(subscription.routing_keys, Incoming::ROUTING_KEYS);
    }
}
