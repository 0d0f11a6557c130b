//! `shop up` and `shop dead` on PostgreSQL and RabbitMQ.

use std::time::Duration;

use broker::{Broker, History, Message, Topology, Verdict};
use contracts::SUBSCRIPTIONS;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

use crate::world::{Folder, Up, assert_contains, free_ports, run, text, until};

#[tokio::test]
async fn databases_are_made_where_they_are_missing_and_anew_with_fresh() {
    let Some(base) = testkit::postgres_database().await else { return };
    let folder = Folder::new();
    let prefix = format!("test_{}_", Uuid::now_v7().simple());
    let arguments = ["--database", &base.url, "--database-prefix", &prefix];

    let up = Up::start(folder.path(), free_ports(), &arguments).await;
    let (order, code) = up.checkout(&[]).await;
    assert_eq!(code, 0);
    up.stop().await;
    let up = Up::start(folder.path(), free_ports(), &arguments).await;
    assert_eq!(up.look(&order).await.0, 200);
    up.stop().await;
    let up = Up::start(folder.path(), free_ports(), &[&arguments[..], &["--fresh"]].concat()).await;
    assert_eq!(up.look(&order).await.0, 404);
    assert_eq!(up.checkout(&[]).await.1, 0);
    up.stop().await;
    assert!(!folder.path().join("data/order.db").exists());

    let mut server = PgConnection::connect(&base.url).await.unwrap();
    // The jobs table is there too; the password is nobody's business.
    let dead = run(folder.path(), &[&["dead", "list"], &arguments[..]].concat()).await;
    assert_contains(text(&dead.stdout), &["no dead letters"]);
    let said = text(&dead.stderr);
    assert_contains(said, &["broker: postgres", &format!("{prefix}broker")]);
    let password = base.url.split_once("://").unwrap().1.split_once('@').unwrap().0.split_once(':');
    assert!(password.is_none_or(|(_, word)| !said.contains(&format!(":{word}@"))), "{said}");

    for name in ["order", "payment", "inventory", "email", "broker"] {
        let drop = format!("DROP DATABASE {prefix}{name}");
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut server).await.unwrap();
    }
}

#[tokio::test]
async fn rabbitmq_carries_the_orders() {
    let Some(broker) = testkit::amqp_url() else { return };
    let folder = Folder::new();
    let delays = ["--retry-delays", "100ms"];
    let up =
        Up::start(folder.path(), free_ports(), &[&["--broker", &broker], &delays[..]].concat())
            .await;
    assert_eq!(up.checkout(&[]).await.1, 0);
    let dead = run(folder.path(), &["dead", "list", "--broker", &broker]).await;
    assert_contains(text(&dead.stdout), &["no dead letters"]);
    up.stop().await;
    assert!(!folder.path().join("data/broker.db").exists());
    testkit::delete_queues(&broker, &topology()).await.unwrap();
}

#[tokio::test]
async fn a_fresh_start_empties_rabbitmq_too() {
    let Some(url) = testkit::amqp_url() else { return };
    let folder = Folder::new();
    // Left over from an earlier shop: an order that nobody has seen, and one that failed for good.
    let broker = Broker::open(&url, topology()).await.unwrap();
    broker.declare().await.unwrap();
    let message = |body: &str| Message {
        exchange: contracts::Exchange::Events,
        routing_key: "order.placed".to_owned(),
        body: body.into(),
    };
    let outcomes = broker.publish(&[message("old junk"), message("more old junk")]).await;
    assert_eq!(outcomes.len(), 2);
    let mut consumer = broker.consume("payment", 1);
    let delivery = consumer.next().await.pop().unwrap();
    consumer.settle(vec![(delivery, Verdict::Dead { history: History::default() })]).await;
    drop(consumer);
    until("one is dead, the other waits", async || {
        let depth = broker.depth("payment").await.unwrap();
        (depth.dead == 1 && depth.ready == 1).then_some(())
    })
    .await;

    let arguments = ["--broker", &url, "--retry-delays", "100ms", "--fresh"];
    let up = Up::start(folder.path(), free_ports(), &arguments).await;
    assert_eq!(up.checkout(&[]).await.1, 0);
    let dead = run(folder.path(), &["dead", "list", "--broker", &url]).await;
    assert_contains(text(&dead.stdout), &["no dead letters"]);
    assert!(!text(&dead.stderr).contains("guest:guest"), "{}", text(&dead.stderr));
    up.stop().await;
    broker.close().await;
    testkit::delete_queues(&url, &topology()).await.unwrap();
}

fn topology() -> Topology {
    let retry_delays = vec![Duration::from_millis(100)];
    Topology { subscriptions: SUBSCRIPTIONS.to_vec(), retry_delays, history: true }
}
