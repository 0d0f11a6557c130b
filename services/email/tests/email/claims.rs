//! Claims: who sends a mail, and what becomes of it when they die.

use std::time::Duration;

use ::store::{Db, Options};
use contracts::Timestamp;
use email::{
    mail::{Key, Kind},
    store::{self, Claim, Wanted},
};
use serde_json::json;
use testkit::TestDatabase;
use uuid::Uuid;

use crate::{
    databases,
    events::{message, message_id, placed},
    queue::Queue,
    world::{Email, MailServer},
};

async fn open(database: &TestDatabase) -> Db {
    let db = Db::open(&database.url, Options::default()).await.unwrap();
    db.migrate(email::MIGRATIONS.postgres, email::MIGRATIONS.sqlite).await.unwrap();
    db
}

fn wanted(order_id: Uuid, kind: Kind) -> Wanted {
    Wanted { key: Key { order_id, kind }, message_id: Uuid::now_v7(), claimant: Uuid::now_v7() }
}

/// Claims at a second of these tests' time; a claim lasts ten of them.
async fn claim(db: &Db, wanted: &[Wanted], second: i64) -> Vec<Claim> {
    let now = Timestamp::from_micros(second * 1_000_000);
    let mut tx = db.begin().await.unwrap();
    let claims = store::claim(&mut tx, wanted, now, now + Duration::from_secs(10)).await.unwrap();
    tx.commit().await.unwrap();
    claims
}

