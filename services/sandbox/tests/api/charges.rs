//! Charges, reversals and the ledger.

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::world::{World, answer, charge_of};

#[tokio::test]
async fn a_charge_is_taken_and_stands_in_the_ledger() {
    let world = World::start().await;
    let (status, receipt) = world.charge("key-1", &charge_of("order-1")).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(receipt["status"], "succeeded");
    assert_eq!(receipt.get("reason"), None);

    let ledger = world.get("/ledger").await;
    let entry = &ledger["entries"][0];
    assert_eq!(entry["key"], "key-1");
    assert_eq!(entry["charge_id"], receipt["id"]);
    assert_eq!(entry["reference"], "order-1");
    assert_eq!((&entry["amount"], &entry["currency"]), (&json!(4200), &json!("EUR")));
    assert_eq!(entry.get("refunded_at"), None);
    let totals = json!({ "charges": 1, "refunds": 0, "charged_twice": 0, "net": { "EUR": 4200 } });
    assert_eq!(ledger["totals"], totals);
    assert_eq!(world.get("/ledger/summary").await, totals);
}

#[tokio::test]
async fn the_same_key_gets_the_same_answer_and_another_body_none() {
    let world = World::start().await;
    let first = world.charge("key", &charge_of("order")).await;
    assert_eq!(world.charge("key", &charge_of("order")).await, first);
    assert_eq!(world.charge("\"key\"", &charge_of("order")).await, first, "quoted");
    let (status, problem) = world.charge("key", &charge_of("other")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(problem["type"].as_str().unwrap().ends_with("/idempotency-key-reused"));
    assert_eq!(world.totals().await, (1, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_at_once_with_one_key_charge_once() {
    let world = World::start().await;
    let charge = charge_of("order");
    let answers = join_all((0..50).map(|_| world.charge("key", &charge))).await;
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(answers[0].0, StatusCode::CREATED);
    assert_eq!(world.totals().await, (1, 0, 0));
}

#[tokio::test]
async fn two_keys_for_one_order_are_noticed() {
    let world = World::start().await;
    world.charge("a", &charge_of("order")).await;
    world.charge("b", &charge_of("order")).await;
    assert_eq!(world.totals().await, (2, 0, 1));
    assert_eq!(world.reverse("b").await, "refunded");
    assert_eq!(world.totals().await, (2, 1, 0));
}

#[tokio::test]
async fn test_cards_are_declined_with_their_reason_for_ever() {
    let world = World::start().await;
    world.set_faults("processor", json!({ "decline_tokens": ["tok_stolen"] })).await;
    let cases = [
        ("tok_declined", "card_declined"),
        ("tok_insufficient_funds", "insufficient_funds"),
        ("tok_stolen", "card_declined"),
    ];
    for (token, reason) in cases {
        let mut charge = charge_of("order");
        charge["card_token"] = json!(token);
        let declined = world.charge(token, &charge).await;
        assert_eq!(declined.0, StatusCode::PAYMENT_REQUIRED);
        assert_eq!(declined.1["status"], "declined");
        assert_eq!(declined.1["reason"], reason);
        world.heal().await;
        assert_eq!(world.charge(token, &charge).await, declined);
        assert_eq!(world.reverse(token).await, "voided");
        world.set_faults("processor", json!({ "decline_tokens": ["tok_stolen"] })).await;
    }
    assert_eq!(world.totals().await, (0, 0, 0));
}

#[tokio::test]
async fn a_reversal_gives_back_once_and_the_receipt_stays() {
    let world = World::start().await;
    let receipt = world.charge("key", &charge_of("order")).await;
    for _ in 0..3 {
        assert_eq!(world.reverse("key").await, "refunded");
    }
    assert_eq!(world.charge("key", &charge_of("order")).await, receipt);
    let ledger = world.get("/ledger?reference=order").await;
    assert!(ledger["entries"][0]["refunded_at"].is_string());
    assert_eq!(ledger["totals"]["net"], json!({ "EUR": 0 }));
    assert_eq!(world.totals().await, (1, 1, 0));
}

#[tokio::test]
async fn a_reversal_before_the_charge_blocks_the_key() {
    let world = World::start().await;
    assert_eq!(world.reverse("key").await, "voided");
    let (status, receipt) = world.charge("key", &charge_of("order")).await;
    assert_eq!(status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!((&receipt["status"], &receipt["reason"]), (&json!("declined"), &json!("reversed")));
    assert_eq!(world.reverse("key").await, "voided");
    assert_eq!(world.totals().await, (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn charges_and_reversals_that_race_leave_no_money_behind() {
    let world = World::start().await;
    for round in 0..20 {
        let (key, charge) = (format!("key-{round}"), charge_of(&format!("order-{round}")));
        let charges = join_all((0..5).map(|_| world.charge(&key, &charge)));
        let reversals = join_all((0..5).map(|_| world.reverse(&key)));
        let (charges, outcomes) = tokio::join!(charges, reversals);
        assert!(charges.iter().all(|answer| *answer == charges[0]), "{charges:?}");
        let outcome = match charges[0].0 {
            StatusCode::CREATED => "refunded",
            _ => "voided",
        };
        assert!(outcomes.iter().all(|each| each == outcome), "{charges:?} {outcomes:?}");
    }
    let (charges, refunds, charged_twice) = world.totals().await;
    assert_eq!((charges, charged_twice), (refunds, 0));
}

#[tokio::test]
async fn the_ledger_is_shown_by_reference_and_by_page() {
    let world = World::start().await;
    for (key, order) in [("a", "1"), ("b", "2"), ("c", "1"), ("d", "3")] {
        world.charge(key, &charge_of(order)).await;
    }
    let keys = async |query: &str| -> Vec<String> {
        let ledger = world.get(&format!("/ledger{query}")).await;
        let entries = ledger["entries"].as_array().unwrap();
        entries.iter().map(|entry| entry["key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(keys("").await, ["a", "b", "c", "d"]);
    assert_eq!(keys("?offset=1&limit=2").await, ["b", "c"]);
    assert_eq!(keys("?reference=1").await, ["a", "c"]);
    assert_eq!(keys("?reference=1&offset=1").await, ["c"]);
    assert_eq!(keys("?reference=4").await, [""; 0]);
    assert_eq!(world.get("/ledger?reference=1").await["totals"]["charged_twice"], 1);
}

#[tokio::test]
async fn the_examples_of_the_documentation_work_when_pasted() {
    let world = World::start().await;
    let openapi = world.get("/openapi.json").await;
    let paths = openapi["paths"].as_object().unwrap();
    for path in [
        "/charges",
        "/charges/{key}/reverse",
        "/ledger",
        "/ledger/summary",
        "/mails",
        "/mails/{number}",
        "/mails/summary",
        "/faults",
        "/faults/processor",
        "/faults/mail",
    ] {
        assert!(paths.contains_key(path), "{path} is missing");
    }
    let example = |schema: &str| openapi["components"]["schemas"][schema]["example"].clone();
    let (status, body) = world.charge("key", &example("Charge")).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    for (path, schema) in [("/faults/processor", "ProcessorFaults"), ("/faults/mail", "MailFaults")]
    {
        let (status, body) = answer(world.request(Method::PUT, path).json(&example(schema))).await;
        assert_eq!((status, &body), (StatusCode::OK, &example(schema)));
    }
}
