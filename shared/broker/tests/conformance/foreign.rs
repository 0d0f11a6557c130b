//! What other programs leave on RabbitMQ: properties that aren't UTF-8, which AMQP libraries don't take, and very many dead letters.

use broker::{Selection, message_id};
use lapin::{
    BasicProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable},
};
use testkit::{Proxy, server_of};

use crate::fixture::*;

const VERY_MANY: usize = 66_000;

/// What the client sends, and what the server gets.
const MARK: &str = "NO-UTF-8";
const BYTES: &[u8] = b"\xff\xfe\xff\xfe\xff\xfe\xff\xfe";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn properties_that_are_not_utf_8_stop_no_consumer() {
    run(Kind::RabbitMq, case).await;
}

/// A consumer can be given 65,535 at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_of_very_many_dead_letters_is_reached() {
    run(Kind::RabbitMq, async |fixture| {
        let broker = fixture.open().await;
        broker.declare().await.unwrap();
        let (_connection, channel) = channel(&fixture.url).await;
        let dead = format!("{}.payment.dead", fixture.namespace());
        for n in 0..=VERY_MANY {
            let body: &[u8] = if n < VERY_MANY { b"one of many" } else { b"the last" };
            let (queue, options) = (dead.as_str().into(), BasicPublishOptions::default());
            channel
                .basic_publish("".into(), queue, options, body, Default::default())
                .await
                .unwrap();
        }
        let all = VERY_MANY as u64 + 1;
        while broker.depth("payment").await.unwrap().dead < all {
            tokio::time::sleep(QUIET).await;
        }
        let last = Selection::Ids(vec![message_id(b"the last")]);
        assert_eq!(broker.replay("payment", &last).await.unwrap().len(), 1);
        assert_eq!(drain(&mut broker.consume("payment", 10), 1).await, [b"the last"]);
        assert_eq!(broker.purge("payment", &Selection::All).await.unwrap().len(), VERY_MANY);
    })
    .await;
}

async fn case(fixture: &Fixture) {
    let broker = fixture.open().await;
    broker.declare().await.unwrap();
    let mut consumer = broker.consume("payment", 10);
    publish(&broker, &orders(5)).await;
    publish_foreign(fixture).await;
    publish(&broker, &orders(5)).await;
    // None of them twice, as when the connection had been lost.
    assert_eq!(drain(&mut consumer, 12).await.len(), 12);
    drop(consumer);

    publish_foreign(fixture).await;
    let mut consumer = broker.consume("payment", 10);
    let taken = take(&mut consumer, 2).await;
    assert!(taken.iter().all(|delivery| delivery.routing_key == "order.placed"));
    let dead = |delivery| (delivery, broker::Verdict::Dead { history: failed(1, 0) });
    consumer.settle(taken.into_iter().map(dead).collect()).await;
    while broker.depth("payment").await.unwrap().dead < 2 {
        tokio::task::yield_now().await;
    }
    let letters = broker.dead_letters("payment", 10).await.unwrap();
    assert_eq!(letters.len(), 2);
    let one = Selection::Ids(vec![letters[0].id]);
    assert_eq!(broker.replay("payment", &one).await.unwrap().len(), 1);
    assert_eq!(drain(&mut consumer, 1).await, [letters[0].body.clone()]);
    assert_eq!(broker.purge("payment", &Selection::All).await.unwrap().len(), 1);
}

/// Publishes two messages as a program would that doesn't care: one's id, and the key of the other's header, are not UTF-8.
async fn publish_foreign(fixture: &Fixture) {
    let proxy = Proxy::replacing(server_of(&fixture.url), MARK.as_bytes(), BYTES).await;
    let (connection, channel) = channel(&proxy.before(&fixture.url)).await;
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let mut headers = FieldTable::default();
    headers.insert(MARK.into(), AMQPValue::Boolean(true));
    let plain = BasicProperties::default();
    for (body, properties) in [
        ("its id", plain.clone().with_message_id(MARK.into())),
        ("its header", plain.with_headers(headers)),
    ] {
        let exchange = format!("{}.{}", fixture.namespace(), contracts::Exchange::Events.name());
        channel
            .basic_publish(
                exchange.into(),
                "order.placed".into(),
                BasicPublishOptions::default(),
                body.as_bytes(),
                properties,
            )
            .await
            .unwrap()
            .await
            .unwrap();
    }
    connection.close(200, "OK".into()).await.unwrap();
}
