//! Deliveries that come again.

use std::time::{Duration, Instant};

use broker::{Broker, Consumer, Delivery, History, Verdict};
use tokio::time::timeout;

use crate::fixture::*;

pub(crate) async fn a_retry_waits_and_keeps_bytes_key_and_history(fixture: &Fixture) {
    let broker = fixture.open().await;
    let body = b"\x00not an \xff envelope".to_vec();
    publish(&broker, &[message("order.cancelled", body.clone())]).await;
    let mut consumer = broker.consume("payment", 10);
    let mut delivery = take_one(&mut consumer).await;
    for (failures, after) in [(1, SOON), (2, LATER), (3, SOON)] {
        let history = failed(failures, i64::from(failures));
        let start = Instant::now();
        consumer.settle(vec![(delivery, Verdict::Retry { after, history: history.clone() })]).await;
        delivery = take_one(&mut consumer).await;
        let waited = start.elapsed();
        assert!(waited >= after, "it came after {waited:?} instead of {after:?}");
        assert!(waited < after + Duration::from_secs(4), "it came only after {waited:?}");
        assert_eq!(delivery.body, body);
        assert_eq!(delivery.routing_key, "order.cancelled");
        assert_eq!(delivery.history, history);
    }
    ack(&mut consumer, vec![delivery]).await;
    assert!(rest(&mut consumer).await.is_empty());
}

pub(crate) async fn a_retry_blocks_nobody(fixture: &Fixture) {
    let broker = fixture.open().await;
    let mut consumer = broker.consume("payment", 1);
    publish(&broker, &[message("order.placed", "slow")]).await;
    let slow = take_one(&mut consumer).await;
    let start = Instant::now();
    consumer.settle(vec![(slow, Verdict::Retry { after: LATER, history: failed(1, 0) })]).await;
    publish(&broker, &[message("order.placed", "quick")]).await;
    let quick = take_one(&mut consumer).await;
    assert_eq!(quick.body, b"quick");
    assert!(start.elapsed() < LATER);
    // One that waits a short while isn't held up by one that waits longer.
    consumer.settle(vec![(quick, Verdict::Retry { after: SOON, history: failed(1, 0) })]).await;
    let quick = take_one(&mut consumer).await;
    assert_eq!(quick.body, b"quick");
    assert!(start.elapsed() < LATER, "after {:?}", start.elapsed());
    ack(&mut consumer, vec![quick]).await;
    assert_eq!(drain(&mut consumer, 1).await, [b"slow"]);
}

pub(crate) async fn one_batch_takes_all_verdicts_in_any_order(fixture: &Fixture) {
    let broker = fixture.open().await;
    let mut consumer = broker.consume("payment", 100);
    publish(&broker, &orders(60)).await;
    let mut taken = take(&mut consumer, 60).await;
    taken.reverse();
    let late = taken.split_off(50);
    let settlements = taken.into_iter().enumerate().map(|(n, delivery)| {
        let history = failed(1, 0);
        let verdict = match n % 3 {
            0 => Verdict::Ack,
            1 => Verdict::Retry { after: SOON, history },
            _ => Verdict::Dead { history },
        };
        (delivery, verdict)
    });
    consumer.settle(settlements.collect()).await;
    ack(&mut consumer, late).await;
    let again = drain(&mut consumer, 17).await;
    assert_eq!(again.len(), 17);
    assert_eq!(broker.dead_letters("payment", 100).await.unwrap().len(), 16);
    assert_eq!(broker.depth("payment").await.unwrap().ready, 0);
    drop(consumer);
    // Nothing was left unanswered.
    assert!(rest(&mut broker.consume("payment", 100)).await.is_empty());
}

pub(crate) async fn an_undeclared_delay_is_still_a_retry(fixture: &Fixture) {
    let broker = fixture.open().await;
    let mut consumer = broker.consume("payment", 10);
    publish(&broker, &[message("order.placed", "again")]).await;
    let delivery = take_one(&mut consumer).await;
    let after = Duration::from_millis(400);
    consumer.settle(vec![(delivery, Verdict::Retry { after, history: failed(1, 0) })]).await;
    assert_eq!(drain(&mut consumer, 1).await, [b"again"]);
}

pub(crate) async fn an_endless_error_is_no_obstacle(fixture: &Fixture) {
    let broker = fixture.open().await;
    let mut consumer = broker.consume("payment", 10);
    publish(&broker, &[message("order.placed", "again")]).await;
    let delivery = take_one(&mut consumer).await;
    let history = History { error: Some("ü".repeat(150_000)), ..failed(1, 0) };
    consumer.settle(vec![(delivery, Verdict::Retry { after: SOON, history })]).await;
    let delivery = take_one(&mut consumer).await;
    assert_eq!(delivery.history.failures, 1);
    assert!(delivery.history.error.is_some_and(|error| error.starts_with("üü")));
}

pub(crate) async fn an_ack_of_an_older_delivery_doesnt_undo_a_retry_of_the_newest(
    fixture: &Fixture,
) {
    let broker = fixture.open().await;
    let history = failed(1, 0);
    let retry = || Verdict::Retry { after: SOON, history: history.clone() };
    for (of_first, of_second) in [(retry(), Verdict::Ack), (Verdict::Ack, retry())] {
        let (mut consumers, first, second) = deliver_twice(fixture, &broker).await;
        let start = Instant::now();
        let retried = of_second != Verdict::Ack;
        match &mut consumers[..] {
            [one] => one.settle(vec![(first, of_first), (second, of_second)]).await,
            [one, other] => {
                one.settle(vec![(first, of_first)]).await;
                other.settle(vec![(second, of_second)]).await;
            }
            _ => panic!("{} consumers", consumers.len()),
        }
        drop(consumers);
        let mut consumer = broker.consume("payment", 10);
        if retried {
            let again = take_one(&mut consumer).await;
            assert!(start.elapsed() >= SOON, "it came after {:?}", start.elapsed());
            assert_eq!((&again.body[..], &again.history), (&b"twice"[..], &history));
            ack(&mut consumer, vec![again]).await;
        }
        // Longer than a retry and a lease: what the newest delivery got is what holds.
        let more = timeout(Duration::from_secs(6), consumer.next()).await;
        assert!(more.is_err(), "{more:?}");
    }
}

/// One message that was handed out a second time while the first delivery is held, and whose they are.
async fn deliver_twice(fixture: &Fixture, broker: &Broker) -> (Vec<Consumer>, Delivery, Delivery) {
    publish(broker, &[message("order.cancelled", "twice")]).await;
    if fixture.kind == Kind::RabbitMq {
        publish(broker, &[message("order.cancelled", "other")]).await;
        let mut consumer = broker.consume("payment", 10);
        let is_other = |delivery: &Delivery| delivery.body == b"other";
        let (other, mut first): (Vec<_>, Vec<_>) =
            take(&mut consumer, 2).await.into_iter().partition(is_other);
        // What nobody will answer for costs the connection.
        drop(other);
        let (other, mut second): (Vec<_>, Vec<_>) =
            take(&mut consumer, 2).await.into_iter().partition(is_other);
        ack(&mut consumer, other).await;
        return (vec![consumer], first.remove(0), second.remove(0));
    }
    let mut one = broker.consume("payment", 1);
    let first = take_one(&mut one).await;
    let mut other = broker.consume("payment", 1);
    let second = loop {
        lapse(fixture).await;
        // Its holder may have renewed it before the other looked.
        if let Ok(mut taken) = timeout(QUIET, other.next()).await {
            break taken.remove(0);
        }
    };
    (vec![one, other], first, second)
}
