//! How fast RabbitMQ takes messages: `Broker::publish` in batches, against lapin alone with a window of confirms.
//!
//! ```text
//! AMQP_URL=amqp://… cargo run --release -p broker --example throughput
//! ```
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a program that measures")]

use std::time::{Duration, Instant};

use broker::{Broker, Message, Outcome, Topology, Verdict};
use contracts::Subscription;
use futures_util::{StreamExt as _, stream};
use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeleteOptions},
};

const QUEUES: &[Subscription] = &[Subscription::to("throughput", &["order.placed"])];
const MESSAGES: usize = 40_000;

#[tokio::main]
async fn main() {
    let url = std::env::var("AMQP_URL").unwrap();
    let topology = Topology {
        subscriptions: QUEUES.to_vec(),
        retry_delays: vec![Duration::from_secs(1)],
        history: false,
    };
    let broker = Broker::open(&format!("{url}?namespace=measure"), topology).await.unwrap();
    broker.declare().await.unwrap();
    let messages = messages();

    for batch in [500, 200] {
        let start = Instant::now();
        for batch in messages.chunks(batch) {
            let outcomes = broker.publish(batch).await;
            assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Confirmed));
        }
        println!("Broker::publish, batches of {batch}: {} msg/s", rate(MESSAGES, start));
    }

    let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    for window in [100, 500] {
        let start = Instant::now();
        stream::iter(&messages)
            .map(async |message| {
                let options = BasicPublishOptions { mandatory: true, ..Default::default() };
                let properties = BasicProperties::default().with_delivery_mode(2);
                let (exchange, key) = ("measure.shop.events".into(), "order.placed".into());
                let publish =
                    channel.basic_publish(exchange, key, options, &message.body, properties);
                publish.await.unwrap().await.unwrap()
            })
            .buffer_unordered(window)
            .for_each(async |_| {})
            .await;
        println!("lapin alone, {window} in flight: {} msg/s", rate(MESSAGES, start));
    }

    let mut consumer = broker.consume("throughput", 256);
    let (mut received, mut takes, start) = (0, 0, Instant::now());
    while received < 4 * MESSAGES {
        let deliveries = consumer.next().await;
        received += deliveries.len();
        takes += 1;
        consumer.settle(deliveries.into_iter().map(|d| (d, Verdict::Ack)).collect()).await;
    }
    println!("consuming: {} msg/s, {} at a time", rate(received, start), received / takes);
    for queue in ["throughput", "throughput.dead", "throughput.retry.1000"] {
        let queue = format!("measure.{queue}").as_str().into();
        channel.queue_delete(queue, QueueDeleteOptions::default()).await.unwrap();
    }
}

fn messages() -> Vec<Message> {
    let data = "x".repeat(600);
    (0..MESSAGES)
        .map(|n| Message {
            exchange: contracts::Exchange::Events,
            routing_key: "order.placed".to_owned(),
            body: format!(
                r#"{{"specversion":"1.0","id":"0198a000-0000-7000-8000-{n:012}","source":"/order","type":"com.example.shop.order.placed.v1",
                "subject":"0198a000-0000-7000-8000-{n:012}","time":"2026-01-01T00:00:00Z","datacontenttype":"application/json",
                "dataschema":"","correlationid":"0198a000-0000-7000-8000-{n:012}","partitionkey":"","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","data":"{data}"}}"#
            )
            .into_bytes(),
        })
        .collect()
}

fn rate(messages: usize, start: Instant) -> u64 {
    (messages as f64 / start.elapsed().as_secs_f64()) as u64
}
