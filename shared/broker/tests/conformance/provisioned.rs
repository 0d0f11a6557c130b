//! A topology that somebody else has declared; where failures go; and a cluster of which a node is away.

use std::time::{Duration, Instant};

use broker::{Broker, Error, Outcome, Selection, Topology, Verdict};
use lapin::{
    options::{
        BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
        QueueDeleteOptions,
    },
    types::FieldTable,
};
use tokio::{net::TcpListener, time::sleep};

use crate::fixture::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_named_and_nothing_is_made() {
    run(Kind::RabbitMq, async |fixture| {
        let broker = Broker::open(&undeclaring(&fixture.url), topology()).await.unwrap();
        let namespace = fixture.namespace();
        let names = |said: &str, parts: &[&str]| {
            for part in parts {
                let part = part.replace('X', namespace);
                assert!(said.contains(&part), "{part} is not in {said}");
            }
        };
        let Err(Error::Refused(said)) = broker.declare().await else { panic!("all is there") };
        names(&said, &["exchange X.shop.events", "definitions.json", "declare=false"]);
        let outcomes = broker.publish(&orders(1)).await;
        assert!(matches!(&outcomes[0], Outcome::Failed(reason) if reason.contains("shop.events")));

        // With some of it there, the rest is named together.
        let (_connection, channel) = channel(&fixture.url).await;
        fixture.open().await.declare().await.unwrap();
        let retry_delays = vec![SOON, LATER, LATER * 2];
        let slower = Topology { retry_delays, ..topology() };
        let slower = Broker::open(&undeclaring(&fixture.url), slower).await.unwrap();
        let Err(Error::Refused(said)) = slower.declare().await else { panic!("all is there") };
        names(&said, &["queue X.payment.retry.12000", "queue X.email.retry.12000"]);
        let lacking = format!("{namespace}.payment.dead");
        for queue in [&format!("{namespace}.email.dead"), &lacking] {
            let options = QueueDeleteOptions::default();
            channel.queue_delete(queue.as_str().into(), options).await.unwrap();
        }
        let exchange = format!("{namespace}.email.failures");
        channel.exchange_delete(exchange.into(), Default::default()).await.unwrap();
        let Err(Error::Refused(said)) = broker.declare().await else { panic!("all is there") };
        names(&said, &["exchange X.email.failures", "queue X.payment.dead", "X.email.dead"]);
        assert!(!said.contains("shop.events"), "{said}");

        // A reader says what it lacks, and starts when that is there.
        let mut consumer = broker.consume("payment", 10);
        let deadline = Instant::now() + ARRIVAL;
        let trouble = loop {
            let trouble = broker.trouble().filter(|trouble| trouble.contains("consume payment"));
            if let Some(trouble) = trouble {
                break trouble;
            }
            assert!(Instant::now() < deadline, "it says nothing");
            sleep(Duration::from_millis(10)).await;
        };
        assert!(trouble.contains(&format!("queue {lacking} doesn't exist")), "{trouble}");
        assert!(!consumer.is_connected());
        fixture.open().await.declare().await.unwrap();
        broker.declare().await.unwrap();
        publish(&broker, &orders(1)).await;
        assert_eq!(drain(&mut consumer, 1).await, [b"order 0"]);
        assert_eq!(broker.trouble(), None);
    })
    .await;
}

