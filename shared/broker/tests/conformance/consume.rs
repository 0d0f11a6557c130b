//! From a queue to its consumers.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use broker::Depth;
use futures_util::FutureExt as _;
use tokio::{
    sync::Barrier,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::fixture::*;

pub(crate) async fn consumers_of_a_queue_share_it(fixture: &Fixture) {
    let (one, other) = (fixture.open().await, fixture.open().await);
    let batch = orders(300);
    publish(&one, &batch).await;
    let consumers =
        [one.consume("payment", 10), one.consume("payment", 10), other.consume("payment", 10)];
    // The prefetch leaves enough for the one that connects last, if the others don't answer before that.
    let all_have_some = Arc::new(Barrier::new(consumers.len()));
    let mut readers = JoinSet::new();
    for mut consumer in consumers {
        let all_have_some = all_have_some.clone();
        readers.spawn(async move {
            let first = take(&mut consumer, 1).await;
            all_have_some.wait().await;
            let mut bodies: Vec<_> = first.iter().map(|delivery| delivery.body.clone()).collect();
            ack(&mut consumer, first).await;
            while let Ok(taken) = timeout(Duration::from_secs(2), consumer.next()).await {
                bodies.extend(taken.iter().map(|delivery| delivery.body.clone()));
                ack(&mut consumer, taken).await;
            }
            bodies
        });
    }
    let mut all: Vec<_> = readers.join_all().await.concat();
    all.sort();
    assert_eq!(all, bodies(&batch));
}

pub(crate) async fn prefetch_is_a_bound(fixture: &Fixture) {
    let broker = fixture.open().await;
    publish(&broker, &orders(20)).await;
    let mut consumer = broker.consume("payment", 7);
    let mut taken = take(&mut consumer, 7).await;
    assert!(rest(&mut consumer).await.is_empty());
    assert_eq!(taken.len(), 7);
    ack(&mut consumer, taken.drain(..3).collect()).await;
    let more = take(&mut consumer, 3).await;
    assert!(rest(&mut consumer).await.is_empty());
    assert_eq!(more.len(), 3);
}

pub(crate) async fn what_a_dropped_consumer_had_comes_back(fixture: &Fixture) {
    let broker = fixture.open().await;
    let batch = orders(8);
    publish(&broker, &batch).await;
    let mut consumer = broker.consume("payment", 100);
    let mut taken = take(&mut consumer, 8).await;
    let answered = taken.split_off(5);
    let unanswered =
        bodies(&batch).into_iter().filter(|body| answered.iter().all(|d| d.body != *body));
    let unanswered: Vec<_> = unanswered.collect();
    ack(&mut consumer, answered).await;
    drop(consumer);
    assert_eq!(drain(&mut fixture.open().await.consume("payment", 100), 5).await, unanswered);
    drop(taken);
}

pub(crate) async fn what_is_dropped_without_an_answer_comes_again(fixture: &Fixture) {
    let broker = fixture.open().await;
    publish(&broker, &orders(3)).await;
    // With every delivery out, the consumer would never get another if one stayed out.
    let mut consumer = broker.consume("payment", 3);
    let mut taken = take(&mut consumer, 3).await;
    let kept = taken.split_off(1);
    drop(taken);
    let again = take(&mut consumer, 1).await;
    assert!(again.iter().any(|delivery| kept.iter().all(|other| other.body != delivery.body)));
    ack(&mut consumer, kept).await;
    ack(&mut consumer, again).await;
    // Those that were in the same boat may come once more, and then no more.
    let more = rest(&mut consumer).await;
    ack(&mut consumer, more).await;
    assert!(rest(&mut consumer).await.is_empty());
    assert_eq!(broker.depth("payment").await.unwrap().ready, 0);
}

pub(crate) async fn next_can_be_dropped_at_any_moment(fixture: &Fixture) {
    let broker = fixture.open().await;
    let mut consumer = broker.consume("payment", 16);
    let publisher = broker.clone();
    let publishing = tokio::spawn(async move {
        for batch in orders(400).chunks(10) {
            publish(&publisher, batch).await;
            sleep(Duration::from_millis(5)).await;
        }
    });
    let (mut seen, start, mut dropped) = (HashSet::new(), Instant::now(), 0_u64);
    while seen.len() < 400 {
        assert!(start.elapsed() < ARRIVAL * 2, "{} of 400 came", seen.len());
        // Dropped after its first poll, or a little later.
        let taken = match dropped % 2 {
            0 => consumer.next().now_or_never(),
            _ => timeout(Duration::from_micros(500), consumer.next()).await.ok(),
        };
        let Some(taken) = taken else {
            dropped += 1;
            sleep(Duration::from_micros(200)).await;
            continue;
        };
        for delivery in &taken {
            assert!(seen.insert(delivery.body.clone()), "each once");
        }
        ack(&mut consumer, taken).await;
    }
    assert!(dropped > 20, "it was dropped {dropped} times");
    publishing.await.unwrap();
}

pub(crate) async fn a_busy_reader_keeps_what_it_has(fixture: &Fixture) {
    let broker = fixture.open().await;
    let mut busy = broker.consume("payment", 50);
    let mut taken = Vec::new();
    // Some in the reader's hands, some fetched for it and not yet asked for.
    for batch in orders(30).chunks(10) {
        publish(&broker, batch).await;
        if taken.is_empty() {
            taken = take(&mut busy, 1).await;
        }
        sleep(Duration::from_millis(200)).await;
    }
    let mut idle = fixture.open().await.consume("payment", 50);
    // Longer than a lease.
    let stolen = timeout(Duration::from_secs(8), idle.next()).await;
    assert!(stolen.is_err(), "{} were delivered to another meanwhile", stolen.unwrap().len());
    taken.extend(take(&mut busy, 30 - taken.len()).await);
    assert_eq!(taken.len(), 30);
    ack(&mut busy, taken).await;
    assert!(rest(&mut idle).await.is_empty());
}

pub(crate) async fn a_lapsed_lease_costs_its_holder_nothing(fixture: &Fixture) {
    if fixture.kind == Kind::RabbitMq {
        return; // It has no leases.
    }
    let broker = fixture.open().await;
    publish(&broker, &orders(3)).await;
    let mut consumer = broker.consume("payment", 100);
    let mut taken = take(&mut consumer, 3).await;
    for _ in 0..3 {
        lapse(fixture).await;
        assert!(rest(&mut consumer).await.is_empty(), "it is out already");
    }
    // The answers still hold, and so do the leases.
    ack(&mut consumer, taken.split_off(1)).await;
    let mut other = broker.consume("payment", 100);
    assert!(timeout(Duration::from_secs(6), other.next()).await.is_err());
    ack(&mut consumer, taken).await;
    lapse(fixture).await;
    assert!(rest(&mut consumer).await.is_empty());
    assert!(rest(&mut other).await.is_empty());
}

pub(crate) async fn depth_counts_what_waits(fixture: &Fixture) {
    let broker = fixture.open().await;
    assert_eq!(broker.depth("payment").await.unwrap(), Depth { ready: 0, dead: 0 });
    publish(&broker, &orders(5)).await;
    assert_eq!(broker.depth("payment").await.unwrap(), Depth { ready: 5, dead: 0 });
    assert_eq!(broker.depth("email").await.unwrap(), Depth { ready: 5, dead: 0 });
    drain(&mut broker.consume("payment", 2), 5).await;
    assert_eq!(broker.depth("payment").await.unwrap(), Depth { ready: 0, dead: 0 });
}
