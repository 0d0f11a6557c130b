//! Dead letters: delivered without an ack, so that closing the channel puts them back.
//!
//! A consumer gets them, not `basic.get`: that is a consumer of its own for each message, to a quorum queue, and many of its acks
//! are many commands, of which those beyond some thirty are forgotten when the channel is closed soon after.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use lapin::{
    Channel,
    message::Delivery,
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions,
        BasicQosOptions, QueueDeclareOptions,
    },
    types::{FieldTable, ShortString},
};
use tokio::time::{sleep, timeout};

use super::{RabbitMq, declare::name, message, publish::Outgoing};
use crate::{DeadLetter, Error, Outcome, Result, Selection, message_id};

/// Fetching many thousands takes a while.
const BROWSE_TIMEOUT: Duration = Duration::from_secs(120);
/// How many are fetched before something is done with them, when all shall be replayed or purged: there may be more than
/// can be fetched in that time.
const CHUNK: usize = 1_000;

/// Acks in a row at most, unless one stands for all: see above.
const ACKS: usize = 30;
/// When nothing has come for this long, it is looked at whether there is more.
const QUIET: Duration = Duration::from_secs(2);

/// A dead letter that is out of its queue for as long as its channel is open.
struct Held {
    letter: DeadLetter,
    delivery: Delivery,
}

/// What was found of the dead letters, and how many of them are no longer in their queue.
type Found = (Vec<DeadLetter>, usize);

impl RabbitMq {
    pub(crate) async fn dead_letters(&self, queue: &str) -> Result<Vec<DeadLetter>> {
        self.browse(queue, usize::MAX, async |held| {
            Ok((held.into_iter().map(|held| held.letter).collect(), 0))
        })
        .await
    }

    pub(crate) async fn purge(
        &self,
        queue: &str,
        selection: &Selection,
    ) -> Result<Vec<DeadLetter>> {
        self.by_chunks(queue, selection, async |limit| {
            self.browse(queue, limit, async |held| purge_held(selection, held).await).await
        })
        .await
    }

    pub(crate) async fn replay(
        &self,
        queue: &str,
        selection: &Selection,
    ) -> Result<Vec<DeadLetter>> {
        self.by_chunks(queue, selection, async |limit| {
            self.browse(queue, limit, async |held| self.replay_held(queue, selection, held).await)
                .await
        })
        .await
    }

    /// Runs something that takes up to so many dead letters, again and again until as many were taken as were asked for by
    /// their ids, or as there are at this moment.
    async fn by_chunks(
        &self,
        queue: &str,
        selection: &Selection,
        run: impl AsyncFn(usize) -> Result<Vec<DeadLetter>>,
    ) -> Result<Vec<DeadLetter>> {
        let mut left = match selection {
            Selection::Ids(ids) => ids.len(),
            Selection::All => self.count(&self.settings.names().dead(queue)).await? as usize,
        };
        let mut all = Vec::new();
        while left > 0 {
            let limit = match selection {
                Selection::Ids(_) => usize::MAX,
                Selection::All => left.min(CHUNK),
            };
            match run(limit).await {
                Ok(letters) if letters.is_empty() => break,
                Ok(letters) => {
                    left = left.saturating_sub(letters.len());
                    all.extend(letters);
                }
                Err(error) if all.is_empty() => return Err(error),
                // Some are done: that is the answer, and the others are still there to be seen.
                Err(error) => {
                    tracing::warn!(queue, %error, "not all dead letters were taken");
                    break;
                }
            }
        }
        Ok(all)
    }

    /// Publishes what was selected to the queue in which it failed, and acks what is confirmed there.
    async fn replay_held(
        &self,
        queue: &str,
        selection: &Selection,
        held: Vec<Held>,
    ) -> Result<Found> {
        let target = self.settings.names().queue(queue);
        let fetched = held.len();
        let held = selected(selection, held);
        let batch = held.iter().map(|Held { letter, delivery }| Outgoing {
            routing_key: &target,
            body: &letter.body,
            properties: message::with_history(
                delivery.properties.clone(),
                &letter.routing_key,
                &letter.history.clone().replayed(),
            ),
        });
        let batch: Vec<_> = batch.collect();
        let failures = self.settings.names().failures(queue);
        let outcomes = self.publishing.publish(&failures, &batch).await;
        let (mut replayed, mut failure) = (Vec::new(), None);
        for (held, outcome) in held.into_iter().zip(outcomes) {
            if outcome == Outcome::Confirmed {
                replayed.push(held);
            } else {
                failure = Some(outcome);
            }
        }
        let replayed = take_out(replayed, fetched).await?;
        match failure {
            // Some were replayed: that is the answer, and the others are still there to be seen.
            Some(Outcome::Refused(reason)) if replayed.is_empty() => Err(Error::Refused(reason)),
            Some(failure) if replayed.is_empty() => {
                Err(Error::Unavailable(format!("replaying failed: {failure:?}")))
            }
            _ => {
                let gone = replayed.len();
                Ok((replayed, gone))
            }
        }
    }