const fn until(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

#[tokio::test]
async fn a_claim_is_granted_once_until_it_runs_out_or_is_given_back() {
    for database in databases().await {
        let db = open(&database).await;
        let order = Uuid::now_v7();
        let [first, second] = [(); 2].map(|()| wanted(order, Kind::Receipt));
        let other = wanted(order, Kind::Notice);
        let granted = |second| Claim::Granted {
            message_id: first.message_id,
            until: until(second),
            unknown: 0,
        };
        // Within one batch too.
        assert_eq!(
            claim(&db, &[first, second, other], 0).await,
            [
                granted(10),
                Claim::Held { until: until(10) },
                Claim::Granted { message_id: other.message_id, until: until(10), unknown: 0 }
            ]
        );
        assert_eq!(claim(&db, &[second], 5).await, [Claim::Held { until: until(10) }]);
        assert_eq!(claim(&db, &[first], 5).await, [granted(15)], "who has it may hold it longer");
        assert_eq!(claim(&db, &[second], 15).await, [granted(25)], "it has run out");

        // A claim that another has taken over can't be given back by the one who lost it.
        for (loser, state) in [(first, "sending"), (second, "failed")] {
            let mut tx = db.begin().await.unwrap();
            store::release(&mut tx, &[released(loser)]).await.unwrap();
            tx.commit().await.unwrap();
            let mails = store::mails(&db, order).await.unwrap();
            assert_eq!(mails.iter().find(|mail| mail.kind == "receipt").unwrap().state, state);
        }
        assert_eq!(claim(&db, &[first], 16).await, [granted(26)], "it was given back");

        let mut tx = db.begin().await.unwrap();
        store::mark_sent(&mut tx, &[(first.key, until(17))]).await.unwrap();
        store::release(&mut tx, &[released(first)]).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(claim(&db, &[first, second], 100).await, [Claim::Sent, Claim::Sent]);
        let mails = store::mails(&db, order).await.unwrap();
        let receipt = mails.iter().find(|mail| mail.kind == "receipt").unwrap();
        assert_eq!((receipt.attempts, receipt.sent_at), (3, Some(17_000_000)));
        assert_eq!(receipt.message_id, first.message_id);
    }
}

#[tokio::test]
async fn batches_of_any_size_are_claimed_and_marked() {
    for database in databases().await {
        let db = open(&database).await;
        let all: Vec<_> = (0..300).map(|_| wanted(Uuid::now_v7(), Kind::Receipt)).collect();
        let claims = claim(&db, &all, 0).await;
        for (one, claim) in all.iter().zip(claims) {
            assert_eq!(
                claim,
                Claim::Granted { message_id: one.message_id, until: until(10), unknown: 0 }
            );
        }
        let sent: Vec<_> = all.iter().map(|one| (one.key, until(1))).collect();
        let mut tx = db.begin().await.unwrap();
        store::mark_sent(&mut tx, &sent).await.unwrap();
        tx.commit().await.unwrap();
        assert!(claim(&db, &all, 2).await.iter().all(|claim| *claim == Claim::Sent));
    }
}

fn released(claimed: Wanted) -> store::Released {
    store::Released { key: claimed.key, claimant: claimed.claimant, unknown: false }
}

/// A process that was killed in the middle of a call leaves this behind.
async fn leave_claim(database: &TestDatabase, order_id: Uuid, until: Timestamp) -> Uuid {
    leave_claim_of(database, order_id, Timestamp::now(), until).await
}

async fn leave_claim_of(
    database: &TestDatabase,
    order_id: Uuid,
    at: Timestamp,
    until: Timestamp,
) -> Uuid {
    let db = open(database).await;
    let dead = wanted(order_id, Kind::Acknowledgement);
    let mut tx = db.begin().await.unwrap();
    store::claim(&mut tx, &[dead], at, until).await.unwrap();
    tx.commit().await.unwrap();
    db.close().await;
    dead.message_id
}

#[tokio::test]
async fn a_claim_that_has_run_out_is_taken_over() {
    for database in databases().await {
        let (server, queue) = (MailServer::start().await, Queue::new().await);
        let order = placed();
        let dead = leave_claim(&database, order.order_id, Timestamp::now()).await;
        let email = Email::start(&database, &queue, &server.smtp, &[]).await;
        queue.publish(&[message(&order).1]).await;
        let mail = email.becomes(order.order_id, "acknowledgement", "sent").await;
        assert_eq!(mail["attempts"], 2);
        assert_eq!(server.message_ids().await, [message_id(dead)], "the first Message-ID stays");
        email.stop().await;
    }
}

#[tokio::test]
async fn a_claim_of_a_clock_that_was_set_back_is_taken_over() {
    for database in databases().await {
        let (server, queue) = (MailServer::start().await, Queue::new().await);
        let order = placed();
        let in_an_hour = Timestamp::now() + Duration::from_secs(3_600);
        let until = in_an_hour + Duration::from_secs(20);
        leave_claim_of(&database, order.order_id, in_an_hour, until).await;
        let email = Email::start(&database, &queue, &server.smtp, &[]).await;
        queue.publish(&[message(&order).1]).await;
        email.becomes(order.order_id, "acknowledgement", "sent").await;
        email.stop().await;
    }
}

#[tokio::test]
async fn a_claim_of_the_dead_is_waited_for_at_the_cost_of_no_attempt() {
    for database in databases().await {
        let (server, queue) = (MailServer::start().await, Queue::new().await);
        let order = placed();
        let until = Timestamp::now() + Duration::from_millis(1500);
        leave_claim(&database, order.order_id, until).await;
        // All further attempts would be over long before the claim is.
        let flags = ["--retry-delays", "10ms"];
        let email = Email::start(&database, &queue, &server.smtp, &flags).await;
        let (id, one) = message(&order);
        queue.publish(&[one]).await;
        email.becomes(order.order_id, "acknowledgement", "sent").await;
        assert!(Timestamp::now() >= until, "it was sent while another might have been sending it");
        let receipt = open(&database).await.receipt("/order", id).await.unwrap();
        assert_eq!(receipt, Some((1, 0)), "attempts and replays");
        email.stop().await;
    }
}

#[tokio::test]
async fn mails_that_wait_for_a_slow_server_keep_their_claims() {
    for database in databases().await {
        let (server, queue) = (MailServer::start().await, Queue::new().await);
        server.misbehave(json!({ "latency_ms": 200 })).await;
        // The last mail waits for 4.6 s, a claim lasts 4 s.
        let flags = ["--smtp-connections", "1", "--smtp-timeout", "2s"];
        let email = Email::start(&database, &queue, &server.smtp, &flags).await;
        let orders: Vec<_> = (0..24).map(|_| placed()).collect();
        let messages: Vec<_> = orders.iter().map(|order| message(order).1).collect();
        queue.publish(&messages).await;
        for order in &orders {
            let mail = email.becomes(order.order_id, "acknowledgement", "sent").await;
            assert_eq!(mail["attempts"], 1, "{mail}");
        }
        assert_eq!(server.mails().await.len(), 24);
        email.stop().await;
    }
}

#[tokio::test]
async fn waiting_for_another_ends_when_the_service_does() {
    let (database, server, queue) =
        (testkit::sqlite_database(), MailServer::start().await, Queue::new().await);
    let order = placed();
    leave_claim(&database, order.order_id, Timestamp::now() + Duration::from_secs(60)).await;
    let email = Email::start(&database, &queue, &server.smtp, &[]).await;
    let after = placed();
    queue.publish(&[message(&order).1, message(&after).1]).await;
    email.becomes(after.order_id, "acknowledgement", "sent").await;
    tokio::time::timeout(Duration::from_secs(5), email.stop()).await.expect("it stops");
    assert_eq!(server.mails().await.len(), 1);
    assert!(!queue.is_empty().await, "the message stays for the next attempt");
}
