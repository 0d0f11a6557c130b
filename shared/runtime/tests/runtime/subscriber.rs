//! From the broker through a handler.

use std::{collections::HashMap, sync::Arc, time::Duration};

use broker::{Message, Selection};
use store::Options;
use testkit::wait::within;

use crate::{
    ground::{Ground, QUEUE, Recorder, Trouble},
    on_both,
};

on_both! {
    a_message_that_comes_three_times_is_applied_once,
    one_that_comes_again_while_it_fails_is_not_lost,
    one_bad_message_costs_only_itself,
    an_attempt_that_may_succeed_later_is_repeated,
    when_no_attempt_is_left_it_is_a_dead_letter,
    a_panic_is_one_messages_failure,
    what_cannot_be_read_is_a_dead_letter_at_once,
    calls_run_side_by_side,
}

async fn a_message_that_comes_three_times_is_applied_once(ground: Ground) {
    ground.publish(5).await;
    let rows = ground.db.lease_outbox(10).await.unwrap().rows;
    for _ in 0..3 {
        let batch: Vec<Message> = rows
            .iter()
            .map(|row| Message {
                exchange: row.exchange,
                routing_key: row.routing_key.clone(),
                body: row.body.clone(),
            })
            .collect();
        ground.broker.publish(&batch).await;
    }
    let handler = Recorder::default();
    let calls = handler.calls.clone();
    let handling = ground.handle(handler);
    ground.comes_to(5, 0).await;
    assert!(calls.lock().unwrap().values().all(|times| *times == 1), "{calls:?}");
    // Whether it comes after the first was applied or while that is being handled.
    ground.attempts("duplicate", 10).await;
    handling.stop().await;
    ground.clear().await;
}

async fn one_that_comes_again_while_it_fails_is_not_lost(ground: Ground) {
    let ids = ground.publish(1).await;
    let row = ground.db.lease_outbox(1).await.unwrap().rows.remove(0);
    let copy = Message { exchange: row.exchange, routing_key: row.routing_key, body: row.body };
    ground.broker.publish(&[copy.clone(), copy.clone(), copy]).await;
    let troubles = HashMap::from([(ids[0], Trouble::Call(1))]);
    let handling = ground.handle(Recorder { troubles, ..Recorder::default() });
    let applied = ground.comes_to(1, 0).await;
    assert_eq!(applied, [(ids[0].to_string(), 2)]);
    handling.stop().await;
    ground.clear().await;
}

async fn one_bad_message_costs_only_itself(ground: Ground) {
    let ids = ground.publish(20).await;
    ground.relay().drain().await.unwrap();
    let troubles = HashMap::from([(ids[7], Trouble::Refused)]);
    let handling = ground.handle(Recorder { troubles, ..Recorder::default() });
    let applied = ground.comes_to(19, 1).await;
    assert!(applied.iter().all(|(id, _)| *id != ids[7].to_string()));
    let dead = ground.broker.dead_letters(QUEUE, 10).await.unwrap();
    assert_eq!(dead[0].history.failures, 1);
    assert_eq!(dead[0].history.error.as_deref(), Some("a rule refuses it"));
    handling.stop().await;
    ground.clear().await;
}

async fn an_attempt_that_may_succeed_later_is_repeated(ground: Ground) {
    let ids = ground.publish(2).await;
    ground.relay().drain().await.unwrap();
    let troubles = HashMap::from([(ids[0], Trouble::Call(2))]);
    let handling = ground.handle(Recorder { troubles, ..Recorder::default() });
    let applied: HashMap<String, i64> = ground.comes_to(2, 0).await.into_iter().collect();
    assert_eq!((applied[&ids[0].to_string()], applied[&ids[1].to_string()]), (3, 1));
    handling.stop().await;
    ground.clear().await;
}

async fn when_no_attempt_is_left_it_is_a_dead_letter(ground: Ground) {
    let ids = ground.publish(1).await;
    ground.relay().drain().await.unwrap();
    let handler =
        Recorder { troubles: HashMap::from([(ids[0], Trouble::Call(99))]), ..Recorder::default() };
    let calls = handler.calls.clone();
    let handling = ground.handle(handler);
    ground.comes_to(0, 1).await;
    handling.stop().await;
    assert_eq!(calls.lock().unwrap()[&ids[0]], 3, "the first attempt and one for each delay");
    let dead = ground.broker.dead_letters(QUEUE, 10).await.unwrap().remove(0);
    assert_eq!(dead.history.failures, 3);
    assert_eq!(dead.history.error.as_deref(), Some("asking outside: not now"));
    assert!(dead.history.first_failed_at < dead.history.last_failed_at);

    // The cause is gone: replayed, it is applied, and its receipt says that it was replayed.
    let handling = ground.handle(Recorder::default());
    ground.broker.replay(QUEUE, &Selection::Ids(vec![dead.id])).await.unwrap();
    ground.comes_to(1, 0).await;
    assert_eq!(ground.db.receipt("/order", dead.id).await.unwrap(), Some((1, 1)));
    handling.stop().await;
    ground.clear().await;
}

