//! What exists in the broker, and its names.
//!
//! All queues are quorum queues that dead-letter at least once. Names carry what may differ between configurations (the
//! delay of a retry queue): declaring an existing queue with other arguments is refused.

use std::time::Duration;

use contracts::Subscription;
use lapin::{
    Channel, Connection, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, LongString, ShortString},
};
use tokio::time::timeout;

use super::connection::Settings;
use crate::{DELIVERY_LIMIT, Error, Result, Topology};

/// Declaring everything may take this long; creating a quorum queue costs the broker some 20 ms.
const DECLARE_TIMEOUT: Duration = Duration::from_secs(30);

/// The delivery limit of the queues that nobody handles messages from: looking at a dead letter returns it, which counts
/// as a delivery, and RabbitMQ 4 has a limit of 20 where none is given.
const NO_LIMIT: i32 = 1_000_000_000;

impl Settings {
    /// The exchange that all events go through.
    pub(super) fn exchange(&self) -> String {
        format!("{}{}", self.prefix(), crate::EVENTS)
    }

    /// The full name of a subscriber's queue.
    pub(super) fn queue(&self, queue: &str) -> String {
        format!("{}{queue}", self.prefix())
    }

    /// The full name of the queue with its dead letters.
    pub(super) fn dead_queue(&self, queue: &str) -> String {
        format!("{}{queue}.dead", self.prefix())
    }

    /// The full name of the queue in which its messages wait for another attempt.
    fn retry_queue(&self, queue: &str, delay: Duration) -> String {
        format!("{}{queue}.retry.{}", self.prefix(), delay.as_millis())
    }

    /// The full names of all queues of the topology.
    pub(super) fn queues(&self) -> Vec<String> {
        let Topology { subscriptions, retry_delays } = self.topology();
        let mut queues = Vec::new();
        for Subscription { queue, .. } in subscriptions {
            queues.extend([self.queue(queue), self.dead_queue(queue)]);
            queues.extend(retry_delays.iter().map(|delay| self.retry_queue(queue, *delay)));
        }
        queues
    }

    /// The retry queue whose delay is nearest to the asked one; none when the topology has no delays.
    pub(super) fn nearest_retry_queue(&self, queue: &str, delay: Duration) -> Option<String> {
        let delays = self.topology().retry_delays.iter();
        let nearest = delays.min_by_key(|declared| declared.abs_diff(delay))?;
        Some(self.retry_queue(queue, *nearest))
    }
}

/// A name as the protocol wants it.
pub(super) fn name(text: &str) -> Result<ShortString> {
    ShortString::try_new(text)
        .map_err(|_| Error::Refused(format!("{text:.40}… is longer than 255 bytes")))
}

/// Declares the exchange, the queues and the bindings; what exists already stays as it is.
pub(super) async fn declare(connection: &Connection, settings: &Settings) -> Result<()> {
    let declaring = async {
        let channel = connection.create_channel().await?;
        declare_all(&channel, settings).await
    };
    timeout(DECLARE_TIMEOUT, declaring).await.unwrap_or_else(|_| {
        Err(Error::Unavailable(format!("declaring took longer than {DECLARE_TIMEOUT:?}")))
    })
}

async fn declare_all(channel: &Channel, settings: &Settings) -> Result<()> {
    let exchange = name(&settings.exchange())?;
    let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
    channel
        .exchange_declare(exchange.clone(), ExchangeKind::Topic, options, FieldTable::default())
        .await?;
    for subscription in &settings.topology().subscriptions {
        let queue = settings.queue(subscription.queue);
        let dead = settings.dead_queue(subscription.queue);
        // What a queue dead-letters to exists before it, and a binding comes last.
        declare_queue(channel, &dead, NO_LIMIT, None, None).await?;
        declare_queue(channel, &queue, DELIVERY_LIMIT.cast_signed(), Some(&dead), None).await?;
        for delay in &settings.topology().retry_delays {
            let retry = settings.retry_queue(subscription.queue, *delay);
            declare_queue(channel, &retry, NO_LIMIT, Some(&queue), Some(*delay)).await?;
        }
        for routing_key in subscription.routing_keys {
            channel
                .queue_bind(
                    name(&queue)?,
                    exchange.clone(),
                    name(routing_key)?,
                    QueueBindOptions::default(),
                    FieldTable::default(),
                )
                .await?;
        }
    }
    Ok(())
}

async fn declare_queue(
    channel: &Channel,
    queue: &str,
    delivery_limit: i32,
    dead_letters_to: Option<&str>,
    message_ttl: Option<Duration>,
) -> Result<()> {
    let text = |text: &str| AMQPValue::LongString(LongString::from(text));
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(delivery_limit));
    if let Some(target) = dead_letters_to {
        // The default exchange routes by the queue's name. At least once needs reject-publish: a full queue then refuses what
        // is published, instead of dropping what it has.
        arguments.insert("x-dead-letter-exchange".into(), text(""));
        arguments.insert("x-dead-letter-routing-key".into(), text(target));
        arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        arguments.insert("x-overflow".into(), text("reject-publish"));
    }
    if let Some(ttl) = message_ttl {
        let millis = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(millis));
    }
    channel.queue_declare(name(queue)?, QueueDeclareOptions::durable(), arguments).await?;
    Ok(())
}
