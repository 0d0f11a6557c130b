//! Making what a topology needs; or, where that was made beforehand, checking that it is there.

use std::time::Duration;

use lapin::{
    Channel, Connection, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, LongString, ShortString},
};
use tokio::time::timeout;

use super::{
    connection::{ANSWER_TIMEOUT, no_answer},
    refusal,
    topology::{Argument, Binding, Exchange, Kind, Plan, Queue},
};
use crate::{Error, Result};

/// Declaring everything may take this long; creating a quorum queue costs the broker some 20 ms.
const DECLARE_TIMEOUT: Duration = Duration::from_secs(30);

/// A name as the protocol wants it.
pub(super) fn name(text: &str) -> Result<ShortString> {
    ShortString::try_new(text)
        .map_err(|_| Error::Refused(format!("{text:.40}… is longer than 255 bytes")))
}

/// Declares a plan; what exists already stays as it is.
pub(super) async fn declare(connection: &Connection, plan: &Plan) -> Result<()> {
    let declaring = async {
        let channel = connection.create_channel().await?;
        for exchange in &plan.exchanges {
            declare_exchange(&channel, exchange).await?;
        }
        for queue in &plan.queues {
            let (name, options) = (name(&queue.name)?, QueueDeclareOptions::durable());
            // A refusal closes the channel, and that of the history must cost only the history.
            let channel =
                if queue.is_stream() { &connection.create_channel().await? } else { &channel };
            match channel.queue_declare(name, options, arguments(queue)).await {
                Ok(_) => bind_queue(channel, queue, &plan.bindings).await?,
                // RabbitMQ can lose it: "The history is down" in docs/operations.md. With Mnesia all else works.
                Err(error) if queue.is_stream() && refusal(&error) == Some(404) => {
                    tracing::error!(%error, "the history is not there, so that no event is kept");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    };
    timeout(DECLARE_TIMEOUT, declaring).await.unwrap_or_else(|_| {
        Err(Error::Unavailable(format!("declaring took longer than {DECLARE_TIMEOUT:?}")))
    })
}

/// Checks that the exchanges and queues of a plan exist.
///
/// # Errors
/// Names those that don't, and says what to do.
pub(super) async fn check(connection: &Connection, plan: &Plan) -> Result<()> {
    let mut missing = Vec::new();
    let checking = async {
        for exchange in &plan.exchanges {
            let (name, kind) = (name(&exchange.name)?, ExchangeKind::from(exchange.kind));
            let options = ExchangeDeclareOptions { passive: true, ..Default::default() };
            let look = async |channel: &Channel| {
                channel.exchange_declare(name, kind, options, FieldTable::default()).await
            };
            if !exists(connection, look).await? {
                missing.push(format!("the exchange {}", exchange.name));
            }
        }
        for queue in &plan.queues {
            let (name, options) = (name(&queue.name)?, QueueDeclareOptions::durable().passive());
            let look = async |channel: &Channel| {
                channel.queue_declare(name, options, FieldTable::default()).await.map(drop)
            };
            if !exists(connection, look).await? {
                missing.push(format!("the queue {}", queue.name));
            }
        }
        Ok(())
    };
    timeout(ANSWER_TIMEOUT, checking).await.unwrap_or_else(|_| Err(no_answer(ANSWER_TIMEOUT)))?;
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "{} doesn't exist: load deploy/rabbitmq/definitions.json (shop definitions makes one for other retry delays), or \
         let the program declare it by leaving declare=false out of the broker's URL",
        missing.join(", ")
    )))
}

/// Whether something exists. A channel of its own, since a no closes it.
async fn exists(
    connection: &Connection,
    look: impl AsyncFnOnce(&Channel) -> Result<(), lapin::Error>,
) -> Result<bool> {
    let channel = connection.create_channel().await?;
    match look(&channel).await {
        Ok(()) => channel.close(200, "OK".into()).await?,
        Err(error) => match refusal(&error) {
            Some(404) => return Ok(false),
            // From RabbitMQ 4.2.6 on, only those see a thing who may do something with it. Whoever uses it will be told.
            Some(403) => {}
            _ => return Err(error.into()),
        },
    }
    Ok(true)
}

impl From<Kind> for ExchangeKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Topic => Self::Topic,
            Kind::Direct => Self::Direct,
        }
    }
}

async fn declare_exchange(channel: &Channel, exchange: &Exchange) -> Result<()> {
    let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
    let (name, kind) = (name(&exchange.name)?, exchange.kind.into());
    channel.exchange_declare(name, kind, options, FieldTable::default()).await?;
    Ok(())
}

fn arguments(queue: &Queue) -> FieldTable {
    let mut arguments = FieldTable::default();
    for (key, argument) in &queue.arguments {
        let value = match argument {
            Argument::Text(text) => AMQPValue::LongString(LongString::from(text.as_str())),
            Argument::Number(number) => AMQPValue::LongLongInt(*number),
        };
        arguments.insert((*key).into(), value);
    }
    arguments
}

/// Makes those of the bindings that lead to a queue.
async fn bind_queue(channel: &Channel, queue: &Queue, bindings: &[Binding]) -> Result<()> {
    for binding in bindings.iter().filter(|binding| binding.queue == queue.name) {
        let (queue, exchange) = (name(&binding.queue)?, name(&binding.exchange)?);
        let (key, options) = (name(&binding.routing_key)?, QueueBindOptions::default());
        channel.queue_bind(queue, exchange, key, options, FieldTable::default()).await?;
    }
    Ok(())
}
