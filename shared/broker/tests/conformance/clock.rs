//! A jobs table whose machine's clock was set back by an hour: what waits, waits no longer for that.

use std::time::Duration;

use broker::Verdict;

use crate::fixture::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite() {
    run(Kind::SqliteTable, what_waits_comes_although_the_clock_was_set_back).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres() {
    run(Kind::PostgresTable, what_waits_comes_although_the_clock_was_set_back).await;
}

async fn what_waits_comes_although_the_clock_was_set_back(fixture: &Fixture) {
    let broker = fixture.open().await;
    publish(&broker, &orders(3)).await;
    // One waits for another attempt, and one is a killed process's.
    let mut consumer = broker.consume("payment", 1);
    let retried = take_one(&mut consumer).await;
    consumer.settle(vec![(retried, Verdict::Retry { after: LATER, history: failed(1, 0) })]).await;
    let held = take_one(&mut consumer).await;
    drop((consumer, held));
    shift(fixture, Duration::from_secs(3_600)).await;
    assert_eq!(broker.depth("payment").await.unwrap().ready, 0);
    assert_eq!(drain(&mut broker.consume("payment", 10), 3).await, bodies(&orders(3)));
}

/// Makes all times later: so they look when the clock was set back.
async fn shift(fixture: &Fixture, by: Duration) {
    let db = store::Db::open(&fixture.url, store::Options::default()).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    let micros = i64::try_from(by.as_micros()).unwrap();
    let shifted = "UPDATE deliveries SET due_at = due_at + $1";
    tx.query(shifted).bind(micros).execute().await.unwrap();
    tx.commit().await.unwrap();
}
