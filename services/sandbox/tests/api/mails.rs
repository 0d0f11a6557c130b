//! Mails: in by SMTP with a real client, out by HTTP.

use futures_util::future::join_all;
use lettre::{
    AsyncTransport, Message,
    message::{MultiPart, header::ContentTransferEncoding},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{World, answer, mail};

async fn numbers(world: &World, query: &str) -> Vec<u64> {
    let list = world.get(&format!("/mails{query}")).await;
    let mails = list["mails"].as_array().unwrap();
    mails.iter().map(|mail| mail["number"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_mail_comes_out_as_it_went_in() {
    let world = World::start().await;
    let sent = Message::builder()
        .from("Der Laden <shop@example.com>".parse().unwrap())
        .to("Ada <ada@example.com>".parse().unwrap())
        .subject("Ihre Bestellung: Äpfel 🍏")
        .message_id(Some("<a@shop>".to_owned()))
        .multipart(MultiPart::alternative_plain_html(
            "Grüße, 4 × Äpfel\r\n".to_owned(),
            "<p>Grüße, 4 × Äpfel</p>\r\n".to_owned(),
        ))
        .unwrap();
    world.send(sent).await.unwrap();

    let read = world.get("/mails/1").await;
    assert_eq!(read["number"], 1);
    assert_eq!(read["message_id"], "a@shop");
    assert_eq!(read["from"], "shop@example.com");
    assert_eq!(read["to"], json!(["ada@example.com"]));
    assert_eq!(read["subject"], "Ihre Bestellung: Äpfel 🍏");
    assert_eq!(read["order_id"], Value::Null);
    assert_eq!(read["text"].as_str().unwrap().trim_end(), "Grüße, 4 × Äpfel");
    assert_eq!(read["html"].as_str().unwrap().trim_end(), "<p>Grüße, 4 × Äpfel</p>");
    let headers = read["headers"].as_array().unwrap();
    assert!(headers.contains(&json!({ "name": "Message-ID", "value": "<a@shop>" })));

    let list = world.get("/mails").await;
    assert_eq!(list["total"], 1);
    for field in ["number", "message_id", "from", "to", "subject", "received_at", "size"] {
        assert_eq!(list["mails"][0][field], read[field], "{field}");
    }
    assert_eq!(list["mails"][0].get("text"), None);
}

#[tokio::test]
async fn lines_that_begin_with_dots_keep_them() {
    let world = World::start().await;
    let text = ".\r\n..\r\n.one\r\n\r\n..two\r\nend.\r\n.";
    let sent = Message::builder()
        .from("shop@example.com".parse().unwrap())
        .to("ada@example.com".parse().unwrap())
        .header(ContentTransferEncoding::SevenBit)
        .body(text.to_owned())
        .unwrap();
    world.send(sent).await.unwrap();
    assert_eq!(world.get("/mails/1").await["text"].as_str().unwrap().trim_end(), text);
}

#[tokio::test]
async fn one_connection_carries_several_mails() {
    let world = World::start().await;
    let mailer = world.mailer();
    for number in 0..5 {
        let id = format!("{number}@shop");
        mailer.send(mail("ada@example.com", "1", &id, "hi")).await.unwrap();
    }
    assert_eq!(numbers(&world, "").await, [1, 2, 3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_at_once_lose_nothing() {
    let world = World::start().await;
    let sent = join_all((0..100).map(|number| {
        let id = format!("{number}@shop");
        world.send(mail("ada@example.com", &number.to_string(), &id, &"line\r\n".repeat(300)))
    }))
    .await;
    assert!(sent.iter().all(Result::is_ok));
    let summary = json!({ "total": 100, "distinct_message_ids": 100, "repeated": 0 });
    assert_eq!(world.get("/mails/summary").await, summary);
    for number in 0..100 {
        let list = world.get(&format!("/mails?order_id={number}")).await;
        assert_eq!(list["mails"][0]["message_id"], format!("{number}@shop"));
    }
}

#[tokio::test]
async fn mails_are_found_by_recipient_order_and_message() {
    let world = World::start().await;
    for (to, order, id) in [
        ("ada@example.com", "1", "a@shop"),
        ("bob@example.com", "2", "b@shop"),
        ("ada@example.com", "1", "c@shop"),
        ("ada@example.com", "3", "a@shop"),
    ] {
        world.send(mail(to, order, id, "hi")).await.unwrap();
    }
    assert_eq!(numbers(&world, "?to=Ada@example.com").await, [1, 3, 4]);
    assert_eq!(numbers(&world, "?order_id=1").await, [1, 3]);
    assert_eq!(numbers(&world, "?message_id=a@shop").await, [1, 4]);
    assert_eq!(numbers(&world, "?message_id=%3Ca@shop%3E&order_id=3").await, [4]);
    assert_eq!(numbers(&world, "?to=eve@example.com").await, [0; 0]);
    assert_eq!(numbers(&world, "?offset=1&limit=2").await, [2, 3]);
    assert_eq!(world.get("/mails?to=ada@example.com&limit=1").await["total"], 3);
    let summary = json!({ "total": 4, "distinct_message_ids": 3, "repeated": 1 });
    assert_eq!(world.get("/mails/summary").await, summary);
}

#[tokio::test]
async fn a_mail_over_1_mib_is_refused_for_good_and_the_connection_lives() {
    let world = World::start().await;
    let mailer = world.mailer();
    let line = format!("{}\r\n", "x".repeat(70));
    let large = |size: usize| mail("ada@example.com", "1", "a@shop", &line.repeat(size / 72));
    let error = mailer.send(large(1024 * 1024)).await.unwrap_err();
    assert_eq!(error.status().unwrap().to_string(), "552");
    assert!(error.is_permanent());
    mailer.send(large(1000 * 1024)).await.unwrap();
    assert_eq!(world.get("/mails/summary").await["total"], 1);
}

#[tokio::test]
async fn mails_can_be_thrown_away_and_new_ones_come() {
    let world = World::start().await;
    let mailer = world.mailer();
    mailer.send(mail("ada@example.com", "1", "old@shop", "old")).await.unwrap();
    let deleted = world.request(Method::DELETE, "/mails").send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    assert_eq!(world.get("/mails/summary").await["total"], 0);
    assert_eq!(answer(world.request(Method::GET, "/mails/1")).await.0, StatusCode::NOT_FOUND);
    mailer.send(mail("ada@example.com", "1", "new@shop", "new")).await.unwrap();
    assert_eq!(world.get("/mails/1").await["message_id"], "new@shop");
}
