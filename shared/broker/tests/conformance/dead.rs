//! Dead letters: seen, counted, delivered again, thrown away.

use broker::{Broker, DELIVERY_LIMIT, Depth, History, Selection, Verdict, message_id};
use lapin::options::{BasicGetOptions, BasicNackOptions};

use crate::fixture::*;

pub(crate) async fn dead_letters_are_listed_counted_and_kept(fixture: &Fixture) {
    let broker = fixture.open().await;
    bury(&broker, &[message("order.cancelled", b"\x00\xff".to_vec())]).await;
    bury(&broker, &orders(4)).await;
    for look in 0..5 {
        let letters = broker.dead_letters("payment", 100).await.unwrap();
        assert_eq!(letters.len(), 5, "at look {look}");
        let binary = letters.iter().find(|letter| letter.body == b"\x00\xff").unwrap();
        assert_eq!(binary.id, message_id(b"\x00\xff"));
        assert_eq!(binary.queue, "payment");
        assert_eq!(binary.routing_key, "order.cancelled");
        assert_eq!(binary.history, failed(3, 0));
        assert_eq!(broker.depth("payment").await.unwrap(), Depth { ready: 0, dead: 5 });
    }
    // Somebody else sees the same, and the other queue has none.
    let other = fixture.open().await;
    assert_eq!(other.dead_letters("payment", 3).await.unwrap().len(), 3);
    assert!(other.dead_letters("email", 3).await.unwrap().is_empty());
}

pub(crate) async fn the_latest_failure_comes_first(fixture: &Fixture) {
    let broker = fixture.open().await;
    bury(&broker, &orders(6)).await;
    let letters = broker.dead_letters("payment", 4).await.unwrap();
    let times: Vec<_> = letters.iter().map(|letter| letter.history.last_failed_at).collect();
    let expected: Vec<_> = (2..6).rev().map(|n| failed(3, n).last_failed_at).collect();
    assert_eq!(times, expected);
}

pub(crate) async fn replay_keeps_bytes_and_id(fixture: &Fixture) {
    let broker = fixture.open().await;
    let envelope =
        br#"{"specversion":"1.0","id":"0198a000-0000-7000-8000-00000000abcd","source":"/order",
        "type":"t","subject":"s","time":"2026-01-01T00:00:00Z","datacontenttype":"application/json",
        "dataschema":"","correlationid":"c","partitionkey":"p","data":{}}"#;
    bury(&broker, &[message("order.placed", envelope.to_vec())]).await;
    let mut consumer = broker.consume("payment", 10);
    for replays in 1..=3 {
        let replayed = broker.replay("payment", &Selection::All).await.unwrap();
        assert_eq!(replayed.len(), 1);
        assert_eq!(replayed[0].id.to_string(), "0198a000-0000-7000-8000-00000000abcd");
        assert_eq!(replayed[0].history.replays, replays - 1);
        let delivery = take_one(&mut consumer).await;
        assert_eq!(delivery.body, envelope);
        assert_eq!(delivery.routing_key, "order.placed");
        let last = failed(3, 0);
        let expected = History {
            replays,
            error: last.error,
            traceparent: last.traceparent,
            ..Default::default()
        };
        assert_eq!(delivery.history, expected);
        assert_eq!(broker.depth("payment").await.unwrap().dead, 0);
        let history = History { replays, ..failed(3, 0) };
        consumer.settle(vec![(delivery, Verdict::Dead { history })]).await;
    }
    // Only its own queue has it again.
    assert_eq!(broker.depth("email").await.unwrap().ready, 1);
}

