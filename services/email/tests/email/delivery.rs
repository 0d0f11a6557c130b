//! Each event leads to one mail, whatever the broker and the other replicas do.

use serde_json::{Value, json};

use crate::{
    databases,
    events::{cancelled, confirmed, message, message_id, placed, placed_by},
    queue::Queue,
    world::{Email, MailServer},
};

fn header<'m>(mail: &'m Value, name: &str) -> Vec<&'m str> {
    let headers = mail["headers"].as_array().unwrap();
    let named = headers.iter().filter(|header| header["name"] == name);
    named.map(|header| header["value"].as_str().unwrap().trim()).collect()
}

#[tokio::test]
async fn each_event_leads_to_its_mail() {
    for database in databases().await {
        let (server, queue) = (MailServer::start().await, Queue::new().await);
        let email = Email::start(&database, &queue, &server.smtp, &[]).await;
        let order = placed();
        let (placed_id, first) = message(&order);
        let (confirmed_id, second) = message(&confirmed(&order));
        let (cancelled_id, third) = message(&cancelled(&order));
        queue.publish(&[first, second, third]).await;
        for kind in ["acknowledgement", "receipt", "notice"] {
            let told = email.becomes(order.order_id, kind, "sent").await;
            assert_eq!(told["attempts"], 1);
            assert!(told["sent_at"].is_string());
        }
        let mails = server.mails().await;
        assert_eq!(mails.len(), 3, "{mails:?}");
        for (id, subject, says) in [
            (placed_id, "received", "To be charged: 25.05 EUR"),
            (confirmed_id, "receipt", "2 x Blue mug, 12.50 EUR each: 25.00 EUR"),
            (cancelled_id, "cancelled", "your card was declined"),
        ] {
            let mail = mails.iter().find(|mail| mail["message_id"] == message_id(id)).unwrap();
            assert_eq!(mail["from"], "orders@shop.example.com");
            assert_eq!(mail["to"], json!(["ada@example.com"]));
            assert_eq!(mail["order_id"], order.order_id.to_string());
            assert!(mail["subject"].as_str().unwrap().contains(subject), "{mail}");
            assert!(mail["text"].as_str().unwrap().contains(says), "{mail}");
            assert!(mail["html"].as_str().unwrap().contains("<td>Tea &amp; cake</td>"), "{mail}");
            assert_eq!(header(mail, "Date").len(), 1);
            assert!(!mail.to_string().contains("tok_secret"));
        }
        email.stop().await;
    }
}

#[tokio::test]
async fn what_was_mailed_is_told_without_addresses() {
    let (database, server, queue) =
        (testkit::sqlite_database(), MailServer::start().await, Queue::new().await);
    let email = Email::start(&database, &queue, &server.smtp, &[]).await;
    let order = placed();
    queue.publish(&[message(&order).1]).await;
    let told = email.becomes(order.order_id, "acknowledgement", "sent").await.to_string();
    assert!(!told.contains("example.com") && !told.contains("Ada"), "{told}");

    assert!(email.mails(uuid::Uuid::now_v7()).await.is_empty());
    let answer = email.get(&["mails", "seven"]).await;
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let openapi = email.get(&["openapi.json"]).await.text().await.unwrap();
    assert!(openapi.contains("/mails/{order_id}"));
}

#[tokio::test]
async fn repeated_messages_and_repeated_facts_lead_to_one_mail() {
    for database in databases().await {
        let (server, queue) = (MailServer::start().await, Queue::new().await);
        server.misbehave(json!({ "latency_ms": 50 })).await;
        let email = Email::start(&database, &queue, &server.smtp, &[]).await;
        let order = placed();
        // The same message three times, and the same fact under another id.
        let (id, one) = message(&order);
        let (_, other) = message(&order);
        queue.publish(&[one.clone(), one.clone(), other.clone(), one.clone()]).await;
        email.becomes(order.order_id, "acknowledgement", "sent").await;
        queue.drained().await;
        // And again, when it is long done.
        queue.publish(&[one, other]).await;
        queue.drained().await;
        assert_eq!(server.message_ids().await, [message_id(id)]);
        assert_eq!(queue.dead_letters().await.len(), 0);
        email.stop().await;
    }
}

#[tokio::test]
async fn two_replicas_with_the_same_deliveries_send_one_mail_each() {
    for database in databases().await {
        let server = MailServer::start().await;
        server.misbehave(json!({ "latency_ms": 20 })).await;
        // Each replica has a queue of its own here, so that each gets every message, at the same time.
        let queues = [Queue::new().await, Queue::new().await];
        let messages: Vec<_> = (0..60).map(|_| message(&placed())).collect();
        let bodies: Vec<_> = messages.iter().map(|(_, message)| message.clone()).collect();
        queues[0].publish(&bodies).await;
        queues[1].publish(&bodies.into_iter().rev().collect::<Vec<_>>()).await;
        let first = Email::start(&database, &queues[0], &server.smtp, &[]).await;
        let second = Email::start(&database, &queues[1], &server.smtp, &[]).await;
        for queue in &queues {
            queue.drained().await;
            assert_eq!(queue.dead_letters().await.len(), 0);
        }
        let mut ids: Vec<_> = messages.iter().map(|(id, _)| message_id(*id)).collect();
        ids.sort_unstable();
        assert_eq!(server.message_ids().await, ids);
        first.stop().await;
        second.stop().await;
    }
}

#[tokio::test]
async fn a_hostile_name_adds_no_recipient_and_no_markup() {
    let (database, server, queue) =
        (testkit::sqlite_database(), MailServer::start().await, Queue::new().await);
    let email = Email::start(&database, &queue, &server.smtp, &[]).await;
    let name = "Zoë\r\nBcc: all@example.com\r\n\r\n.\r\nMAIL FROM:<x@example.com> <img src=x onerror=alert(1)>";
    queue.publish(&[message(&placed_by("zoe@example.com", name)).1]).await;
    queue.drained().await;
    let mails = server.mails().await;
    assert_eq!(mails.len(), 1, "{mails:?}");
    assert_eq!(mails[0]["to"], json!(["zoe@example.com"]));
    assert!(header(&mails[0], "Bcc").is_empty());
    assert!(!mails[0]["html"].as_str().unwrap().contains("<img"));
    assert!(
        mails[0]["text"].as_str().unwrap().starts_with("Hello Zoë Bcc: all@example.com . MAIL")
    );
    email.stop().await;
}
