//! The message that the parts are measured with, and the queue that it goes to: as in the system, but one queue only, so
//! that one message is one delivery.

use anyhow::Context as _;
use broker::{Broker, Topology};
use contracts::{
    Cause, Coordination, Customer, Envelope, Event as _, Exchange, Line, Money, OrderPlaced,
    Subscription, Timestamp,
};
use uuid::Uuid;

/// The queue.
pub(crate) const QUEUE: &str = "bench";
/// What comes before the names of its exchange and queues.
const NAMESPACE: &str = "bench";

const SUBSCRIPTION: Subscription = Subscription::to(QUEUE, &[OrderPlaced::ROUTING_KEY]);

/// The event of a checkout like those of `shop checkout`.
pub(crate) fn placed() -> OrderPlaced {
    let price = || Money { amount: 1_250, currency: "EUR".to_owned() };
    OrderPlaced {
        order_id: Uuid::now_v7(),
        customer: Customer { email: "ada@example.com".to_owned(), name: None },
        lines: vec![Line {
            sku: "mug-blue".to_owned(),
            name: "Mug, blue".to_owned(),
            quantity: 1,
            unit_price: price(),
        }],
        total: price(),
        card_token: "tok_visa".to_owned(),
        coordination: Coordination::Choreography,
        placed_at: Timestamp::now(),
    }
}

/// The bytes of one.
///
/// # Errors
/// When it can't be written.
pub(crate) fn body() -> anyhow::Result<Vec<u8>> {
    let envelope = Envelope::new(&placed(), Uuid::now_v7(), Timestamp::now(), &Cause::default())?;
    Ok(envelope.to_bytes()?)
}

/// The broker with the one queue, which is empty.
///
/// # Errors
/// When the broker is away.
pub(crate) async fn broker(amqp: &str) -> anyhow::Result<Broker> {
    let topology =
        Topology { subscriptions: vec![SUBSCRIPTION], retry_delays: Vec::new(), history: false };
    let separator = if amqp.contains('?') { '&' } else { '?' };
    let broker = Broker::open(&format!("{amqp}{separator}namespace={NAMESPACE}"), topology).await?;
    broker.declare().await?;
    purge(amqp).await?;
    Ok(broker)
}

/// Empties the queue.
///
/// # Errors
/// When the broker is away.
pub(crate) async fn purge(amqp: &str) -> anyhow::Result<()> {
    let connection = lapin::Connection::connect(amqp, lapin::ConnectionProperties::default())
        .await
        .context("connecting to RabbitMQ")?;
    let channel = connection.create_channel().await?;
    channel.queue_purge(queue().into(), lapin::options::QueuePurgeOptions::default()).await?;
    connection.close(200, "OK".into()).await?;
    Ok(())
}

/// The exchange as RabbitMQ knows it.
pub(crate) fn exchange() -> String {
    format!("{NAMESPACE}.{}", Exchange::Events.name())
}

/// The queue as RabbitMQ knows it.
fn queue() -> String {
    format!("{NAMESPACE}.{QUEUE}")
}
