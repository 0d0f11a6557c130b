//! `shop dead`, on a jobs table in SQLite.

use std::{path::Path, time::Duration};

use broker::{Broker, History, Message, Topology, Verdict, message_id};
use contracts::SUBSCRIPTIONS;
use serde_json::Value;

use crate::world::{Folder, assert_contains, program, run, text};

const ORDER: &str = r#"{"specversion":"1.0","id":"01890a5d-ac96-774b-bcce-b302099a8057","source":"/order",
    "type":"com.example.shop.order.placed.v1","subject":"o-1","time":"2026-11-01T10:00:00.000001Z",
    "correlationid":"o-1","data":{"customer":{"email":"ada@example.com"},"card_token":"tok_secret"}}"#;
const ORDER_ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
const JUNK: &str = "junk from bob@example.com";

/// A jobs table in which the order is dead for payment and for email, and junk is dead for inventory.
async fn broker(folder: &Path) -> Broker {
    let file = folder.join("broker.db").display().to_string();
    let url = format!("sqlite://{}", file.replace('%', "%25"));
    let broker = Broker::open(&url, topology()).await.unwrap();
    for (body, queues) in [(ORDER, &["payment", "email"][..]), (JUNK, &["inventory"])] {
        let message = Message {
            exchange: contracts::Exchange::Events,
            routing_key: "order.placed".to_owned(),
            body: body.into(),
        };
        broker.publish(&[message]).await;
        for queue in ["payment", "inventory", "email"] {
            let mut consumer = broker.consume(queue, 10);
            let delivery = consumer.next().await.pop().expect("a delivery");
            let verdict = if queues.contains(&queue) { failed(queue) } else { Verdict::Ack };
            consumer.settle(vec![(delivery, verdict)]).await;
        }
    }
    broker
}

fn topology() -> Topology {
    let retry_delays = vec![Duration::from_secs(1)];
    Topology { subscriptions: SUBSCRIPTIONS.to_vec(), retry_delays, history: true }
}

fn failed(queue: &str) -> Verdict {
    let error = Some(format!("{queue} can't, says carol@example.com"));
    let at = Some("2026-11-01T10:00:05.5Z".parse().unwrap());
    Verdict::Dead {
        history: History {
            failures: 6,
            error,
            first_failed_at: at,
            last_failed_at: at,
            ..History::default()
        },
    }
}

async fn dead(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output =
        run(folder, &[&["dead", "--broker", "sqlite://broker.db"], arguments].concat()).await;
    let (printed, said) = (text(&output.stdout), text(&output.stderr));
    let code = output.status.code();
    (code, if code == Some(0) { printed.to_owned() } else { format!("{printed}{said}") })
}

async fn succeed(folder: &Path, arguments: &[&str]) -> String {
    let (code, output) = dead(folder, arguments).await;
    assert_eq!(code, Some(0), "{arguments:?}: {output}");
    output
}

