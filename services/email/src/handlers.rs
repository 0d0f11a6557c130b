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
//! the same Message-ID, which is made from the message that first asked for it. After [`UNKNOWN_OUTCOMES`] unknown outcomes it is
//! dead-lettered, and only an operator's replay sends it again. A process that ends in the middle counts for none of them.

use std::{convert::Infallible, sync::Arc, time::Duration};

use ::store::{Chain, Db, Tx};
use anyhow::anyhow;
use contracts::Timestamp;
use runtime::{Failure, Handler, Received};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};
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
/// A mail whose outcome was unknown this often is dead-lettered.
const UNKNOWN_OUTCOMES: u32 = 2;
/// How long after a claim was made it is renewed, in timeouts of a mail.
const RENEWAL_TIMEOUTS: f64 = 0.5;
/// The pause after a renewal that failed.
const RENEWAL_PAUSE: Duration = Duration::from_millis(500);
/// How long a mail waits for a connection. With ten minutes for the acceptance it is less than the half hour after which RabbitMQ takes
/// the message back.
const SLOT_PATIENCE: Duration = Duration::from_secs(15 * 60);
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
        // The same request again must wait for this one, so each has a claimant of its own.
        let wanted = Wanted { key: Key::of(event), message_id, claimant: Uuid::now_v7() };
        let claim = self.claim_one(wanted).await?;
        let Some(turn) = self.turn(wanted, claim, false).await? else {
            return Ok(Outcome::Skipped);
        };
        // A caller that disconnects must not interrupt the transfer, nor that its outcome is written down.
        let (mails, event) = (self.clone(), event.clone());
        let sending = async move {
            let outcome = mails.send(&event, wanted, turn).await?;
            if let Outcome::Sent(at) = outcome {
                let mut tx = mails.db.begin().await?;
                store::mark_sent(&mut tx, &[(wanted.key, at)]).await?;
                tx.commit().await?;
            }
            Ok(outcome)
        };
        let sent = tokio::spawn(sending.instrument(Span::current())).await;
        sent.unwrap_or_else(|error| Err(Failure::Transient(error.into())))
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

    /// Claims one mail, or claims it again.
    async fn claim_one(&self, wanted: Wanted) -> Result<Claim, Failure> {
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

    /// Waits until it is this claimant's turn to send the mail, on a connection of its own; none when another has sent it. A mail that the
    /// server may have twice already is sent again only by an operator's replay.
    async fn turn(
        &self,
        wanted: Wanted,
        mut claim: Claim,
        replayed: bool,
    ) -> Result<Option<Turn>, Failure> {
        let margin = self.mailer.timeout().mul_f64(MARGIN_TIMEOUTS);
        let (mut pause, mut slot) = (PAUSES.0, None);
        loop {
            let (message_id, until, unknown) = match claim {
                Claim::Sent => return Ok(None),
                Claim::Held { until } => {
                    slot = None;
                    self.wait(until, &mut pause).await?;
                    claim = self.claim_one(wanted).await?;
                    continue;
                }
                Claim::Granted { message_id, until, unknown } => (message_id, until, unknown),
            };
            if unknown >= UNKNOWN_OUTCOMES && !replayed {
                self.give_back(wanted, false).await;
                let reason = format!("it was handed over {unknown} times");
                return Err(Failure::Permanent(mailer::Error::Unknown(reason).into()));
            }
            let free = match slot.take() {
                Some(free) => free,
                None => self.free_slot(wanted).await?,
            };
            if until.since(Timestamp::now()) >= margin {
                return Ok(Some(Turn { message_id, unknown, slot: free }));
            }
            // The claim may run out before the mail is handed over.
            slot = Some(free);
            claim = self.claim_one(wanted).await?;
        }
    }

    /// Waits for a connection. When none gets free, the claim is given back.
    async fn free_slot(&self, claimed: Wanted) -> Result<Slot, Failure> {
        if let Ok(free) = timeout(SLOT_PATIENCE, self.mailer.slot()).await {
            return Ok(free);
        }
        self.give_back(claimed, false).await;
        let reason = format!("no connection was free within {SLOT_PATIENCE:?}");
        Err(mailer::Error::Unavailable(reason).into())
    }

    /// Sends a mail whose turn it is, and gives the claim back when that fails.
    async fn send(
        &self,
        event: &Incoming,
        claimed: Wanted,
        turn: Turn,
    ) -> Result<Outcome, Failure> {
        let mail = Mail::of(event);
        let sent = match self.mailer.letter(&mail, turn.message_id) {
            Ok(letter) => tokio::select! {
                sent = self.mailer.send(turn.slot, &letter) => sent,
                never = self.renew(claimed) => match never {},
            },
            Err(error) => Err(error),
        };
        let Err(error) = sent else { return Ok(Outcome::Sent(Timestamp::now())) };
        let unknown = matches!(error, mailer::Error::Unknown(_));
        self.give_back(claimed, unknown).await;
        if unknown && turn.unknown.saturating_add(1) >= UNKNOWN_OUTCOMES {
            return Err(Failure::Permanent(error.into()));
        }
        Err(error.into())
    }

    async fn give_back(&self, claimed: Wanted, unknown: bool) {
        let Wanted { key, claimant, .. } = claimed;
        self.releases.release(Released { key, claimant, unknown }).await;
    }

    /// Keeps a claim. If the database stays unavailable, it expires.
    async fn renew(&self, claimed: Wanted) -> Infallible {
        let pause = self.mailer.timeout().mul_f64(RENEWAL_TIMEOUTS);
        let mut next = pause;
        loop {
            tokio::time::sleep(next).await;
            next = match self.claim_one(claimed).await {
                Ok(Claim::Granted { .. }) => pause,
                Ok(Claim::Held { .. } | Claim::Sent) => {
                    let order_id = claimed.key.order_id;
                    tracing::warn!(%order_id, "the claim on a mail that is being sent is lost");
                    pause
                }
                Err(error) => {
                    let error = tracing::field::display(Chain(&error));
                    tracing::warn!(
                        error,
                        "the claim on a mail that is being sent can't be renewed"
                    );
                    RENEWAL_PAUSE
                }
            };
        }
    }
}

/// The permission to send a mail now.
struct Turn {
    message_id: Uuid,
    /// How often its outcome was unknown before.
    unknown: u32,
    slot: Slot,
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
        let wanted = self.wanted(&received.message, received.header.id);
        match self.turn(wanted, plan, received.replays > 0).await? {
            None => Ok(Outcome::Skipped),
            Some(turn) => self.send(&received.message, wanted, turn).await,
        }
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
