//! The mail server fails, and nothing is lost.

use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::{
    databases,
    events::{confirmed, message, message_id, placed, placed_by},
    eventually,
    queue::Queue,
    refusing::refusing_mail_server,
    world::{Email, MailServer, healthy},
};

/// Enough attempts for a mail server that is away for a while.
const PATIENT: &[&str] = &[
    "--retry-delays",
    "100ms,100ms,100ms,100ms,100ms,100ms,100ms,100ms,100ms,100ms,100ms,100ms,100ms,100ms,100ms,100ms,100ms,100ms,1s,2s,5s",
];

#[tokio::test]
async fn a_mail_server_that_was_down_gets_the_mails_when_it_is_back() {
    for database in databases().await {
        let (server, queue) = (MailServer::start().await, Queue::new().await);
        let email = Email::start(&database, &queue, &server.smtp, PATIENT).await;
        // So that a kept connection is what breaks.
        let before = placed();
        queue.publish(&[message(&before).1]).await;
        email.becomes(before.order_id, "acknowledgement", "sent").await;

        server.misbehave(json!({ "down": true })).await;
        let orders: Vec<_> = (0..5).map(|_| placed()).collect();
        let messages: Vec<_> = orders.iter().map(|order| message(order).1).collect();
        queue.publish(&messages).await;
        for order in &orders {
            email.becomes(order.order_id, "acknowledgement", "failed").await;
        }
        server.misbehave(healthy()).await;
        for order in &orders {
            let mail = email.becomes(order.order_id, "acknowledgement", "sent").await;
            assert!(mail["attempts"].as_u64().unwrap() > 1, "{mail}");
        }
        queue.drained().await;
        assert_eq!(server.mails().await.len(), 6);
        assert_eq!(queue.dead_letters().await.len(), 0);
        email.stop().await;
    }
}

#[tokio::test]
async fn a_mail_server_that_nobody_has_started_yet_is_waited_for() {
    let (database, queue) = (testkit::sqlite_database(), Queue::new().await);
    let address = format!("127.0.0.1:{}", testkit::free_port());
    let email = Email::start(&database, &queue, &format!("smtp://{address}"), PATIENT).await;
    let order = placed();
    queue.publish(&[message(&order).1]).await;
    email.becomes(order.order_id, "acknowledgement", "failed").await;
    let server = MailServer::start_on(TcpListener::bind(address).await.unwrap()).await;
    email.becomes(order.order_id, "acknowledgement", "sent").await;
    assert_eq!(server.mails().await.len(), 1);
    email.stop().await;
}

#[tokio::test]
async fn a_mail_that_is_refused_for_good_is_a_dead_letter_until_it_is_replayed() {
    for database in databases().await {
        let queue = Queue::new().await;
        let email = Email::start(&database, &queue, &refusing_mail_server().await, &[]).await;
        let order = placed();
        let (id, one) = message(&order);
        queue.publish(&[one]).await;
        let letter = queue.dead_letter().await;
        assert_eq!(letter.id, id);
        assert_eq!(letter.history.failures, 1, "it must not be tried again");
        let reason = letter.history.error.unwrap();
        assert!(reason.contains("550 5.1.1"), "{reason}");
        assert!(!reason.contains("example.com"), "an address in a reason: {reason}");
        email.becomes(order.order_id, "acknowledgement", "failed").await;
        email.stop().await;

        let server = MailServer::start().await;
        let email = Email::start(&database, &queue, &server.smtp, &[]).await;
        queue.replay(1).await;
        email.becomes(order.order_id, "acknowledgement", "sent").await;
        assert_eq!(server.message_ids().await, [message_id(id)]);
        email.stop().await;
    }
}

#[tokio::test]
async fn an_address_that_is_none_is_a_dead_letter_and_blocks_nobody() {
    let (database, server, queue) =
        (testkit::sqlite_database(), MailServer::start().await, Queue::new().await);
    let email = Email::start(&database, &queue, &server.smtp, &[]).await;
    let (id, bad) = message(&placed_by("not an address\r\nRCPT TO:<x@example.com>", "Eve"));
    let good = placed();
    queue.publish(&[bad, message(&good).1]).await;
    email.becomes(good.order_id, "acknowledgement", "sent").await;
    let letter = queue.dead_letter().await;
    assert_eq!((letter.id, letter.history.failures), (id, 1));
    assert_eq!(server.mails().await.len(), 1);
    email.stop().await;
}

