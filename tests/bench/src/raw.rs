//! lapin alone: what publishing with confirms to a quorum queue costs without anything around it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use anyhow::bail;
use contracts::{Event as _, OrderPlaced};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};

use crate::{message, rounds::Rounds};

/// `bench raw`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    rounds: Rounds,

    /// How many messages may wait for their confirms
    #[arg(long, value_delimiter = ',', default_value = "100,500", value_name = "N")]
    in_flight: Vec<usize>,
}

/// Survives the power going out.
const PERSISTENT: u8 = 2;

/// Publishes, and prints how fast it went.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let amqp = &args.rounds.amqp;
    message::broker(amqp).await?.close().await;
    let connection = Connection::connect(amqp, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let body = message::body()?;
    for in_flight in args.in_flight {
        let mut measurements = args.rounds.of(&format!("raw {in_flight}"));
        publish(&channel, &body, args.rounds.messages / 10, in_flight).await?;
        for _ in 0..args.rounds.rounds {
            message::purge(amqp).await?;
            let messages = args.rounds.messages;
            measurements.add(messages, publish(&channel, &body, messages, in_flight)).await?;
        }
        measurements.rate().print()?;
    }
    message::purge(amqp).await?;
    connection.close(200, "OK".into()).await?;
    Ok(())
}

/// Publishes so many messages, never waiting for more than `in_flight` confirms; how long it took.
async fn publish(
    channel: &Channel,
    body: &[u8],
    messages: usize,
    in_flight: usize,
) -> anyhow::Result<Duration> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
    let exchange = message::exchange();
    let began = Instant::now();
    let mut waiting = VecDeque::with_capacity(in_flight);
    for _ in 0..messages {
        if waiting.len() >= in_flight
            && let Some(confirm) = waiting.pop_front()
        {
            confirmed(confirm).await?;
        }
        let (exchange, key) = (exchange.as_str().into(), OrderPlaced::ROUTING_KEY.into());
        let confirm =
            channel.basic_publish(exchange, key, options, body, properties.clone()).await?;
        waiting.push_back(confirm);
    }
    for confirm in waiting {
        confirmed(confirm).await?;
    }
    Ok(began.elapsed())
}

/// Checks that a message is in the queue.
async fn confirmed(
    confirm: impl Future<Output = lapin::Result<Confirmation>>,
) -> anyhow::Result<()> {
    match confirm.await? {
        // One that carries a message came back: no queue took it.
        Confirmation::Ack(None) => Ok(()),
        other => bail!("a message was not taken: {other:?}"),
    }
}
