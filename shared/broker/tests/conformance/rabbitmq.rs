//! What only RabbitMQ can do to its clients: restart, crash, delete a queue, raise an alarm, refuse a user.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use broker::{Broker, Consumer, Depth, Error, Outcome, Selection, Verdict};
use contracts::Timestamp;
use lapin::options::QueueDeleteOptions;
use tokio::time::{sleep, timeout};

use crate::{fixture::*, history::remembering};

/// Publishes as the outbox's relay does: again and again what isn't confirmed.
async fn relay(broker: Broker, from: usize, to: usize) {
    let mut outbox: Vec<_> =
        (from..to).map(|n| message("order.placed", format!("order {n}"))).collect();
    while !outbox.is_empty() {
        let size = outbox.len().min(20);
        let outcomes = broker.publish(&outbox[..size]).await;
        let mut outcomes = outcomes.into_iter().chain(std::iter::repeat(Outcome::Unroutable));
        outbox.retain(|_| outcomes.next() != Some(Outcome::Confirmed));
        sleep(Duration::from_millis(10)).await;
    }
}

async fn read_all(broker: &Broker, seen: &mut HashSet<Vec<u8>>, count: usize) {
    let mut consumer = broker.consume("payment", 50);
    let start = Instant::now();
    while seen.len() < count {
        assert!(start.elapsed() < Duration::from_secs(60), "{} of {count} came", seen.len());
        let Ok(taken) = timeout(ARRIVAL, consumer.next()).await else { continue };
        seen.extend(taken.iter().map(|delivery| delivery.body.clone()));
        ack(&mut consumer, taken).await;
    }
}

