//! Input that makes no sense.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::world::{World, answer, charge_of};

#[tokio::test]
async fn charges_that_make_no_sense_are_refused_and_charge_nothing() {
    let world = World::start().await;
    let with = |field: &str, value: Value| {
        let mut charge = charge_of("order");
        charge[field] = value;
        charge.to_string()
    };
    let without = |field: &str| {
        let mut charge = charge_of("order");
        charge.as_object_mut().unwrap().remove(field);
        charge.to_string()
    };
    let cases = [
        (400, String::new()),
        (400, "{".to_owned()),
        (400, "\u{0}".to_owned()),
        (422, "[]".to_owned()),
        (422, "null".to_owned()),
        (422, with("amount", json!(0))),
        (422, with("amount", json!(-1))),
        (422, with("amount", json!(1.5))),
        (422, with("amount", json!("1"))),
        (422, with("amount", json!(i64::MAX))),
        (422, with("amount", json!(u64::MAX))),
        (422, without("amount")),
        (422, with("currency", json!("eur"))),
        (422, with("currency", json!("EURO"))),
        (422, with("currency", json!("€"))),
        (422, without("currency")),
        (422, with("card_token", json!(""))),
        (422, with("card_token", json!("x".repeat(201)))),
        (422, without("card_token")),
        (422, with("reference", json!(""))),
        (422, with("reference", json!("x".repeat(201)))),
        (422, without("reference")),
        (422, with("colour", json!("red"))),
        (413, with("reference", json!("x".repeat(100_000)))),
    ];
    for (expected, body) in cases {
        let request = world.request(Method::POST, "/charges").header("Idempotency-Key", "key");
        let request = request.header("Content-Type", "application/json").body(body.clone());
        let (status, problem) = answer(request).await;
        assert_eq!(status.as_u16(), expected, "{body:.80}: {problem}");
        assert_eq!(problem["status"], expected, "{body:.80}");
    }
    assert_eq!(world.totals().await, (0, 0, 0));
    // The key isn't spent by what was refused.
    assert_eq!(world.charge("key", &charge_of("order")).await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn keys_that_make_no_sense_are_refused() {
    let world = World::start().await;
    let charge = charge_of("order");
    let none = world.request(Method::POST, "/charges").json(&charge);
    assert_eq!(answer(none).await.0, StatusCode::BAD_REQUEST);
    let twice = world.charge_request("a", &charge).header("Idempotency-Key", "b");
    assert_eq!(answer(twice).await.0, StatusCode::BAD_REQUEST);
    for key in ["", " ", "a b", "\"\"", "schlüssel", &"k".repeat(256)] {
        let (status, _) = world.charge(key, &charge).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{key:?}");
    }
    let reverse = world.request(Method::POST, "/charges/a%20b/reverse");
    assert_eq!(answer(reverse).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(world.totals().await, (0, 0, 0));
}

#[tokio::test]
async fn queries_that_make_no_sense_are_refused() {
    let world = World::start().await;
    let cases = [
        (400, "/ledger?limit=x"),
        (400, "/ledger?limit=-1"),
        (400, "/ledger?limit=10001"),
        (400, "/ledger?order=1"),
        (400, "/mails?limit=10001"),
        (400, "/mails?offset=x"),
        (400, "/mails?from=ada"),
        (404, "/mails/0"),
        (404, "/mails/1"),
        (404, "/mails/x"),
        (404, "/nothing"),
        (405, "/charges"),
    ];
    for (expected, path) in cases {
        let (status, problem) = answer(world.request(Method::GET, path)).await;
        assert_eq!(status.as_u16(), expected, "{path}");
        assert_eq!(problem["status"], expected, "{path}");
    }
}

/// Says all of it at once and returns everything that is answered until the server closes.
async fn talk(world: &World, text: &[u8]) -> String {
    let mut stream = TcpStream::connect(world.smtp).await.unwrap();
    stream.write_all(text).await.unwrap();
    let mut replies = Vec::new();
    stream.read_to_end(&mut replies).await.unwrap();
    String::from_utf8(replies).unwrap()
}

#[tokio::test]
async fn pipelined_commands_are_answered_in_order() {
    let world = World::start().await;
    let replies = talk(
        &world,
        b"EHLO me\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\nSubject: 1\r\n\r\n\xe9\xff\r\n.\r\nNOOP\r\nQUIT\r\n",
    )
    .await;
    let codes: Vec<_> =
        replies.lines().filter(|line| !line.starts_with("250-")).map(|line| &line[..3]).collect();
    assert_eq!(codes, ["220", "250", "250", "250", "354", "250", "250", "221"]);
    for capability in ["PIPELINING", "8BITMIME", "SIZE 1048576"] {
        assert!(replies.contains(capability), "{capability}");
    }
    assert_eq!(world.get("/mails/1").await["subject"], "1");
}

#[tokio::test]
async fn mail_conversations_that_make_no_sense_are_refused_and_keep_nothing() {
    let world = World::start().await;
    let long = format!("EHLO {}\r\nQUIT\r\n", "x".repeat(10_000));
    let cases: [(&[u8], &str); 6] = [
        (b"DATA\r\nQUIT\r\n", "503"),
        (b"EHLO me\r\nMAIL FROM:<nonsense\r\nQUIT\r\n", "553"),
        (b"EHLO me\r\nMAIL FROM\r\nQUIT\r\n", "501"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\nQUIT\r\n", "500"),
        (b"\x00\xff\xfe\r\nQUIT\r\n", "500"),
        (long.as_bytes(), "500"),
    ];
    for (text, code) in cases {
        let replies = talk(&world, text).await;
        let said = String::from_utf8_lossy(text);
        assert!(replies.contains(&format!("\r\n{code}")), "{said:.60}: {replies}");
        assert!(replies.ends_with("221 Bye\r\n"), "{said:.60}: {replies}");
    }
    let nonsense = talk(&world, &b"NONSENSE\r\n".repeat(30)).await;
    assert!(nonsense.ends_with("421 Too many errors\r\n"), "{nonsense}");
    assert_eq!(world.get("/mails/summary").await["total"], 0);
}

#[tokio::test]
async fn a_mail_that_is_cut_off_is_not_kept() {
    let world = World::start().await;
    let mut stream = TcpStream::connect(world.smtp).await.unwrap();
    let half = b"EHLO me\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\nhalf a mail\r\n";
    stream.write_all(half).await.unwrap();
    stream.shutdown().await.unwrap();
    // The server has closed: it is done with what came.
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    assert_eq!(world.get("/mails/summary").await["total"], 0);
}