    /// Fetches dead letters of a queue, the oldest first, runs something on them, and puts back what it didn't ack.
    async fn browse(
        &self,
        queue: &str,
        limit: usize,
        run: impl AsyncFnOnce(Vec<Held>) -> Result<Found>,
    ) -> Result<Vec<DeadLetter>> {
        let _alone = self.browsing.lock().await;
        let dead = name(&self.settings.names().dead(queue))?;
        self.control
            .with_channel(BROWSE_TIMEOUT, async |channel| {
                let held = hold(channel, queue, &dead, limit).await?;
                let before = held.len();
                let (letters, gone) = run(held).await?;
                put_back(channel, &dead, before - gone).await?;
                Ok(letters)
            })
            .await
    }
}

/// Those that were selected; not so many at a time that their acks could get lost.
fn selected(selection: &Selection, mut held: Vec<Held>) -> Vec<Held> {
    let fetched = held.len();
    held.retain(|held| selection.contains(&held.letter.id));
    if held.len() < fetched {
        held.truncate(ACKS);
    }
    held
}

/// Throws those that were selected away.
async fn purge_held(selection: &Selection, held: Vec<Held>) -> Result<Found> {
    let fetched = held.len();
    let purged = take_out(selected(selection, held), fetched).await?;
    let gone = purged.len();
    Ok((purged, gone))
}

/// Takes dead letters, of so many that were fetched, out of their queue for good.
async fn take_out(held: Vec<Held>, fetched: usize) -> Result<Vec<DeadLetter>> {
    let all = held.len() == fetched;
    let mut letters = Vec::with_capacity(held.len());
    for (n, Held { letter, delivery }) in held.into_iter().enumerate() {
        if !all || n + 1 == fetched {
            delivery.ack(BasicAckOptions { multiple: all }).await?;
        }
        letters.push(letter);
    }
    Ok(letters)
}

/// Fetches what the queue holds at this moment, up to a limit.
async fn hold(
    channel: &Channel,
    queue: &str,
    dead: &ShortString,
    limit: usize,
) -> Result<Vec<Held>> {
    let wanted = limit.min(count(channel, dead).await? as usize);
    let mut held = Vec::with_capacity(wanted);
    while held.len() < wanted {
        // A consumer can't be given more, and "without a limit" means 2,000 to a quorum queue: those beyond are for a further one.
        let prefetch = u16::try_from(wanted - held.len()).unwrap_or(u16::MAX);
        let before = held.len();
        hold_some(channel, queue, dead, prefetch, &mut held).await?;
        // Another operator may have fetched the rest.
        if held.len() - before < prefetch.into() {
            break;
        }
    }
    Ok(held)
}

/// Fetches up to `prefetch` dead letters with a consumer of their own.
async fn hold_some(
    channel: &Channel,
    queue: &str,
    dead: &ShortString,
    prefetch: u16,
    held: &mut Vec<Held>,
) -> Result<()> {
    channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let mut consumer =
        channel.basic_consume(dead.clone(), "".into(), options, FieldTable::default()).await?;
    for _ in 0..prefetch {
        let next = loop {
            match timeout(QUIET, consumer.next()).await {
                Ok(next) => break next,
                // It is on its way, from a busy broker.
                Err(_) if count(channel, dead).await? > 0 => {}
                // What was on its way has had its time.
                Err(_) => break consumer.next().now_or_never().flatten(),
            }
        };
        let Some(delivery) = next else { break };
        let mut delivery = delivery?;
        let (routing_key, history) =
            message::origin_of_dead(&delivery.properties, &delivery.routing_key);
        let body = std::mem::take(&mut delivery.data);
        let queue = queue.to_owned();
        let letter = DeadLetter { id: message_id(&body), queue, routing_key, body, history };
        held.push(Held { letter, delivery });
    }
    // Or what is acked would be followed by more.
    channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await?;
    Ok(())
}

/// Puts back what was fetched and not acked, and waits until the queue shows it: whoever looks next shall see all.
async fn put_back(channel: &Channel, dead: &ShortString, kept: usize) -> Result<()> {
    if kept == 0 {
        return Ok(());
    }
    // Tag 0 means all that are left.
    let options = BasicNackOptions { multiple: true, requeue: true };
    #[expect(clippy::disallowed_methods, reason = "nobody consumes dead letters")]
    channel.basic_nack(0, options).await?;
    // Somebody else may fetch them at once: then the wait ends by itself.
    for _ in 0..100 {
        if count(channel, dead).await? as usize >= kept {
            break;
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// How many messages are ready in a queue, by its full name. The broker closes the channel when there is no such queue.
pub(super) async fn count(channel: &Channel, queue: &ShortString) -> Result<u32> {
    let options = QueueDeclareOptions::durable().passive();
    let queue = channel.queue_declare(queue.clone(), options, FieldTable::default()).await?;
    Ok(queue.message_count())
}
