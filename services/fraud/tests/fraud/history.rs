//! What happened before the service was there, and what happens now: all of it is scored, once.

use std::time::Duration;

use broker::{Broker, Message, Outcome, Topology};
use clap::Parser as _;
use contracts::{
    Cause, Coordination, Customer, Envelope, Event as _, Exchange, Line, Money, OrderId,
    OrderPlaced, SUBSCRIPTIONS, Timestamp,
};
use fraud::Config;
use testkit::{TestDatabase, wait::eventually};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const HOUR: Duration = Duration::from_secs(60 * 60);

#[derive(clap::Parser)]
struct Program {
    #[command(flatten)]
    config: Config,
}

/// A shop before there was a fraud service: the four services' queues, and the history.
async fn shop(url: &str) -> (Broker, Topology) {
    let topology =
        Topology { subscriptions: SUBSCRIPTIONS.to_vec(), retry_delays: Vec::new(), history: true };
    let broker = Broker::open(url, topology.clone()).await.unwrap();
    broker.declare().await.unwrap();
    (broker, topology)
}

/// An order of a customer, placed so long ago.
fn order(email: &str, amount: i64, ago: Duration) -> OrderPlaced {
    let price = Money { amount, currency: "EUR".to_owned() };
    OrderPlaced {
        order_id: OrderId::now_v7(),
        customer: Customer { email: email.to_owned(), name: Some("Ada".to_owned()) },
        lines: vec![Line {
            sku: "mug-blue".to_owned(),
            name: "Mug".to_owned(),
            quantity: 1,
            unit_price: price.clone(),
        }],
        total: price,
        card_token: "tok_visa".to_owned(),
        coordination: Coordination::Choreography,
        placed_at: Timestamp::now() - ago,
    }
}

async fn publish(broker: &Broker, orders: &[OrderPlaced]) {
    let batch: Vec<Message> = orders
        .iter()
        .map(|order| {
            let envelope =
                Envelope::new(order, Uuid::now_v7(), order.placed_at, &Cause::default()).unwrap();
            let (exchange, routing_key) = (Exchange::Events, OrderPlaced::ROUTING_KEY.to_owned());
            Message { exchange, routing_key, body: envelope.to_bytes().unwrap() }
        })
        .collect();
    assert_eq!(broker.publish(&batch).await, vec![Outcome::Confirmed; batch.len()]);
}

async fn runs_beside_a_shop(broker_url: &str, database: &TestDatabase) {
    let (broker, mut topology) = shop(broker_url).await;
    // Four orders of one customer that the service never saw, among others.
    let before: Vec<_> = (0..4).map(|_| order("eve@example.com", 1_000, HOUR)).collect();
    let others: Vec<_> =
        (0..700).map(|n| order(&format!("{n}@example.com"), 1_000, HOUR)).collect();
    publish(&broker, &before).await;
    publish(&broker, &others).await;

    let args = ["fraud", "--database", &database.url, "--broker", broker_url, "--threshold", "50"];
    let config = Program::parse_from(args).config;
    let db = store::Db::open(&database.url, store::Options::default()).await.unwrap();
    let start = async || {
        let (shutdown, listener) =
            (CancellationToken::new(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let running = tokio::spawn(fraud::run(config.clone(), listener, shutdown.clone()));
        (shutdown, running)
    };
    let (shutdown, running) = start().await;
    eventually("yesterday's orders are scored", || async {
        fraud::store::find(&db, others.last().unwrap().order_id).await.ok()?
    })
    .await;
    eventually("it has caught up", || async {
        db.has_caught_up("fraud").await.ok()?.then_some(())
    })
    .await;

    // The fifth is one of the usual five; the sixth is one too many, which only who knows the past can tell.
    let now: Vec<_> = (0..2).map(|_| order("Eve@Example.com", 1_000, Duration::ZERO)).collect();
    for one in &now {
        publish(&broker, std::slice::from_ref(one)).await;
        let scored = eventually("a new order is scored", || async {
            fraud::store::find(&db, one.order_id).await.ok()?
        })
        .await;
        let last = one.order_id == now[1].order_id;
        assert_eq!(
            (scored.flagged, scored.reasons.as_str()),
            (last, if last { "many_orders" } else { "" })
        );
    }
    shutdown.cancel();
    running.await.unwrap().unwrap();

    // Started again it reads nothing again; and what it announced is told to nobody, but kept.
    let (shutdown, running) = start().await;
    let ready = order("last@example.com", 1_000, Duration::ZERO);
    publish(&broker, std::slice::from_ref(&ready)).await;
    eventually("it is at work again", || async {
        fraud::store::find(&db, ready.order_id).await.ok()?
    })
    .await;
    let (inbox,) = db.read("SELECT count(*) FROM inbox").one::<(i64,)>().await.unwrap();
    assert_eq!(inbox, 707, "every message once");
    eventually("the flag is announced", || async {
        (db.outbox_backlog().await.ok()?.rows == 0).then_some(())
    })
    .await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
    broker.close().await;
    topology.subscriptions.push(fraud::SUBSCRIPTION);
    if broker_url.starts_with("amqp") {
        topology.retry_delays = [1, 5, 30, 120, 600].map(Duration::from_secs).to_vec();
        testkit::delete_queues(broker_url, &topology).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_and_the_jobs_table() {
    let broker = testkit::sqlite_database();
    runs_beside_a_shop(&broker.url, &testkit::sqlite_database()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_and_rabbitmq() {
    let (Some(broker), Some(database)) = (testkit::amqp_url(), testkit::postgres_database().await)
    else {
        return;
    };
    runs_beside_a_shop(&broker, &database).await;
}