#[tokio::test]
async fn a_lost_answer_may_repeat_the_mail_with_the_same_message_id() {
    let (database, server, queue) =
        (testkit::sqlite_database(), MailServer::start().await, Queue::new().await);
    server.misbehave(json!({ "lost_answers": 1.0 })).await;
    let flags = ["--retry-delays", "2s,2s"];
    let email = Email::start(&database, &queue, &server.smtp, &flags).await;
    let order = placed();
    let (id, one) = message(&order);
    queue.publish(&[one]).await;
    email.becomes(order.order_id, "acknowledgement", "failed").await;
    server.misbehave(healthy()).await;
    let mail = email.becomes(order.order_id, "acknowledgement", "sent").await;
    let mut ids = server.message_ids().await;
    assert_eq!(ids.len() as u64, mail["attempts"].as_u64().unwrap());
    ids.dedup();
    assert_eq!(ids, [message_id(id)]);
    email.stop().await;
}

/// The answer to the end of a mail may take ten minutes (RFC 5321), six times as long as connecting may take here.
#[tokio::test]
async fn a_mail_server_that_takes_its_time_gets_each_mail_once() {
    for database in databases().await {
        let (server, queue) = (MailServer::start().await, Queue::new().await);
        server.misbehave(json!({ "latency_ms": 3_000 })).await;
        let flags = [PATIENT, &["--smtp-timeout", "500ms"]].concat();
        let email = Email::start(&database, &queue, &server.smtp, &flags).await;
        let order = placed();
        let one = message(&order).1;
        queue.publish(&[one]).await;
        email.becomes(order.order_id, "acknowledgement", "sending").await;
        // Another replica with another message about it waits for the claim, which is renewed meanwhile.
        let other = Email::start(&database, &queue, &server.smtp, &flags).await;
        queue.publish(&[message(&order).1]).await;
        let mail = email.becomes(order.order_id, "acknowledgement", "sent").await;
        assert_eq!(mail["attempts"], 1, "{mail}");
        queue.drained().await;
        assert_eq!(server.mails().await.len(), 1);
        assert_eq!(queue.dead_letters().await.len(), 0);
        email.stop().await;
        other.stop().await;
    }
}

#[tokio::test]
async fn a_mail_that_the_server_may_have_is_sent_twice_at_most() {
    for database in databases().await {
        let (server, queue) = (MailServer::start().await, Queue::new().await);
        server.misbehave(json!({ "lost_answers": 1.0 })).await;
        let email = Email::start(&database, &queue, &server.smtp, PATIENT).await;
        let order = placed();
        queue.publish(&[message(&order).1]).await;
        let letter = queue.dead_letter().await;
        assert_eq!(letter.history.failures, 2);
        let reason = letter.history.error.unwrap();
        assert!(reason.contains("whether the mail server has the mail isn't known"), "{reason}");
        assert_eq!(server.mails().await.len(), 2);
        // Another message about it sends no third one.
        let (another, message) = message(&order);
        queue.publish(&[message]).await;
        eventually("it is a dead letter too", async || {
            let letters = queue.dead_letters().await;
            letters.into_iter().find(|letter| letter.id == another)
        })
        .await;
        assert_eq!(server.mails().await.len(), 2);
        // Only an operator's word does.
        server.misbehave(healthy()).await;
        queue.replay(2).await;
        email.becomes(order.order_id, "acknowledgement", "sent").await;
        assert_eq!(server.mails().await.len(), 3);
        email.stop().await;
    }
}

#[tokio::test]
async fn a_receipt_that_is_asked_for_twice_at_once_is_sent_once() {
    for database in databases().await {
        let (server, queue) = (MailServer::start().await, Queue::new().await);
        server.misbehave(json!({ "latency_ms": 1_500 })).await;
        let email = Email::start(&database, &queue, &server.smtp, PATIENT).await;
        let (order, key) = (confirmed(&placed()), Uuid::now_v7());
        let given_up =
            tokio::time::timeout(Duration::from_millis(500), email.send_receipt(key, &order));
        given_up.await.expect_err("the mail server takes its time");
        let twice = tokio::join!(email.send_receipt(key, &order), email.send_receipt(key, &order));
        assert_eq!((twice.0.as_u16(), twice.1.as_u16()), (201, 201));
        assert_eq!(server.mails().await.len(), 1);
        email.stop().await;
    }
}

#[tokio::test]
async fn a_mail_server_that_never_answers_counts_as_unavailable() {
    let (database, server, queue) =
        (testkit::sqlite_database(), MailServer::start().await, Queue::new().await);
    server.misbehave(json!({ "latency_ms": 60_000 })).await;
    let flags = ["--smtp-acceptance-timeout", "200ms", "--retry-delays", "2s,2s"];
    let email = Email::start(&database, &queue, &server.smtp, &flags).await;
    let order = placed();
    queue.publish(&[message(&order).1]).await;
    email.becomes(order.order_id, "acknowledgement", "failed").await;
    server.misbehave(healthy()).await;
    email.becomes(order.order_id, "acknowledgement", "sent").await;
    email.stop().await;
}