/// It answers all the while: after a failover that made it a standby.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_database_does_not_take_goes_back_until_it_does() {
    let Some(mut ground) = Ground::servers().await else { return };
    ground.plumbing.patience = Duration::from_secs(1);
    ground.publish(5).await;
    ground.relay().drain().await.unwrap();
    ground.read_only("on").await;
    let handling = ground.handle(Recorder::default());
    ground.comes_to(0, 0).await;
    within(Duration::from_secs(20), "they go back", || async {
        let ready = ground.broker.depth(QUEUE).await.ok()?.ready;
        let disconnected = ground.metrics.render().contains("shop_consumer_connected 0\n");
        (ready == 5 && disconnected).then_some(())
    })
    .await;
    ground.read_only("off").await;
    ground.comes_to(5, 0).await;
    handling.stop().await;
    ground.clear().await;
}

/// The database is fine, but these messages can't be applied: they wait in the broker, at the cost of no attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_wait_for_a_lock_wait_in_the_broker() {
    let Some(mut ground) = Ground::servers().await else { return };
    ground.plumbing.patience = Duration::from_secs(1);
    let ids = ground.publish(2).await;
    ground.relay().drain().await.unwrap();
    let options = Options { statement_timeout: Duration::from_secs(60), ..Options::default() };
    let db = ground.open_database(options).await;
    let mut holder = db.begin().await.unwrap();
    holder.query("LOCK TABLE applied IN SHARE MODE").execute().await.unwrap();
    let handling = ground.handle(Recorder::default());
    ground.attempts("retried", 2).await;
    drop(holder);
    let applied = ground.comes_to(2, 0).await;
    let mut expected: Vec<_> = ids.iter().map(|id| (id.to_string(), 1)).collect();
    expected.sort();
    assert_eq!(applied, expected, "each at its first attempt");
    handling.stop().await;
    ground.clear().await;
}

async fn a_panic_is_one_messages_failure(ground: Ground) {
    let ids = ground.publish(4).await;
    ground.relay().drain().await.unwrap();
    let troubles = HashMap::from([(ids[1], Trouble::Panic), (ids[2], Trouble::PanicInApply)]);
    let handling = ground.handle(Recorder { troubles, ..Recorder::default() });
    ground.comes_to(2, 2).await;
    handling.stop().await;
    ground.clear().await;
}

async fn what_cannot_be_read_is_a_dead_letter_at_once(ground: Ground) {
    ground.publish(1).await;
    let good = ground.db.lease_outbox(1).await.unwrap().rows.remove(0);
    let text = String::from_utf8(good.body.clone()).unwrap();
    let bodies = [
        b"\xff\x00 no text".to_vec(),
        b"{}".to_vec(),
        text.replace("\"1.0\"", "\"0.3\"").into_bytes(),
        text.replace("cancelled.v1", "cancelled.v2").into_bytes(),
        text.replace("\"customer\"", "\"client\"").into_bytes(),
        good.body,
    ];
    let batch: Vec<Message> = bodies
        .into_iter()
        .map(|body| Message {
            exchange: good.exchange,
            routing_key: good.routing_key.clone(),
            body,
        })
        .collect();
    ground.broker.publish(&batch).await;
    let handling = ground.handle(Recorder::default());
    ground.comes_to(1, 5).await;
    handling.stop().await;
    let dead = ground.broker.dead_letters(QUEUE, 10).await.unwrap();
    let reasons: Vec<&str> =
        dead.iter().map(|letter| letter.history.error.as_deref().unwrap()).collect();
    for reason in [
        "not a CloudEvents 1.0",
        "version \"0.3\"",
        "unknown message type",
        "doesn't have its form",
    ] {
        assert!(reasons.iter().any(|given| given.contains(reason)), "{reason}: {reasons:?}");
    }
    assert!(dead.iter().all(|letter| letter.history.failures == 1));
    ground.clear().await;
}

async fn calls_run_side_by_side(ground: Ground) {
    ground.publish(16).await;
    ground.relay().drain().await.unwrap();
    let together = Some(Arc::new(tokio::sync::Barrier::new(16)));
    let handling = ground.handle(Recorder { together, ..Recorder::default() });
    ground.comes_to(16, 0).await;
    handling.stop().await;
    ground.clear().await;
}