pub(crate) async fn only_what_was_selected_is_replayed_or_purged(fixture: &Fixture) {
    let broker = fixture.open().await;
    bury(&broker, &orders(6)).await;
    let id = |n: usize| message_id(format!("order {n}").as_bytes());
    let purged =
        broker.purge("payment", &Selection::Ids(vec![id(4), id(1), id(99)])).await.unwrap();
    assert_eq!(ids(&purged), sorted(vec![id(1), id(4)]));
    let replayed = broker.replay("payment", &Selection::Ids(vec![id(3)])).await.unwrap();
    assert_eq!(ids(&replayed), [id(3)]);
    assert_eq!(drain(&mut broker.consume("payment", 10), 1).await, [b"order 3"]);
    let left = broker.dead_letters("payment", 10).await.unwrap();
    assert_eq!(ids(&left), sorted(vec![id(0), id(2), id(5)]));
    assert!(broker.replay("payment", &Selection::Ids(vec![])).await.unwrap().is_empty());
    assert_eq!(broker.purge("payment", &Selection::All).await.unwrap().len(), 3);
    assert_eq!(broker.depth("payment").await.unwrap(), Depth { ready: 0, dead: 0 });
    assert!(broker.replay("payment", &Selection::All).await.unwrap().is_empty());
}

pub(crate) async fn what_is_never_answered_ends_as_a_dead_letter(fixture: &Fixture) {
    let broker = fixture.open().await;
    publish(&broker, &[message("order.cancelled", "killer")]).await;
    leave_unanswered(fixture, &broker).await;
    let mut consumer = broker.consume("payment", 10);
    assert!(rest(&mut consumer).await.is_empty());
    let letters = loop {
        let letters = broker.dead_letters("payment", 10).await.unwrap();
        if !letters.is_empty() {
            break letters;
        }
        tokio::time::sleep(QUIET).await;
    };
    assert_eq!((letters.len(), &letters[0].body[..]), (1, &b"killer"[..]));
    assert_eq!(letters[0].routing_key, "order.cancelled");
    assert_eq!(letters[0].queue, "payment");
    let history = &letters[0].history;
    assert!(history.error.as_ref().unwrap().contains("more than 50 times without an answer"));
    let age = contracts::Timestamp::now().since(history.last_failed_at.unwrap());
    assert!(age < ARRIVAL * 2, "it failed {age:?} ago");
    broker.replay("payment", &Selection::All).await.unwrap();
    let delivery = take_one(&mut consumer).await;
    assert_eq!(delivery.routing_key, "order.cancelled");
    assert_eq!(delivery.history.replays, 1);
    // Killed by the limit once, it isn't taken for that when it fails in another way.
    consumer.settle(vec![(delivery, Verdict::Dead { history: failed(1, 5) })]).await;
    let letters = broker.dead_letters("payment", 10).await.unwrap();
    assert_eq!(letters[0].history, failed(1, 5));
}

/// As many deliveries without an answer as a message may have. Fifty killed readers would take too long.
async fn leave_unanswered(fixture: &Fixture, broker: &Broker) {
    if fixture.kind != Kind::RabbitMq {
        let db = store::Db::open(&fixture.url, store::Options::default()).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        let limit = i64::from(DELIVERY_LIMIT);
        tx.query("UPDATE deliveries SET times = $1").bind(limit).execute().await.unwrap();
        tx.commit().await.unwrap();
        return;
    }
    let (_connection, channel) = channel(&fixture.url).await;
    let queue = format!("{}.payment", fixture.namespace());
    for delivery in 0..=DELIVERY_LIMIT {
        let message = channel.basic_get(queue.as_str().into(), BasicGetOptions::default()).await;
        let message = message.unwrap().unwrap_or_else(|| panic!("gone at delivery {delivery}"));
        #[expect(clippy::disallowed_methods, reason = "the loop that the limit is there to end")]
        message.nack(BasicNackOptions { requeue: true, multiple: false }).await.unwrap();
    }
    assert_eq!(broker.depth("payment").await.unwrap().ready, 0);
}

fn ids(letters: &[broker::DeadLetter]) -> Vec<uuid::Uuid> {
    sorted(letters.iter().map(|letter| letter.id).collect())
}

fn sorted(mut ids: Vec<uuid::Uuid>) -> Vec<uuid::Uuid> {
    ids.sort();
    ids
}