/// What goes through an exchange of the queue's own can be seen by a second queue that is bound to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_dead_letters_and_replays_go_through_the_queues_own_exchange() {
    run(Kind::RabbitMq, async |fixture| {
        let broker = fixture.open().await;
        broker.declare().await.unwrap();
        let (_connection, channel) = channel(&fixture.url).await;
        let namespace = fixture.namespace();
        let (exchange, main) =
            (format!("{namespace}.payment.failures"), format!("{namespace}.payment"));
        let keys = [format!("{main}.retry.300"), format!("{main}.dead"), main];
        let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
        let tap = channel.queue_declare("".into(), options, FieldTable::default()).await.unwrap();
        for key in &keys {
            let (tap, exchange) = (tap.name().clone(), exchange.as_str().into());
            let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
            channel
                .queue_bind(tap, exchange, key.as_str().into(), options, arguments)
                .await
                .unwrap();
        }

        let mut consumer = broker.consume("payment", 10);
        publish(&broker, &orders(1)).await;
        let delivery = take_one(&mut consumer).await;
        let retry = Verdict::Retry { after: SOON, history: failed(1, 0) };
        consumer.settle(vec![(delivery, retry)]).await;
        let delivery = take_one(&mut consumer).await;
        consumer.settle(vec![(delivery, Verdict::Dead { history: failed(2, 0) })]).await;
        assert_eq!(broker.replay("payment", &Selection::All).await.unwrap().len(), 1);
        assert_eq!(drain(&mut consumer, 1).await, [b"order 0"]);

        for key in &keys {
            let options = BasicGetOptions { no_ack: true };
            let seen = channel.basic_get(tap.name().clone(), options).await.unwrap();
            let seen = seen.unwrap_or_else(|| panic!("nothing went to {key}"));
            assert_eq!(seen.delivery.routing_key.as_str(), key);
            assert_eq!(seen.delivery.data, b"order 0");
        }
    })
    .await;
}

/// Somebody deletes it, and so what failed has nowhere to go until a connection makes it anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_that_is_deleted_is_declared_again() {
    run(Kind::RabbitMq, async |fixture| {
        let broker = fixture.open().await;
        let mut consumer = broker.consume("payment", 10);
        publish(&broker, &orders(1)).await;
        let delivery = take_one(&mut consumer).await;
        let (_connection, channel) = channel(&fixture.url).await;
        let exchange = format!("{}.payment.failures", fixture.namespace());
        channel.exchange_delete(exchange.into(), Default::default()).await.unwrap();
        let retry = Verdict::Retry { after: SOON, history: failed(1, 0) };
        consumer.settle(vec![(delivery, retry)]).await;
        assert_eq!(take_one(&mut consumer).await.history, failed(1, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_away_or_frozen_costs_little_when_there_are_others() {
    run(Kind::RabbitMq, async |fixture| {
        // One port that nobody listens on, and one behind which nobody answers.
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let frozen = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let others = format!("{closed},{},", frozen.local_addr().unwrap());
        let (before, after) = fixture.url.split_at(fixture.url.find('@').unwrap() + 1);
        let url = format!("{before}{others}{after}");
        // So that connecting is all that takes time.
        fixture.open().await.declare().await.unwrap();
        // Each connection begins with another node.
        for start in 0..6 {
            let broker = Broker::open(&url, topology()).await.unwrap();
            let began = Instant::now();
            publish(&broker, &orders(1)).await;
            let took = began.elapsed();
            assert!(took < Duration::from_secs(5), "connecting took {took:?} at start {start}");
            assert_eq!(broker.trouble(), None);
            broker.close().await;
        }

        let nowhere = format!("{before}{closed},{closed}");
        let broker = Broker::open(&nowhere, topology()).await.unwrap();
        let Err(Error::Unavailable(reason)) = broker.declare().await else { panic!("where?") };
        assert_eq!(reason.matches("127.0.0.1: ").count(), 2, "{reason}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_of_another_kind_is_refused() {
    run(Kind::RabbitMq, async |fixture| {
        let (_connection, channel) = channel(&fixture.url).await;
        let name = format!("{}.payment.failures", fixture.namespace());
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        channel
            .exchange_declare(
                name.as_str().into(),
                lapin::ExchangeKind::Fanout,
                options,
                FieldTable::default(),
            )
            .await
            .unwrap();
        let Err(Error::Refused(reason)) = fixture.open().await.declare().await else {
            panic!("it was declared")
        };
        assert!(reason.contains(&name) && reason.contains("fanout"), "{reason}");
    })
    .await;
}