/// Waits until a consumer is connected again.
async fn is_back(consumer: &Consumer) {
    let deadline = Instant::now() + ARRIVAL;
    while !consumer.is_connected() {
        assert!(Instant::now() < deadline, "the consumer is not back");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_broker_restarts_or_crashes() {
    let Some(server) = testkit::own_rabbitmq().await else { return };
    let broker = Broker::open(&server.url, topology()).await.unwrap();
    let mut seen = HashSet::new();
    for round in 0..2 {
        let relaying = tokio::spawn(relay(broker.clone(), round * 3_000, (round + 1) * 3_000));
        let trouble = async {
            sleep(Duration::from_millis(500)).await;
            if round == 0 {
                server.restart().await;
            } else {
                server.kill().await;
                server.start().await;
            }
        };
        let reading = read_all(&broker, &mut seen, (round + 1) * 3_000);
        tokio::join!(trouble, reading);
        relaying.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_is_an_outcome_and_what_it_had_out_comes_again() {
    let Some(server) = testkit::own_rabbitmq().await else { return };
    let broker = Broker::open(&server.url, topology()).await.unwrap();
    publish(&broker, &orders(4)).await;
    let mut consumer = broker.consume("payment", 10);
    let mut stale = take(&mut consumer, 4).await;
    server.kill().await;

    let outcomes = broker.publish(&orders(2)).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Failed(_))), "{outcomes:?}");
    assert!(matches!(broker.depth("payment").await, Err(Error::Unavailable(_))));
    assert!(!consumer.is_connected());
    // Answers of a connection that is gone are worth nothing, and break nothing: while the broker is away, and after.
    let later = stale.split_off(2);
    let verdicts = [Verdict::Ack, Verdict::Dead { history: failed(1, 0) }];
    consumer.settle(stale.into_iter().zip(verdicts.clone()).collect()).await;
    server.start().await;
    let again = take(&mut consumer, 4).await;
    assert!(consumer.is_connected());
    consumer.settle(later.into_iter().zip(verdicts).collect()).await;
    assert_eq!(again.len(), 4);
    ack(&mut consumer, again).await;
    assert!(rest(&mut consumer).await.is_empty());
    let depth = broker.depth("payment").await.unwrap();
    assert_eq!((depth.ready, depth.dead), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_stops_publishers_only_and_a_refusal_names_what_was_refused() {
    let Some(server) = testkit::own_rabbitmq().await else { return };
    let broker = Broker::open(&server.url, topology()).await.unwrap();
    publish(&broker, &orders(3)).await;

    server.ctl(&["set_vm_memory_high_watermark", "0.00001"]).await;
    let start = Instant::now();
    let outcomes = broker.publish(&orders(2)).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Failed(_))), "{outcomes:?}");
    assert!(start.elapsed() < Duration::from_secs(25));
    assert_eq!(broker.depth("email").await.unwrap().ready, 3);
    let mut consumer = broker.consume("payment", 10);
    let mut taken = take(&mut consumer, 3).await;
    let failing = taken.remove(0);
    let body = failing.body.clone();
    // What must be published to go on waits for that, and holds up nobody.
    let start = Instant::now();
    let retry = Verdict::Retry { after: SOON, history: failed(1, 0) };
    consumer.settle(vec![(failing, retry)]).await;
    ack(&mut consumer, taken).await;
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    sleep(Duration::from_secs(1)).await;
    assert!(consumer.is_connected());
    server.ctl(&["set_vm_memory_high_watermark", "0.6"]).await;
    let mut came_again = false;
    while !came_again {
        // What was published during the alarm may arrive too.
        let taken = take(&mut consumer, 1).await;
        came_again = taken.iter().any(|again| again.history.failures == 1 && again.body == body);
        ack(&mut consumer, taken).await;
    }
    publish(&broker, &orders(2)).await;
    // What was under way when the alarm came may have arrived too: at least once.
    assert!(take(&mut consumer, 2).await.len() >= 2);

    server.ctl(&["add_user", "guard", "secret"]).await;
    let url = server.url.replace("guest:guest", "guard:secret");
    let guarded = Broker::open(&url, topology()).await.unwrap();
    assert!(matches!(guarded.declare().await, Err(Error::Refused(_))), "no permission at all");
    server.ctl(&["set_permissions", "guard", ".*", "^(payment|email).*", ".*"]).await;
    guarded.declare().await.unwrap();
    let outcomes = guarded.publish(&orders(1)).await;
    let Outcome::Refused(reason) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert!(reason.contains("refused") && reason.contains("'shop.events'"), "{reason}");
    server.ctl(&["set_permissions", "guard", "^email", ".*", ".*"]).await;
    let Err(Error::Refused(reason)) = guarded.declare().await else { panic!("it was declared") };
    assert!(reason.contains("'shop.events'") && reason.contains("guard"), "{reason}");
    let wrong = Broker::open(&url.replace("secret", "wrong"), topology()).await.unwrap();
    assert!(matches!(wrong.declare().await, Err(Error::Refused(_))), "a wrong password");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_queue_is_declared_again() {
    run(Kind::RabbitMq, async |fixture| {
        let broker = fixture.open().await;
        let mut consumer = broker.consume("payment", 10);
        publish(&broker, &orders(2)).await;
        let stale = take(&mut consumer, 2).await;
        let (_connection, channel) = channel(&fixture.url).await;
        let queue = format!("{}.payment", fixture.namespace());
        channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
        while consumer.is_connected() {
            sleep(Duration::from_millis(10)).await;
        }
        ack(&mut consumer, stale).await;
        is_back(&consumer).await;
        publish(&broker, &[message("order.cancelled", "after")]).await;
        assert_eq!(drain(&mut consumer, 1).await, [b"after"]);
    })
    .await;
}

/// As after a crash right after the history was declared for the first time: RabbitMQ has forgotten what runs it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_is_down_stops_nobody() {
    let Some(server) = testkit::own_rabbitmq().await else { return };
    let broker = Broker::open(&server.url, remembering(true)).await.unwrap();
    let mut consumer = broker.consume("payment", 10);
    publish(&broker, &orders(1)).await;
    assert_eq!(drain(&mut consumer, 1).await.len(), 1);
    let forget = "#{names := #{directory_rev := Names}} = ra_system:fetch(coordination), \
                  ok = dets:delete(Names, rabbit_stream_coordinator).";
    server.ctl(&["eval", forget]).await;
    server.kill().await;
    server.start().await;

    is_back(&consumer).await;
    publish(&broker, &orders(1)).await;
    assert_eq!(drain(&mut consumer, 1).await.len(), 1);
    let recalled = broker.recall("later", Timestamp::now()).await;
    let Err(Error::Refused(reason)) = recalled else { panic!("{recalled:?}") };
    assert!(reason.contains("shop.history"), "{reason}");
}