#[tokio::test]
async fn dead_letters_are_listed_and_shown_without_secrets() {
    let folder = Folder::new();
    let _broker = broker(folder.path()).await;
    let folder = folder.path();

    let list = succeed(folder, &["list"]).await;
    let junk = message_id(JUNK.as_bytes()).to_string();
    assert_contains(
        &list,
        &[ORDER_ID, &junk, "order.placed.v1", "email can't, says c***@example.com"],
    );
    assert_eq!(list.lines().count(), 4, "{list}");
    let one = succeed(folder, &["list", "--queue", "inventory"]).await;
    assert_eq!(one.lines().count(), 2, "{one}");
    let all: Value = serde_json::from_str(&succeed(folder, &["list", "--json"]).await).unwrap();
    assert_eq!(all.as_array().unwrap().len(), 3);

    let shown = succeed(folder, &["show", ORDER_ID]).await;
    let history =
        ["failures       6", "2026-11-01T10:00:05.5", "a***@example.com", r#""subject": "o-1""#];
    assert_contains(&shown, &history);
    assert!(!shown.contains("tok_secret") && !shown.contains("ada@"), "{shown}");
    let revealed = succeed(folder, &["show", ORDER_ID, "--reveal", "--queue", "email"]).await;
    assert_contains(&revealed, &["tok_secret", "ada@example.com", "carol@example.com"]);
    assert_contains(&succeed(folder, &["show", &junk]).await, &["junk from b***@example.com"]);
}

#[tokio::test]
async fn a_replay_delivers_the_same_bytes_again() {
    let folder = Folder::new();
    let broker = broker(folder.path()).await;
    let folder = folder.path();

    for arguments in [&["replay"][..], &["replay", ORDER_ID, "--all"]] {
        assert_eq!(dead(folder, arguments).await.0, Some(2), "{arguments:?}");
    }
    let unknown = "01890a5d-ac96-774b-bcce-b302099a8058";
    let (code, output) = dead(folder, &["replay", ORDER_ID, unknown]).await;
    assert_eq!(code, Some(1));
    assert_contains(&output, &[unknown]);
    assert_eq!(broker.depth("email").await.unwrap().dead, 1, "nothing was replayed");

    let output = succeed(folder, &["replay", ORDER_ID]).await;
    assert_contains(&output, &[&format!("replayed {ORDER_ID} to payment"), "2 replayed"]);
    let delivery = broker.consume("email", 1).next().await.pop().unwrap();
    assert_eq!((delivery.body.as_slice(), delivery.history.replays), (ORDER.as_bytes(), 1));

    assert_contains(&succeed(folder, &["replay", "--all"]).await, &["1 replayed"]);
    assert_contains(&succeed(folder, &["list"]).await, &["no dead letters"]);
    assert_contains(&succeed(folder, &["replay", "--all"]).await, &["0 replayed"]);
}

#[tokio::test]
async fn a_purge_wants_to_be_meant() {
    let folder = Folder::new();
    let broker = broker(folder.path()).await;
    let folder = folder.path();

    let (code, output) = dead(folder, &["purge", "--all"]).await;
    assert_eq!(code, Some(1));
    assert_contains(&output, &["3 dead letters", "--yes"]);
    let output = succeed(folder, &["purge", ORDER_ID, "--yes", "--queue", "email"]).await;
    assert_contains(&output, &["1 purged"]);
    assert_eq!(broker.depth("email").await.unwrap().dead, 0);
    assert_eq!(broker.depth("payment").await.unwrap().dead, 1);
    assert_contains(&succeed(folder, &["purge", "--all", "--yes"]).await, &["2 purged"]);
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_not_made() {
    let folder = Folder::new();
    let (code, output) = dead(folder.path(), &["list"]).await;
    assert_eq!(code, Some(1));
    assert_contains(&output, &["there is no broker.db", "--broker"]);
    let output = run(folder.path(), &["dead", "list"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert_contains(text(&output.stderr), &["there is no ./data/broker.db", "SHOP_DATA"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
}

#[tokio::test]
async fn it_looks_where_the_shop_is_and_says_where() {
    let folder = Folder::new();
    let data = folder.path().join("50% of it");
    std::fs::create_dir(&data).unwrap();
    let _broker = broker(&data).await;
    // Another shop, where all is well.
    let empty = folder.path().join("data/broker.db");
    std::fs::create_dir(empty.parent().unwrap()).unwrap();
    let url = format!("sqlite://{}", empty.display());
    Broker::open(&url, topology()).await.unwrap().declare().await.unwrap();

    let list = async |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut program = program(folder.path());
        program.args(["dead", "list"]).args(arguments).envs(environment.iter().copied());
        let output = program.output().await.unwrap();
        let dead = text(&output.stdout).contains(ORDER_ID);
        assert_eq!(dead, !text(&output.stdout).contains("no dead letters"), "{output:?}");
        (output.status.code(), dead, text(&output.stderr).to_owned())
    };
    let (code, dead, said) = list(&[], &[]).await;
    assert_eq!((code, dead), (Some(0), false));
    assert_contains(&said, &["broker: sqlite://./data/broker.db"]);
    let there = format!("sqlite://{}/50%25 of it/broker.db", folder.path().display());
    for (arguments, environment) in [
        (&["--data", "50% of it"][..], &[][..]),
        (&[], &[("SHOP_DATA", "50% of it")]),
        (&[], &[("SHOP_BROKER_URL", &*there)]),
        // What a service's own environment says is not the shop's.
        (&[], &[("SHOP_DATA", "50% of it"), ("BROKER_URL", &*url)]),
        (&["--broker", &there], &[("SHOP_BROKER_URL", &*url)]),
    ] {
        let (code, dead, said) = list(arguments, environment).await;
        assert_eq!((code, dead), (Some(0), true), "{arguments:?} {environment:?}: {said}");
        assert_contains(&said, &["50%25 of it/broker.db"]);
    }
}

#[tokio::test]
async fn a_broker_that_is_away_is_an_error_without_its_password() {
    let folder = Folder::new();
    let mut program = program(folder.path());
    program.args(["dead", "list"]).env("SHOP_BROKER_URL", "amqp://a:secret@127.0.0.1:1");
    let output = program.output().await.unwrap();
    assert_ne!(output.status.code(), Some(0));
    let said = text(&output.stderr);
    assert_contains(said, &["broker: amqp://a:***@127.0.0.1:1", "not available"]);
    assert!(!said.contains("secret") && output.stdout.is_empty(), "{output:?}");
}
