//! Reading the history into a queue.
//!
//! The end of a stream can't be asked for. So a mark is written into it, through the queue's own exchange; what comes after
//! the mark is in the queue already, which was bound before.

use std::{collections::HashSet, time::Duration};

use contracts::{Exchange, Header, Timestamp};
use futures_util::StreamExt as _;
use lapin::{
    BasicProperties, Channel,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::time::timeout;
use uuid::Uuid;

use super::{RabbitMq, connection::no_answer, declare::name, message, publish::Outgoing};
use crate::{Error, History, Outcome, Result};

/// Reading days of events may take this long.
const RECALL_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// The next message of the history comes sooner than this: at least the mark is there.
const NEXT_TIMEOUT: Duration = Duration::from_secs(30);
/// Messages that are read, and published on, together.
const BATCH: u16 = 500;

impl RabbitMq {
    pub(crate) async fn recall(&self, queue: &str, since: Timestamp) -> Result<u64> {
        let subscription = self.settings.subscription(queue).filter(|found| found.history);
        let subscription = subscription.ok_or_else(|| Error::no_right_to_history(queue))?;
        self.declare().await?;
        let keys: HashSet<&str> = subscription.routing_keys.iter().copied().collect();
        self.control
            .with_channel(RECALL_TIMEOUT, async |channel| {
                self.read_history(channel, queue, &keys, since).await
            })
            .await
    }

    /// Writes a mark into the history.
    async fn mark(&self, queue: &str) -> Result<Uuid> {
        let mark = Uuid::now_v7();
        let outgoing = Outgoing {
            routing_key: &self.settings.names().mark(queue),
            body: mark.as_bytes(),
            properties: BasicProperties::default(),
        };
        self.publish_to(queue, &[outgoing]).await?;
        Ok(mark)
    }

    async fn read_history(
        &self,
        channel: &Channel,
        queue: &str,
        keys: &HashSet<&str>,
        since: Timestamp,
    ) -> Result<u64> {
        let names = self.settings.names();
        let (events, failures) = (names.exchange(Exchange::Events), names.failures(queue));
        let seconds = u64::try_from(since.as_micros() / 1_000_000).unwrap_or(0);
        let mut arguments = FieldTable::default();
        arguments.insert("x-stream-offset".into(), AMQPValue::Timestamp(seconds));
        channel.basic_qos(BATCH, BasicQosOptions::default()).await?;
        let (stream, options) = (name(&names.history())?, BasicConsumeOptions::default());
        let mut reading = channel.basic_consume(stream, "".into(), options, arguments).await?;
        // Only now: whatever the clocks say, it comes after the place where reading begins.
        let mark = self.mark(queue).await?;
        let (mut count, mut batch) = (0, Vec::new());
        let mut unanswered = 0;
        loop {
            let next = timeout(NEXT_TIMEOUT, reading.next()).await;
            let delivery = next.map_err(|_| no_answer(NEXT_TIMEOUT))?;
            let delivery =
                delivery.ok_or_else(|| Error::Unavailable("the history is gone".to_owned()))??;
            let is_mark =
                delivery.exchange.as_str() == failures && delivery.data == mark.as_bytes();
            unanswered += 1;
            // The offset means a whole chunk, which may begin earlier.
            if delivery.exchange.as_str() == events
                && keys.contains(delivery.routing_key.as_str())
                && Header::of(&delivery.data).is_some_and(|header| header.time >= since)
            {
                batch.push(Delivered::of(&delivery));
            }
            if is_mark || unanswered == BATCH {
                count += self.publish_again(queue, &std::mem::take(&mut batch)).await?;
                delivery.ack(BasicAckOptions { multiple: true }).await?;
                unanswered = 0;
            }
            if is_mark {
                return Ok(count);
            }
        }
    }

    /// Publishes events of the history to one queue.
    async fn publish_again(&self, queue: &str, events: &[Delivered]) -> Result<u64> {
        let target = self.settings.names().queue(queue);
        let outgoing = events.iter().map(|event| Outgoing {
            routing_key: &target,
            body: &event.body,
            properties: message::with_history(
                message::properties_of(&event.body),
                &event.routing_key,
                &History::default(),
            ),
        });
        self.publish_to(queue, &outgoing.collect::<Vec<_>>()).await?;
        Ok(events.len() as u64)
    }

    /// Publishes through a queue's own exchange. All must be confirmed.
    async fn publish_to(&self, queue: &str, batch: &[Outgoing<'_>]) -> Result<()> {
        let outcomes = self.publishing.publish(&self.settings.names().failures(queue), batch).await;
        match outcomes.into_iter().find(|outcome| *outcome != Outcome::Confirmed) {
            None => Ok(()),
            Some(Outcome::Refused(reason)) => Err(Error::Refused(reason)),
            Some(failure) => Err(Error::Unavailable(format!("not published: {failure:?}"))),
        }
    }
}

/// What is kept of a message of the history until it is published on.
struct Delivered {
    routing_key: String,
    body: Vec<u8>,
}

impl Delivered {
    fn of(delivery: &Delivery) -> Self {
        let routing_key = delivery.routing_key.as_str().to_owned();
        Self { routing_key, body: delivery.data.clone() }
    }
}
