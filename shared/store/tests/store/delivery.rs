//! Outbox, inbox, idempotency keys.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use contracts::{Cause, Envelope, Header, OrderId, PaymentVoided, Timestamp};
use futures_util::future::join_all;
use store::{Db, Leased, Receipt, idempotency::Answer};

use crate::on_both_engines;

on_both_engines! {
    an_event_is_in_the_outbox_with_its_change_or_not_at_all,
    leased_rows_are_not_leased_again_until_the_lease_ends,
    a_lease_ends_although_the_clock_was_set_back,
    a_row_that_cannot_be_read_costs_no_other,
    many_leased_rows_hold_no_lease_up,
    relays_at_the_same_time_share_the_outbox,
    settling_deletes_what_was_sent_and_frees_the_rest,
    filling_the_outbox_wakes_its_relay,
    a_message_is_received_once_however_many_try,
    the_same_id_of_another_source_is_another_message,
    the_first_answer_to_a_key_stays,
}

async fn publish(db: &Db, count: usize) -> Vec<uuid::Uuid> {
    let mut tx = db.begin().await.unwrap();
    let ids = (0..count)
        .map(|_| {
            let event = PaymentVoided { order_id: OrderId::now_v7() };
            tx.publish(&event, &Cause::default()).unwrap()
        })
        .collect();
    tx.commit().await.unwrap();
    ids
}

async fn an_event_is_in_the_outbox_with_its_change_or_not_at_all(db: Db) {
    let event = PaymentVoided { order_id: OrderId::now_v7() };
    let mut tx = db.begin().await.unwrap();
    tx.publish(&event, &Cause::default()).unwrap();
    drop(tx);
    assert_eq!(db.outbox_backlog().await.unwrap().rows, 0);

    let before = Timestamp::now();
    let ids = publish(&db, 3).await;
    let backlog = db.outbox_backlog().await.unwrap();
    assert_eq!(backlog.rows, 3);
    assert!(backlog.oldest.unwrap() >= before);
    let rows = lease(&db, 10).await;
    let sent: Vec<_> = rows.iter().map(|row| Envelope::from_bytes(&row.body).unwrap().id).collect();
    assert_eq!(sent, ids, "the oldest first");
    assert_eq!(rows[0].routing_key, "payment.voided");
}

async fn lease(db: &Db, limit: usize) -> Vec<Leased> {
    let lease = db.lease_outbox(limit).await.unwrap();
    assert!(lease.unreadable.is_empty(), "{:?}", lease.unreadable);
    lease.rows
}

/// Makes a change to the outbox that no program of ours would.
async fn tamper(db: &Db, sql: &'static str) {
    let mut tx = db.begin().await.unwrap();
    tx.query(sql).execute().await.unwrap();
    tx.commit().await.unwrap();
}

async fn leased_rows_are_not_leased_again_until_the_lease_ends(db: Db) {
    publish(&db, 2).await;
    assert_eq!(lease(&db, 10).await.len(), 2);
    assert_eq!(db.reclaim_outbox().await.unwrap(), 0);
    assert!(lease(&db, 10).await.is_empty());
    tamper(&db, "UPDATE outbox SET leased_until = leased_until - 30000000").await;
    assert_eq!(db.reclaim_outbox().await.unwrap(), 2);
    assert_eq!(lease(&db, 10).await.len(), 2, "what a killed relay had comes back");
}

async fn a_lease_ends_although_the_clock_was_set_back(db: Db) {
    publish(&db, 2).await;
    assert_eq!(lease(&db, 10).await.len(), 2);
    // An hour, as the row sees it.
    tamper(&db, "UPDATE outbox SET leased_until = leased_until + 3600000000").await;
    assert_eq!(db.reclaim_outbox().await.unwrap(), 2);
    assert_eq!(lease(&db, 10).await.len(), 2);
}

async fn a_row_that_cannot_be_read_costs_no_other(db: Db) {
    publish(&db, 3).await;
    tamper(
        &db,
        "UPDATE outbox SET exchange = 'rumours' WHERE seq IN (SELECT min(seq) FROM outbox)",
    )
    .await;
    let leased = db.lease_outbox(10).await.unwrap();
    assert_eq!(leased.rows.len(), 2);
    let (seq, error) = &leased.unreadable[0];
    assert!(error.to_string().contains("rumours"), "{error}");
    // Repaired, it is sent like any other.
    db.settle_outbox(&[leased.rows[0].seq, leased.rows[1].seq], &[*seq]).await.unwrap();
    tamper(&db, "UPDATE outbox SET exchange = 'shop.events'").await;
    assert_eq!(lease(&db, 10).await.len(), 1);
}