/// On a server of its own: RabbitMQ, when a queue that dead-letters at least once is deleted at the moment in which it starts,
/// can lose what such queues need, on all of the node and until that restarts (rabbitmq-server issue 16652). So it is deleted
/// only when it has worked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_deleted_while_it_delivers_is_declared_again() {
    let Some(server) = testkit::own_rabbitmq().await else { return };
    let broker = Broker::open(&server.url, topology()).await.unwrap();
    let mut consumer = broker.consume("payment", 1_000);
    publish(&broker, &orders(1)).await;
    assert_eq!(drain(&mut consumer, 1).await.len(), 1);
    let (_connection, channel) = channel(&server.url).await;
    for round in 0..3_u64 {
        let publishing = async {
            broker.publish(&orders(200)).await;
        };
        let deleting = async {
            sleep(Duration::from_millis(5 * round)).await;
            let options = QueueDeleteOptions::default();
            channel.queue_delete("payment".into(), options).await.unwrap();
        };
        tokio::join!(publishing, deleting);
        // A consumer that missed its end would stay silent.
        let deadline = Instant::now() + ARRIVAL * 2;
        let mark = format!("after {round}");
        loop {
            assert!(Instant::now() < deadline, "silent after round {round}");
            broker.publish(&[message("order.cancelled", mark.as_str())]).await;
            let Ok(taken) = timeout(QUIET, consumer.next()).await else { continue };
            let came = taken.iter().any(|delivery| delivery.body == mark.as_bytes());
            ack(&mut consumer, taken).await;
            if came {
                break;
            }
        }
        assert!(consumer.is_connected());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_number_of_dead_letters_is_replayed() {
    run(Kind::RabbitMq, async |fixture| {
        let broker = fixture.open().await;
        broker.declare().await.unwrap();
        let (_connection, channel) = channel(&fixture.url).await;
        let dead = format!("{}.payment.dead", fixture.namespace());
        let count = 1_050; // more than a chunk
        for n in 0..count {
            let (options, properties) = Default::default();
            let (key, body) = (dead.as_str().into(), format!("order {n}"));
            channel
                .basic_publish("".into(), key, options, body.as_bytes(), properties)
                .await
                .unwrap();
        }
        while broker.depth("payment").await.unwrap().dead < count {
            sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(broker.replay("payment", &Selection::All).await.unwrap().len(), 1_050);
        // An ack has no answer, so the last ones may still be on their way.
        while broker.depth("payment").await.unwrap() != (Depth { ready: count, dead: 0 }) {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// Each is acked by itself, between others that stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_number_of_ids_is_purged() {
    run(Kind::RabbitMq, async |fixture| {
        let broker = fixture.open().await;
        for hundred in 0..2 {
            let orders: Vec<_> =
                (0..100).map(|n| message("order.placed", format!("{hundred} {n}"))).collect();
            bury(&broker, &orders).await;
        }
        let letters = broker.dead_letters("payment", 200).await.unwrap();
        let ids: Vec<_> = letters.iter().step_by(2).map(|letter| letter.id).collect();
        let purged = broker.purge("payment", &Selection::Ids(ids.clone())).await.unwrap();
        assert_eq!(purged.len(), 100);
        let left = broker.dead_letters("payment", 200).await.unwrap();
        assert_eq!(left.len(), 100);
        assert!(left.iter().all(|letter| !ids.contains(&letter.id)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_that_cant_be_used_says_so() {
    for url in ["amqp://localhost?namespace=a/b", "amqp://local host", "kafka://localhost"] {
        assert!(matches!(Broker::open(url, topology()).await, Err(Error::Url(_))), "{url}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_are_apart() {
    run(Kind::RabbitMq, async |fixture| {
        run(Kind::RabbitMq, async |other| {
            let (one, other) = (fixture.open().await, other.open().await);
            other.declare().await.unwrap();
            publish(&one, &orders(2)).await;
            assert_eq!(other.depth("payment").await.unwrap().ready, 0);
            assert_eq!(drain(&mut one.consume("payment", 10), 2).await.len(), 2);
        })
        .await;
    })
    .await;
}
