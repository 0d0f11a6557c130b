//! Dead letters: fetched without an ack, so that closing the channel puts them back.

use std::time::Duration;

use lapin::{
    Channel,
    message::BasicGetMessage,
    options::{BasicAckOptions, BasicGetOptions, BasicNackOptions, QueueDeclareOptions},
    types::{FieldTable, ShortString},
};
use tokio::time::sleep;

use super::{RabbitMq, declare::name, message, publish::Outgoing};
use crate::{DeadLetter, Error, Outcome, Result, Selection, message_id};

/// Fetching many thousands takes a while.
const BROWSE_TIMEOUT: Duration = Duration::from_secs(120);
/// How many are fetched before something is done with them, when all shall be replayed or purged: there may be more than
/// can be fetched in that time.
const CHUNK: usize = 1_000;

/// A dead letter that is out of its queue for as long as its channel is open.
struct Held {
    letter: DeadLetter,
    message: BasicGetMessage,
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

    /// Runs something that takes up to so many dead letters: once to find some by their ids; else again and again until as
    /// many were taken as there are at this moment.
    async fn by_chunks(
        &self,
        queue: &str,
        selection: &Selection,
        run: impl AsyncFn(usize) -> Result<Vec<DeadLetter>>,
    ) -> Result<Vec<DeadLetter>> {
        if matches!(selection, Selection::Ids(_)) {
            return run(usize::MAX).await;
        }
        let mut left = self.count(&self.settings.names().dead(queue)).await? as usize;
        let mut all = Vec::new();
        while left > 0 {
            match run(left.min(CHUNK)).await {
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
        mut held: Vec<Held>,
    ) -> Result<Found> {
        let target = self.settings.names().queue(queue);
        held.retain(|held| selection.contains(&held.letter.id));
        let batch = held.iter().map(|Held { letter, message }| Outgoing {
            routing_key: &target,
            body: &letter.body,
            properties: message::with_history(
                message.delivery.properties.clone(),
                &letter.routing_key,
                &letter.history.clone().replayed(),
            ),
        });
        let batch: Vec<_> = batch.collect();
        let failures = self.settings.names().failures(queue);
        let outcomes = self.publishing.publish(&failures, &batch).await;
        let mut replayed = Vec::new();
        let mut failure = None;
        for (Held { letter, message }, outcome) in held.into_iter().zip(outcomes) {
            if outcome == Outcome::Confirmed {
                message.ack(BasicAckOptions::default()).await?;
                replayed.push(letter);
            } else {
                failure = Some(outcome);
            }
        }
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

/// Takes those that were selected out of their queue.
async fn purge_held(selection: &Selection, held: Vec<Held>) -> Result<Found> {
    let mut purged = Vec::new();
    for Held { letter, message } in held {
        if selection.contains(&letter.id) {
            message.ack(BasicAckOptions::default()).await?;
            purged.push(letter);
        }
    }
    let gone = purged.len();
    Ok((purged, gone))
}

/// Fetches what the queue holds at this moment, up to a limit.
async fn hold(
    channel: &Channel,
    queue: &str,
    dead: &ShortString,
    limit: usize,
) -> Result<Vec<Held>> {
    let mut held = Vec::new();
    for _ in 0..limit.min(count(channel, dead).await? as usize) {
        let Some(mut message) = channel.basic_get(dead.clone(), BasicGetOptions::default()).await?
        else {
            break;
        };
        let delivery = &mut message.delivery;
        let (routing_key, history) =
            message::origin_of_dead(&delivery.properties, &delivery.routing_key);
        let body = std::mem::take(&mut delivery.data);
        let queue = queue.to_owned();
        let letter = DeadLetter { id: message_id(&body), queue, routing_key, body, history };
        held.push(Held { letter, message });
    }
    Ok(held)
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
