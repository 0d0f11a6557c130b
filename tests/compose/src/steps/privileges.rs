//! What each service may not do, refused by RabbitMQ and by PostgreSQL.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use contracts::SUBSCRIPTIONS;
use lapin::{
    BasicProperties, Channel, Connection, ExchangeKind,
    options::{
        BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions,
        ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions,
        QueueDeleteOptions,
    },
    types::FieldTable,
};
use sqlx::{Connection as _, PgConnection};

use crate::{
    rabbit::connect,
    world::{SERVICES, World},
};

/// Where all events go.
const EVENTS: &str = "shop.events";
/// RabbitMQ's reply code for what a user has no right to.
const ACCESS_REFUSED: u16 = 403;
/// PostgreSQL's code for the same.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// Tries everything that must be refused.
pub(crate) async fn refusals(world: &mut World) -> Result<()> {
    let mut refused = 0;
    for service in SERVICES {
        let connection = connect(world, service, world.password_of(service)?).await?;
        refused += broker(&connection, service).await.with_context(|| format!("as {service}"))?;
        connection.close(200, "OK".into()).await?;
    }
    let guest = connect(world, "guest", "guest").await;
    ensure!(guest.is_err(), "guest is let in");
    println!("  RabbitMQ refused {refused} things, and guest");
    let mut refused = 0;
    for user in SERVICES {
        for database in SERVICES.into_iter().chain(["postgres", "template1"]) {
            refused += usize::from(!opens(world, user, database).await?);
        }
    }
    println!("  PostgreSQL refused {refused} databases");
    ensure!(refused == 4 * 5, "each role can open its own database, and no other");
    Ok(())
}

/// Whether a role can open a database. It must be able to open its own: else a refusal would say nothing.
async fn opens(world: &World, user: &str, database: &str) -> Result<bool> {
    let url = world.database_url(user, database).await?;
    let opened = match PgConnection::connect(&url).await {
        Ok(connection) => {
            connection.close().await?;
            true
        }
        Err(sqlx::Error::Database(error))
            if error.code().as_deref() == Some(INSUFFICIENT_PRIVILEGE) =>
        {
            false
        }
        Err(error) => bail!("{user} and the database {database}: {error}"),
    };
    ensure!(opened == (user == database), "{user} and the database {database}: {opened}");
    Ok(opened)
}

/// Tries what a service may not do with the broker; how much of that there is.
async fn broker(connection: &Connection, service: &str) -> Result<usize> {
    let mut refused = 0;
    for routing_key in foreign_keys(service) {
        let what = format!("publishing {routing_key}");
        denied(connection, &what, async |channel| publish(&channel, EVENTS, routing_key).await)
            .await?;
        refused += 1;
    }
    if service != "order" {
        denied(connection, "sending a command", async |channel| {
            publish(&channel, "shop.commands", "payment").await
        })
        .await?;
        refused += 1;
    }
    reading(connection, "shop.history").await?;
    refused += 2;
    for queue in SERVICES {
        let what = format!("publishing to the queue {queue} itself");
        denied(connection, &what, async |channel| publish(&channel, "", queue).await).await?;
        refused += 1;
        for queue in [queue.to_owned(), format!("{queue}.dead")] {
            if queue.split('.').next() != Some(service) {
                reading(connection, &queue).await?;
                refused += 2;
            }
        }
        configuring(connection, queue).await?;
        refused += 2;
    }
    exchanges(connection).await?;
    Ok(refused + 3)
}

/// Neither by a consumer nor by asking once.
async fn reading(connection: &Connection, queue: &str) -> Result<()> {
    denied(connection, &format!("consuming {queue}"), async |channel| {
        let options = BasicConsumeOptions::default();
        let tag = "intruder".into();
        channel.basic_consume(queue.into(), tag, options, FieldTable::default()).await.map(drop)
    })
    .await?;
    denied(connection, &format!("getting from {queue}"), async |channel| {
        channel.basic_get(queue.into(), BasicGetOptions::default()).await.map(drop)
    })
    .await
}

/// Neither deleting a queue, its own included, nor binding one.
async fn configuring(connection: &Connection, queue: &str) -> Result<()> {
    denied(connection, &format!("deleting {queue}"), async |channel| {
        // Should it be allowed, nothing is lost by this.
        let options = QueueDeleteOptions { if_unused: true, if_empty: true, ..Default::default() };
        channel.queue_delete(queue.into(), options).await.map(drop)
    })
    .await?;
    denied(connection, &format!("binding {queue}"), async |channel| {
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        channel.queue_bind(queue.into(), EVENTS.into(), "#".into(), options, arguments).await
    })
    .await
}

async fn exchanges(connection: &Connection) -> Result<()> {
    denied(connection, "declaring a queue", async |channel| {
        let options = QueueDeclareOptions::durable();
        channel.queue_declare("intruder".into(), options, FieldTable::default()).await.map(drop)
    })
    .await?;
    denied(connection, "declaring an exchange", async |channel| {
        let (kind, options) = (ExchangeKind::Fanout, ExchangeDeclareOptions::default());
        channel.exchange_declare("intruder".into(), kind, options, FieldTable::default()).await
    })
    .await?;
    denied(connection, "deleting the exchange", async |channel| {
        let options = ExchangeDeleteOptions { if_unused: true, ..Default::default() };
        channel.exchange_delete(EVENTS.into(), options).await
    })
    .await
}

/// Checks that something is refused, on a channel of its own, which the broker closes then.
async fn denied(
    connection: &Connection,
    what: &str,
    attempt: impl AsyncFnOnce(Channel) -> lapin::Result<()>,
) -> Result<()> {
    let channel = connection.create_channel().await?;
    match attempt(channel).await {
        Ok(()) => bail!("{what} was allowed"),
        Err(error) => match error.kind() {
            lapin::ErrorKind::ProtocolError(refusal) if refusal.get_id() == ACCESS_REFUSED => {
                Ok(())
            }
            _ => bail!("{what} was not refused, but failed: {error}"),
        },
    }
}

async fn publish(channel: &Channel, exchange: &str, routing_key: &str) -> lapin::Result<()> {
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let options = BasicPublishOptions::default();
    let properties = BasicProperties::default();
    let (exchange, key) = (exchange.into(), routing_key.into());
    channel.basic_publish(exchange, key, options, b"intruder", properties).await?.await.map(drop)
}

/// The routing keys of the events that are others' to announce.
fn foreign_keys(service: &str) -> BTreeSet<&'static str> {
    let keys = SUBSCRIPTIONS.iter().flat_map(|subscription| subscription.routing_keys);
    keys.copied().filter(|key| announcer(key) != service).collect()
}

/// Who announces an event.
fn announcer(routing_key: &str) -> &str {
    match routing_key.split('.').next().unwrap_or_default() {
        "stock" | "product" => "inventory",
        service => service,
    }
}
