//! RabbitMQ from outside: its management API, and AMQP as one of its users.

use anyhow::{Context as _, Result, ensure};
use lapin::{
    Channel, Connection, ConnectionProperties, options::QueueDeclareOptions, types::FieldTable,
};
use reqwest::Client;
use serde_json::{Value, json};

use crate::{stack::Stack, world::World};

/// The management API, on whichever node answers.
#[derive(Debug)]
pub(crate) struct Management {
    http: Client,
    addresses: Vec<String>,
    password: String,
}

/// The names of the RabbitMQ nodes.
pub(crate) const fn nodes(stack: Stack) -> &'static [&'static str] {
    match stack {
        Stack::Single => &["rabbitmq"],
        Stack::Cluster => &["rabbitmq-1", "rabbitmq-2", "rabbitmq-3"],
    }
}

impl Management {
    /// Finds the nodes that run.
    pub(crate) async fn find(world: &World) -> Result<Self> {
        let containers = world.stack.containers().await?;
        let nodes = containers.iter().filter(|c| nodes(world.stack).contains(&c.service()));
        let addresses: Vec<String> = nodes.filter_map(|node| node.published(15672).ok()).collect();
        ensure!(!addresses.is_empty(), "no RabbitMQ publishes its management");
        let password = world.password("RABBITMQ_ADMIN_PASSWORD")?.to_owned();
        Ok(Self { http: world.shop.http().clone(), addresses, password })
    }

    /// What the API shows at a path; none when no node answers.
    pub(crate) async fn get(&self, path: &str) -> Option<Value> {
        for address in &self.addresses {
            let request = self.http.get(format!("http://{address}/api/{path}"));
            let request = request.basic_auth("admin", Some(&self.password));
            if let Ok(answer) = request.send().await
                && answer.status().is_success()
                && let Ok(value) = answer.json().await
            {
                return Some(value);
            }
        }
        None
    }

    /// Puts something into a queue, past all that the shop would check.
    pub(crate) async fn put(&self, queue: &str, body: &str) -> Result<()> {
        let url = format!("http://{}/api/exchanges/%2F/amq.default/publish", self.addresses[0]);
        let message = json!({
            "properties": {"delivery_mode": 2},
            "routing_key": queue,
            "payload": body,
            "payload_encoding": "string",
        });
        let request = self.http.post(url).basic_auth("admin", Some(&self.password)).json(&message);
        let answer: Value = request.send().await?.json().await?;
        ensure!(answer["routed"] == true, "{answer}");
        Ok(())
    }
}

/// A connection to the first node.
pub(crate) async fn connect(world: &World, user: &str, password: &str) -> Result<Connection> {
    let node = nodes(world.stack).first().context("a node")?;
    let address = world.address(node, 5672).await?;
    let url = format!("amqp://{user}:{password}@{address}/%2f");
    Ok(Connection::connect(&url, ConnectionProperties::default()).await?)
}

/// How many messages wait in a queue, by a count: the management's figures lag.
pub(crate) async fn waiting(world: &World, queue: &str) -> Result<u32> {
    let password = world.password("RABBITMQ_ADMIN_PASSWORD")?;
    let connection = connect(world, "admin", password).await?;
    let channel = connection.create_channel().await?;
    let waiting = count(&channel, queue).await?;
    connection.close(200, "OK".into()).await?;
    Ok(waiting)
}

/// As [`waiting`], on a channel that there is.
pub(crate) async fn count(channel: &Channel, queue: &str) -> Result<u32> {
    let passive = QueueDeclareOptions::durable().passive();
    let queue = channel.queue_declare(queue.into(), passive, FieldTable::default()).await?;
    Ok(queue.message_count())
}
