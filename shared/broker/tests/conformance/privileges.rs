//! A service with no more permissions than `deploy/rabbitmq/definitions.json` gives it.

use std::time::Duration;

use broker::{Broker, Outcome, Selection, Topology, Verdict};
use contracts::SUBSCRIPTIONS;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions},
    types::FieldTable,
};
use testkit::TestRabbitMq;

use crate::fixture::*;

/// The first of the delays in the definitions.
const DELAY: Duration = Duration::from_secs(1);

/// A RabbitMQ with the definitions, and passwords for some of their users.
async fn defined() -> Option<TestRabbitMq> {
    let server = testkit::own_rabbitmq().await?;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/rabbitmq/definitions.json");
    server.ctl(&["import_definitions", file]).await;
    for user in ["order", "payment", "email", "operator"] {
        server.ctl(&["change_password", user, "secret"]).await;
    }
    Some(server)
}

fn url(server: &TestRabbitMq, user: &str) -> String {
    undeclaring(&server.url.replace("guest:guest", &format!("{user}:secret")))
}

async fn open(server: &TestRabbitMq, user: &str) -> Broker {
    let retry_delays = vec![DELAY, Duration::from_secs(5)];
    let topology = Topology { subscriptions: SUBSCRIPTIONS.to_vec(), retry_delays, history: true };
    Broker::open(&url(server, user), topology).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_can_do_its_work_and_an_operator_theirs() {
    let Some(server) = defined().await else { return };
    let (order, payment) = (open(&server, "order").await, open(&server, "payment").await);
    order.declare().await.unwrap();
    publish(&order, &orders(2)).await;
    let mut consumer = payment.consume("payment", 10);
    let mut taken = take(&mut consumer, 2).await;
    let retry = Verdict::Retry { after: DELAY, history: failed(1, 0) };
    consumer.settle(vec![(taken.remove(0), retry)]).await;
    consumer.settle(vec![(taken.remove(0), Verdict::Dead { history: failed(3, 0) })]).await;
    let again = take_one(&mut consumer).await;
    assert_eq!(again.history, failed(1, 0));
    ack(&mut consumer, vec![again]).await;
    assert_eq!(payment.depth("payment").await.unwrap().dead, 1);
    publish(&payment, &[message("payment.taken", "taken")]).await;
    assert_eq!(drain(&mut order.consume("order", 10), 1).await, [b"taken"]);

    let operator = Broker::open(&url(&server, "operator"), Topology::default()).await.unwrap();
    assert_eq!(operator.dead_letters("payment", 10).await.unwrap().len(), 1);
    assert_eq!(operator.replay("payment", &Selection::All).await.unwrap().len(), 1);
    let replayed = take_one(&mut consumer).await;
    assert_eq!(replayed.history.replays, 1);
    consumer.settle(vec![(replayed, Verdict::Dead { history: failed(4, 0) })]).await;
    assert_eq!(operator.purge("payment", &Selection::All).await.unwrap().len(), 1);
    for broker in [&order, &payment, &operator] {
        assert_eq!(broker.trouble(), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_service_never_does_it_may_not_do() {
    let Some(server) = defined().await else { return };
    let url = url(&server, "payment");
    let payment = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
    for (exchange, key) in [
        ("shop.events", "order.placed"),
        ("shop.events", "payment.taken.too"),
        ("shop.events", "payment_taken"),
        ("", "order"),
        ("", "payment"),
        ("amq.topic", "payment.taken"),
        ("order.failures", "order"),
    ] {
        let publish = async |channel: &Channel| {
            let (options, properties) =
                (BasicPublishOptions::default(), BasicProperties::default());
            channel
                .basic_publish(exchange.into(), key.into(), options, b"x", properties)
                .await?
                .await
        };
        refused(&payment, &format!("publish {key} to {exchange:?}"), publish).await;
    }
    refused(&payment, "get what is another's", async |channel: &Channel| {
        channel.basic_get("inventory".into(), Default::default()).await
    })
    .await;
    refused(&payment, "consume what is another's", async |channel: &Channel| {
        let (tag, arguments) = ("".into(), FieldTable::default());
        channel.basic_consume("inventory".into(), tag, Default::default(), arguments).await
    })
    .await;
    refused(&payment, "purge what is another's", async |channel: &Channel| {
        channel.queue_purge("order".into(), Default::default()).await
    })
    .await;
    for queue in ["payment", "payment.more", "mine"] {
        refused(&payment, &format!("declare {queue}"), async |channel: &Channel| {
            let options = QueueDeclareOptions::durable();
            channel.queue_declare(queue.into(), options, FieldTable::default()).await
        })
        .await;
    }
    refused(&payment, "delete its queue", async |channel: &Channel| {
        channel.queue_delete("payment".into(), Default::default()).await
    })
    .await;
    refused(&payment, "delete its exchange", async |channel: &Channel| {
        channel.exchange_delete("payment.failures".into(), Default::default()).await
    })
    .await;
    refused(&payment, "listen to more", async |channel: &Channel| {
        let (queue, exchange) = ("payment".into(), "shop.events".into());
        let (options, arguments) = Default::default();
        channel.queue_bind(queue, exchange, "#".into(), options, arguments).await
    })
    .await;
    refused(&payment, "listen to less", async |channel: &Channel| {
        let (queue, exchange) = ("payment".into(), "shop.events".into());
        let key = "order.placed".into();
        channel.queue_unbind(queue, exchange, key, FieldTable::default()).await
    })
    .await;
}

/// Does something on a channel of its own, which must be refused to `payment`.
async fn refused<T>(
    connection: &Connection,
    what: &str,
    attempt: impl AsyncFnOnce(&Channel) -> lapin::Result<T>,
) {
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let Err(error) = attempt(&channel).await else { panic!("payment may {what}") };
    let said = error.to_string();
    assert!(said.contains("ACCESS_REFUSED") && said.contains("'payment'"), "{what}: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_refused_message_holds_up_no_other() {
    let Some(server) = defined().await else { return };
    let payment = open(&server, "payment").await;
    // In any place, and many at a time.
    for refused_at in [0, 7, 19] {
        let key = |n| if n == refused_at { "order.placed" } else { "payment.taken" };
        let batch: Vec<_> = (0..20).map(|n| message(key(n), format!("{refused_at} {n}"))).collect();
        for (n, outcome) in payment.publish(&batch).await.into_iter().enumerate() {
            if n != refused_at {
                assert_eq!(outcome, Outcome::Confirmed, "message {n}");
                continue;
            }
            let Outcome::Refused(reason) = outcome else { panic!("{outcome:?}") };
            for part in ["topic 'order.placed'", "user 'payment'", "definitions.json"] {
                assert!(reason.contains(part), "{reason}");
            }
        }
    }
    let only_refused = payment.publish(&orders(50)).await;
    assert!(only_refused.iter().all(|outcome| matches!(outcome, Outcome::Refused(_))));
    // A refusal is no outage.
    assert_eq!(payment.trouble(), None);
    let mut bodies = std::collections::HashSet::new();
    let mut consumer = open(&server, "order").await.consume("order", 100);
    while bodies.len() < 57 {
        let taken = take(&mut consumer, 1).await;
        bodies.extend(taken.iter().map(|delivery| delivery.body.clone()));
        ack(&mut consumer, taken).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permission_that_is_missing_is_named_and_waited_for() {
    let Some(server) = defined().await else { return };
    publish(&open(&server, "order").await, &orders(1)).await;
    let permit = async |write: &str, read: &str| {
        server.ctl(&["set_permissions", "payment", "^$", write, read]).await;
    };
    permit("^$", "^$").await;
    let payment = open(&server, "payment").await;
    let mut consumer = payment.consume("payment", 10);
    let trouble = told(&payment).await;
    for part in ["consume payment", "queue 'payment'", "user 'payment'", "definitions.json"] {
        assert!(trouble.contains(part), "{part} is not in {trouble}");
    }
    assert!(!consumer.is_connected());
    permit("^$", "^payment$").await;
    let delivery = take_one(&mut consumer).await;
    assert_eq!(payment.trouble(), None);

    // What failed can't go on; it stays where it is until it can.
    let retry = Verdict::Retry { after: DELAY, history: failed(1, 0) };
    consumer.settle(vec![(delivery, retry)]).await;
    assert!(rest(&mut consumer).await.is_empty());
    assert!(consumer.is_connected());
    permit(r"^payment\.failures$", "^payment$").await;
    assert_eq!(take_one(&mut consumer).await.history, failed(1, 0));
}

async fn told(broker: &Broker) -> String {
    let deadline = std::time::Instant::now() + ARRIVAL;
    loop {
        if let Some(trouble) = broker.trouble() {
            return trouble;
        }
        assert!(std::time::Instant::now() < deadline, "it has no trouble");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_declares_finds_nothing_to_change_in_the_definitions() {
    let Some(server) = defined().await else { return };
    let retry_delays = [1, 5, 30, 120, 600].map(Duration::from_secs).to_vec();
    let topology = Topology { subscriptions: SUBSCRIPTIONS.to_vec(), retry_delays, history: true };
    // An argument that differed would be refused, and a queue more would not be there.
    let declaring = Broker::open(&server.url, topology.clone()).await.unwrap();
    Broker::open(&undeclaring(&server.url), topology).await.unwrap().declare().await.unwrap();
    declaring.declare().await.unwrap();
}
