//! Orders that are made by calls: what the customer waits for, and what is left when a call fails.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::shop::Placed;
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    on_both,
    system::{Plan, Setup, System, checkout, eventually, new_key},
};

on_both! {
    a_checkout_by_calls_is_confirmed_when_it_is_answered,
    a_refusal_is_the_customers_and_is_undone,
    what_fails_is_named_and_undone,
    what_cant_be_undone_needs_attention_until_somebody_retries,
    a_repeated_checkout_by_calls_has_the_same_answer,
    a_customer_who_hangs_up_doesnt_end_it,
    goods_that_have_not_left_are_not_forgotten,
}

/// Sends a checkout by calls; the answer.
pub(crate) async fn by_calls(system: &System, body: &Value) -> (StatusCode, Value) {
    by_calls_with(system, body, &new_key()).await
}

pub(crate) async fn by_calls_with(system: &System, body: &Value, key: &str) -> (StatusCode, Value) {
    let request = system.http().post(format!("{}/checkout?style=sync", system.url("order")));
    let answer = request.header("idempotency-key", key).json(body).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

/// Sends a checkout by calls, whose customer waits for the answer.
pub(crate) fn begin(
    system: &System,
    key: &str,
) -> JoinHandle<reqwest::Result<(StatusCode, Value)>> {
    let url = format!("{}/checkout?style=sync", system.url("order"));
    let request =
        system.http().post(&url).header("idempotency-key", key).json(&checkout("mug-blue", 1));
    tokio::spawn(async move {
        let answer = request.send().await?;
        Ok((answer.status(), answer.json().await?))
    })
}

/// The order that a problem document names.
pub(crate) fn order_of(problem: &Value) -> String {
    problem["order"].as_str().unwrap().trim_start_matches("/orders/").to_owned()
}

async fn a_checkout_by_calls_is_confirmed_when_it_is_answered(setup: Setup) {
    let system = Plan::new(setup).start().await;
    let before = system.stock("mug-blue").await;
    let (status, answer) = by_calls(&system, &checkout("mug-blue", 3)).await;
    assert_eq!((status.as_u16(), &answer["status"]), (201, &json!("confirmed")), "{answer}");
    let placed = Placed::read(&answer);
    // Everything has happened by now: nothing is waited for.
    assert_eq!(system.stock("mug-blue").await, (before.0 - 3, before.1));
    assert_eq!(system.net(&placed.id).await, placed.total);
    let mails = system.mails(&placed.id).await;
    assert_eq!(mails.len(), 1, "the receipt: {mails:?}");
    let order = system.settled(&placed.id).await;
    assert_eq!((&order["style"], &order["payment"]), (&json!("sync"), &json!("taken")));
    assert_eq!(system.cancel(&placed.id).await.status(), 409);
    // Payment and inventory announce what they do, whoever asked for it; nobody does anything about it.
    for service in ["payment", "inventory"] {
        system.outbox_drained(service).await;
    }
    system.no_dead_letters().await;
    assert_eq!(system.charges(&placed.id).await.len(), 1);
    // Five calls of 15 s, 20 s to write down what they came to, and a minute for the clocks: then it would be undone.
    let db = system.database("order").await;
    let sql = "SELECT (deadline_at - placed_at) / 1000000 FROM orders";
    assert_eq!(db.read(sql).one::<(i64,)>().await.unwrap().0, 155);
    db.close().await;
}

async fn a_refusal_is_the_customers_and_is_undone(setup: Setup) {
    let system = Plan::new(setup).start().await;
    let before = system.stocks().await;
    let mut body = checkout("mug-blue", 1);
    body["card_token"] = json!("tok_declined");
    let (status, problem) = by_calls(&system, &body).await;
    assert_eq!(status, 402, "{problem}");
    assert_eq!(problem["undone"], json!(["no goods are kept aside"]));
    let order = system.settled(&order_of(&problem)).await;
    assert_eq!(order["reason"], "payment_declined", "{order}");

    let (status, problem) = by_calls(&system, &checkout("vinyl-sold-out", 1)).await;
    assert_eq!((status.as_u16(), &problem["undone"]), (409, &json!([])), "{problem}");
    let order = system.settled(&order_of(&problem)).await;
    assert_eq!(order["reason"], "stock_rejected", "{order}");
    assert_eq!(system.stocks().await, before);
    assert_eq!(system.mails_summary().await["total"], 0);
}

async fn what_fails_is_named_and_undone(setup: Setup) {
    let mut system = Plan::new(setup).env("order", "CALL_TIMEOUT", "4s").start().await;
    let before = system.stocks().await;
    let undone = json!(["no money is kept", "no goods are kept aside"]);
    // A slow mail server is slower than the customer's patience.
    system.fault("mail", json!({"latency_ms": 9000})).await;
    let began = Instant::now();
    let (status, problem) = by_calls(&system, &checkout("mug-blue", 1)).await;
    assert!(began.elapsed().as_secs() >= 4);
    assert_eq!((status.as_u16(), &problem["callee"]), (504, &json!("email")), "{problem}");
    assert_eq!((&problem["undone"], &problem["needs_attention"]), (&undone, &json!([])));
    let id = order_of(&problem);
    let order = system.settled(&id).await;
    assert_eq!((&order["reason"], &order["payment"]), (&json!("no_answer"), &json!("refunded")));
    assert_eq!(system.net(&id).await, 0);

    // A mail server that is down fails at once, and email that is down too.
    system.fault("mail", json!({"down": true})).await;
    let (status, problem) = by_calls(&system, &checkout("mug-blue", 1)).await;
    assert_eq!((status.as_u16(), &problem["undone"]), (502, &undone), "{problem}");
    system.stop_service("email").await;
    let (status, problem) = by_calls(&system, &checkout("mug-blue", 1)).await;
    assert_eq!((status.as_u16(), &problem["callee"]), (502, &json!("email")), "{problem}");
    system.settled(&order_of(&problem)).await;
    assert_eq!(system.stocks().await, before);

    // Whoever can't be connected to was not asked, so nothing of theirs is to be undone, and nobody has to look after it.
    system.stop_service("payment").await;
    let (status, problem) = by_calls(&system, &checkout("mug-blue", 1)).await;
    assert_eq!((status.as_u16(), &problem["callee"]), (502, &json!("payment")), "{problem}");
    assert_eq!(problem["undone"], json!(["no goods are kept aside"]), "{problem}");
    let order = system.settled(&order_of(&problem)).await;
    assert_eq!((&order["payment"], &order["stock"]), (&json!("voided"), &json!("released")));
    let mut facts = order["timeline"].as_array().unwrap().iter();
    assert!(facts.all(|fact| fact["service"] != "payment"), "payment said nothing: {order}");
    system.stop_service("inventory").await;
    let (status, problem) = by_calls(&system, &checkout("mug-blue", 1)).await;
    assert_eq!((status.as_u16(), &problem["callee"]), (502, &json!("inventory")), "{problem}");
    assert_eq!((&problem["undone"], &problem["needs_attention"]), (&json!([]), &json!([])));
    let order = system.settled(&order_of(&problem)).await;
    assert_eq!((&order["payment"], &order["stock"]), (&json!("voided"), &json!("released")));
    let mut facts = order["timeline"].as_array().unwrap().iter();
    assert!(facts.all(|fact| fact["service"] == "order"), "nobody else said anything: {order}");
    assert_eq!(system.saga(&["list", "--parked"]).await, json!([]));
}

async fn what_cant_be_undone_needs_attention_until_somebody_retries(setup: Setup) {
    let mut system = Plan::new(setup).env("order", "CALL_TIMEOUT", "4s").start().await;
    let before = system.stocks().await;
    // The goods are put aside, the charge is made, and then payment and inventory are gone.
    system.fault("processor", json!({"latency_ms": 8000})).await;
    let waiting = begin(&system, &new_key());
    system.charge_is_under_way().await;
    system.kill("inventory").await;
    system.kill("payment").await;
    let (_, problem) = waiting.await.unwrap().unwrap();
    assert_eq!(problem["needs_attention"].as_array().unwrap().len(), 2, "{problem}");
    let id = order_of(&problem);
    let parked = system.saga(&["list", "--parked"]).await;
    assert_eq!(parked[0]["order_id"], json!(id), "{parked}");
    assert_eq!(system.order(&id).await["needs_attention"], true);

    // It is visible, and stays so until somebody does something about it.
    system.heal().await;
    for service in ["inventory", "payment"] {
        system.start_service(service, &[]);
        system.service_ready(service).await;
    }
    assert_eq!(system.order(&id).await["settled"], false);
    system.saga(&["retry", &id]).await;
    let order = system.settled(&id).await;
    assert_eq!(order["needs_attention"], Value::Null, "{order}");
    assert_eq!(system.net(&id).await, 0);
    assert_eq!(system.stocks().await, before);
}

async fn a_customer_who_hangs_up_doesnt_end_it(setup: Setup) {
    let system = Plan::new(setup).start().await;
    system.fault("processor", json!({"latency_ms": 500})).await;
    let (body, mut placed) = (checkout("mug-blue", 1), Vec::new());
    // Before anything is written, while it is, and in the middle of the calls.
    for patience in [1, 5, 20, 100, 300] {
        let key = new_key();
        let asking = by_calls_with(&system, &body, &key);
        let answer = tokio::time::timeout(Duration::from_millis(patience), asking).await;
        assert!(answer.is_err(), "answered within {patience} ms");
        let answer = eventually("the same request is answered", || async {
            let (status, answer) = by_calls_with(&system, &body, &key).await;
            assert!([201, 409].contains(&status.as_u16()), "{status}: {answer}");
            (status == 201).then_some(answer)
        })
        .await;
        placed.push(Placed::read(&answer));
    }
    for order in &placed {
        assert_eq!(system.settled(&order.id).await["status"], "confirmed");
        assert_eq!(system.charges(&order.id).await.len(), 1);
    }
    let db = system.database("order").await;
    let (orders,) = db.read("SELECT count(*) FROM orders").one::<(i64,)>().await.unwrap();
    db.close().await;
    assert_eq!(orders, 5, "one for each key");
}

async fn goods_that_have_not_left_are_not_forgotten(setup: Setup) {
    let mut system = Plan::new(setup).start().await;
    let before = system.stock("mug-blue").await;
    for way in ["retry", "resolve"] {
        system.fault("mail", json!({"latency_ms": 4000})).await;
        let charges = system.ledger_summary().await["charges"].as_u64().unwrap();
        let waiting = begin(&system, &new_key());
        eventually("the card is charged", || async {
            (system.ledger_summary().await["charges"].as_u64()? > charges).then_some(())
        })
        .await;
        // Of all that the order needs, only the goods' leaving is left to do, and then inventory is away.
        system.kill("inventory").await;
        let (status, answer) = waiting.await.unwrap().unwrap();
        assert_eq!(status, 201, "{answer}");
        let id = answer["id"].as_str().unwrap().to_owned();
        let order = eventually("somebody is told", || async {
            let order = system.order(&id).await;
            (order["needs_attention"] == true).then_some(order)
        })
        .await;
        assert_eq!(
            (&order["status"], &order["saga"][0]["step"]),
            (&json!("confirmed"), &json!("ship_stock"))
        );
        system.heal().await;
        system.start_service("inventory", &[]);
        system.service_ready("inventory").await;
        match way {
            "retry" => system.saga(&["retry", &id]).await,
            _ => system.saga(&["resolve", &id, "--reason", "taken off by hand"]).await,
        };
        assert_eq!(system.order(&id).await["needs_attention"], Value::Null);
    }
    // One was taken off; the other is somebody's word.
    assert_eq!(system.stock("mug-blue").await, (before.0 - 1, 1));
    assert_eq!(system.saga(&["list", "--parked"]).await, json!([]));
}

async fn a_repeated_checkout_by_calls_has_the_same_answer(setup: Setup) {
    let system = Plan::new(setup).start().await;
    let key = new_key();
    let (first, body) = by_calls_with(&system, &checkout("mug-blue", 1), &key).await;
    let (again, same) = by_calls_with(&system, &checkout("mug-blue", 1), &key).await;
    assert_eq!((first.as_u16(), again.as_u16(), &body), (201, 201, &same));
    assert_eq!(system.charges(body["id"].as_str().unwrap()).await.len(), 1);
    let key = new_key();
    let (first, body) = by_calls_with(&system, &checkout("vinyl-sold-out", 1), &key).await;
    let (again, same) = by_calls_with(&system, &checkout("vinyl-sold-out", 1), &key).await;
    assert_eq!((first.as_u16(), again.as_u16(), &body), (409, 409, &same), "a refusal too");
    let (other, _) = by_calls_with(&system, &checkout("mug-blue", 2), &key).await;
    assert_eq!(other, 422, "the key was used for another request");
}