/// To look through all of them takes 25 ms at least; once they were updated, and have bodies, over a second.
async fn many_leased_rows_hold_no_lease_up(db: Db) {
    publish(&db, 1).await;
    tamper(
        &db,
        "INSERT INTO outbox (exchange, routing_key, body, created_at, leased_until)
         WITH RECURSIVE many (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < 300000)
         SELECT exchange, routing_key, body, created_at, created_at + 30000000 FROM outbox, many",
    )
    .await;
    lease(&db, 1).await;
    // Beside what a commit takes on this machine.
    let (mut commit, mut leasing) = (Duration::MAX, Duration::MAX);
    for _ in 0..20 {
        let began = Instant::now();
        db.probe().await.unwrap();
        commit = commit.min(began.elapsed());
        publish(&db, 1).await;
        let began = Instant::now();
        assert_eq!(lease(&db, 512).await.len(), 1);
        leasing = leasing.min(began.elapsed());
    }
    assert!(leasing < commit + Duration::from_millis(15), "{leasing:?}, a commit {commit:?}");
}

async fn relays_at_the_same_time_share_the_outbox(db: Db) {
    publish(&db, 100).await;
    let leased = join_all((0..8).map(|_| lease(&db, 20))).await;
    let seqs: Vec<i64> = leased.into_iter().flatten().map(|row| row.seq).collect();
    let different: HashSet<i64> = seqs.iter().copied().collect();
    assert_eq!(different.len(), seqs.len(), "a row was leased twice");
    assert!(seqs.len() >= 20, "{}", seqs.len());
}

async fn settling_deletes_what_was_sent_and_frees_the_rest(db: Db) {
    publish(&db, 5).await;
    let seqs: Vec<i64> = lease(&db, 10).await.iter().map(|row| row.seq).collect();
    db.settle_outbox(&seqs[..3], &seqs[3..]).await.unwrap();
    let again: Vec<i64> = lease(&db, 10).await.iter().map(|row| row.seq).collect();
    assert_eq!(again, seqs[3..]);
    db.settle_outbox(&again, &[]).await.unwrap();
    assert_eq!(db.outbox_backlog().await.unwrap().rows, 0);
    publish(&db, 1).await;
    let next = lease(&db, 10).await[0].seq;
    assert!(next > seqs[4], "a key that was used comes back: a late delete could hit a new row");
}

async fn filling_the_outbox_wakes_its_relay(db: Db) {
    let waiting = db.outbox_filled();
    publish(&db, 1).await;
    tokio::time::timeout(std::time::Duration::from_secs(5), waiting).await.expect("woken");
}

fn receipt(source: &str, id: uuid::Uuid) -> Receipt {
    let header = Header {
        id,
        source: source.to_owned(),
        kind: "test".to_owned(),
        subject: "s".to_owned(),
        time: Timestamp::now(),
        correlationid: "s".to_owned(),
        traceparent: None,
    };
    Receipt { header, attempt: 2, replays: 1 }
}

async fn a_message_is_received_once_however_many_try(db: Db) {
    let ids: Vec<uuid::Uuid> = (0..20).map(|_| uuid::Uuid::now_v7()).collect();
    let tries = join_all((0..8_usize).map(|n| {
        let (db, mut receipts) =
            (db.clone(), ids.iter().map(|id| receipt("/a", *id)).collect::<Vec<_>>());
        // Each in another order: none may wait for another for ever.
        receipts.rotate_left(n * 2);
        tokio::spawn(async move {
            let mut tx = db.begin().await?;
            let new = tx.receive(&receipts).await?.len();
            tx.commit().await?;
            Ok::<usize, store::Error>(new)
        })
    }))
    .await;
    let new: usize = tries.into_iter().map(|new| new.unwrap().unwrap()).sum();
    assert_eq!(new, ids.len());
    assert_eq!(db.receipt("/a", ids[0]).await.unwrap(), Some((2, 1)));
}

async fn the_same_id_of_another_source_is_another_message(db: Db) {
    let id = uuid::Uuid::now_v7();
    let (a, b) = (receipt("/a", id), receipt("/b", id));
    let mut tx = db.begin().await.unwrap();
    assert_eq!(tx.receive(&[a.clone(), b.clone()]).await.unwrap().len(), 2);
    let other = receipt("/a", uuid::Uuid::now_v7());
    let known = tx.received(&[&a.header, &b.header, &other.header]).await.unwrap();
    assert_eq!(known, HashSet::from([("/a".to_owned(), id), ("/b".to_owned(), id)]));
    drop(tx);
    assert_eq!(db.receipt("/a", id).await.unwrap(), None, "rolled back with the rest");
}

async fn the_first_answer_to_a_key_stays(db: Db) {
    let answer = |body: &str| Answer {
        fingerprint: vec![1, 2],
        status: 202,
        location: Some("/orders/1".to_owned()),
        body: body.to_owned(),
    };
    let (first, second) = (answer("first"), answer("second"));
    let mut tx = db.begin().await.unwrap();
    assert_eq!(tx.keep_answers(&[("a", &first)]).await.unwrap(), ["a"]);
    tx.commit().await.unwrap();
    let mut tx = db.begin().await.unwrap();
    assert_eq!(tx.keep_answers(&[("b", &second), ("a", &second)]).await.unwrap(), ["b"]);
    tx.commit().await.unwrap();
    assert_eq!(db.answer("a").await.unwrap(), Some(first));
    assert_eq!(db.answer("c").await.unwrap(), None);
}
