//! From the outbox to the broker.

use broker::{Broker, Topology};

use crate::{
    ground::{Ground, QUEUE},
    on_both,
};

on_both! {
    what_was_committed_is_sent_once_and_gone,
    what_nobody_listens_to_stays,
    what_cannot_be_read_stays_and_holds_up_no_other,
    what_a_broker_that_is_away_did_not_take_stays,
    relays_share_the_work,
}

async fn what_was_committed_is_sent_once_and_gone(ground: Ground) {
    ground.publish(1_200).await;
    assert_eq!(ground.relay().drain().await.unwrap(), 1_200);
    assert_eq!(ground.relay().drain().await.unwrap(), 0);
    assert_eq!(ground.db.outbox_backlog().await.unwrap().rows, 0);
    assert_eq!(ground.broker.depth(QUEUE).await.unwrap().ready, 1_200);
    ground.clear().await;
}

/// More of them than fit into a batch: they must not hold the others up.
async fn what_nobody_listens_to_stays(ground: Ground) {
    ground.publish(600).await;
    let mut tx = ground.db.begin().await.unwrap();
    tx.query("UPDATE outbox SET routing_key = 'order.forgotten'").execute().await.unwrap();
    tx.commit().await.unwrap();
    ground.publish(1).await;
    assert_eq!(ground.relay().drain().await.unwrap(), 1);
    assert_eq!(ground.db.outbox_backlog().await.unwrap().rows, 600);
    assert_eq!(ground.broker.depth(QUEUE).await.unwrap().ready, 1);
    ground.clear().await;
}

/// As of a newer version that was rolled back.
async fn what_cannot_be_read_stays_and_holds_up_no_other(ground: Ground) {
    ground.publish(600).await;
    let mut tx = ground.db.begin().await.unwrap();
    let foreign =
        "UPDATE outbox SET exchange = 'rumours' WHERE seq IN (SELECT min(seq) FROM outbox)";
    tx.query(foreign).execute().await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(ground.relay().drain().await.unwrap(), 599);
    let metrics = ground.metrics.render();
    assert!(metrics.contains("shop_unreadable_rows{table=\"outbox\"} 1\n"), "{metrics}");
    ground.clear().await;
}

async fn what_a_broker_that_is_away_did_not_take_stays(ground: Ground) {
    ground.publish(3).await;
    let nowhere = Broker::open("amqp://127.0.0.1:1/%2f", Topology::default()).await.unwrap();
    assert!(ground.relay_to(nowhere).drain().await.is_err());
    assert_eq!(ground.db.outbox_backlog().await.unwrap().rows, 3);
    assert_eq!(
        ground.relay().drain().await.unwrap(),
        3,
        "free at once, not only when the lease ends"
    );
    ground.clear().await;
}

async fn relays_share_the_work(ground: Ground) {
    ground.publish(2_000).await;
    let (one, two) = (ground.relay(), ground.relay());
    let (sent_by_one, sent_by_two) = tokio::join!(one.drain(), two.drain());
    assert_eq!(sent_by_one.unwrap() + sent_by_two.unwrap(), 2_000);
    assert_eq!(ground.broker.depth(QUEUE).await.unwrap().ready, 2_000);
    ground.clear().await;
}

/// More of them than fit into a batch, and the broker closes the channel at each.
#[tokio::test]
async fn what_the_broker_refuses_stays_and_holds_up_no_other() {
    let Some(server) = testkit::own_rabbitmq().await else { return };
    let ground = Ground::embedded().await;
    let definitions =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/rabbitmq/definitions.json");
    server.ctl(&["import_definitions", definitions]).await;
    server.ctl(&["change_password", "payment", "secret"]).await;
    let url = format!("{}?declare=false", server.url.replace("guest:guest", "payment:secret"));
    let payment = Broker::open(&url, Topology::default()).await.unwrap();

    // To announce cancellations is the order service's.
    ground.publish(600).await;
    ground.publish(2).await;
    let mut tx = ground.db.begin().await.unwrap();
    let own = "UPDATE outbox SET routing_key = 'payment.taken' WHERE seq IN (SELECT max(seq) FROM outbox UNION SELECT 300)";
    tx.query(own).execute().await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(ground.relay_to(payment).drain().await.unwrap(), 2);
    assert_eq!(ground.db.outbox_backlog().await.unwrap().rows, 600);
    ground.clear().await;
}
