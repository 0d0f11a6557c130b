//! Checkouts by calls whose process ends in the middle of them: they are undone, or completed, by calls that are repeated.

use serde_json::{Value, json};

use crate::{
    on_both,
    sync::{begin, by_calls_with, order_of},
    system::{Plan, Setup, System, checkout, eventually, new_key},
};

on_both! {
    a_checkout_that_is_cut_in_the_middle_is_undone,
    what_a_cut_checkout_leaves_is_called_for_until_it_is_done,
    goods_of_a_checkout_that_is_cut_at_its_end_leave,
}

/// An order service that is quick to call again.
fn persistent(setup: Setup) -> Plan {
    Plan::new(setup).env("order", "COMPENSATION_RETRY", "200ms").env(
        "order",
        "COMPENSATION_RETRY_MAX",
        "500ms",
    )
}

/// Kills the order service in the middle of a checkout, when the card is being charged, and lets the order's time be up.
async fn cut(system: &mut System, key: &str) {
    system.fault("processor", json!({"latency_ms": 6000})).await;
    let waiting = begin(system, key);
    system.charge_is_under_way().await;
    system.kill("order").await;
    assert!(waiting.await.unwrap().is_err(), "the customer hears nothing");
    system.heal().await;
    let orders = system.database("order").await;
    let mut tx = orders.begin().await.unwrap();
    tx.query("UPDATE orders SET deadline_at = 0").execute().await.unwrap();
    tx.commit().await.unwrap();
    orders.close().await;
}

async fn a_checkout_that_is_cut_in_the_middle_is_undone(setup: Setup) {
    let mut system = persistent(setup).start().await;
    let (before, key) = (system.stocks().await, new_key());
    cut(&mut system, &key).await;
    system.start_service("order", &[]);
    system.service_ready("order").await;
    // The same request again says what becomes of it: placed, as long as another process could be at it, and then cancelled.
    let problem = eventually("its calls are given up", || async {
        let (status, answer) = by_calls_with(&system, &checkout("mug-blue", 1), &key).await;
        assert!([202, 504].contains(&status.as_u16()), "{status}: {answer}");
        (status == 504).then_some(answer)
    })
    .await;
    assert!(problem["type"].as_str().unwrap().ends_with("/checkout-interrupted"), "{problem}");
    let order = system.settled(&order_of(&problem)).await;
    assert_eq!((&order["reason"], &order["stock"]), (&json!("deadline"), &json!("released")));
    assert_eq!(order["needs_attention"], Value::Null, "{order}");
    let id = order["id"].as_str().unwrap();
    assert_eq!((system.net(id).await, system.stocks().await), (0, before));
    let (status, problem) = by_calls_with(&system, &checkout("mug-blue", 1), &key).await;
    let detail = problem["detail"].as_str().unwrap();
    assert!(status == 504 && detail.contains("nothing is kept of it"), "{status}: {problem}");
}

async fn what_a_cut_checkout_leaves_is_called_for_until_it_is_done(setup: Setup) {
    let mut system = persistent(setup).start().await;
    let before = system.stocks().await;
    cut(&mut system, &new_key()).await;
    // Payment is not there either: the goods are released all the same, and the refund is called for again and again.
    system.kill("payment").await;
    system.start_service("order", &[]);
    system.service_ready("order").await;
    let parked = eventually("an operator is called, for the refund only", || async {
        let parked = system.saga(&["list", "--parked"]).await.as_array()?.first()?.clone();
        let step = &parked["steps"][0];
        (parked["stock"] == "released" && step["error"] == "payment can't be reached")
            .then_some(parked)
    })
    .await;
    let step = &parked["steps"][0];
    assert_eq!(step["step"], "refund_payment");
    assert!(step["attempts"].as_u64().unwrap() > 3, "{step}");
    system.start_service("payment", &[]);
    let id = parked["order_id"].as_str().unwrap();
    let order = system.settled(id).await;
    assert_eq!(order["needs_attention"], Value::Null, "{order}");
    assert_eq!((system.net(id).await, system.stocks().await), (0, before));
}

async fn goods_of_a_checkout_that_is_cut_at_its_end_leave(setup: Setup) {
    let mut system = Plan::new(setup).start().await;
    let before = system.stock("mug-blue").await;
    system.fault("mail", json!({"latency_ms": 6000})).await;
    let key = new_key();
    let waiting = begin(&system, &key);
    eventually("the card is charged", || async {
        (system.ledger_summary().await["charges"] == 1).then_some(())
    })
    .await;
    // The order is confirmed, and then its process ends while it waits for inventory.
    system.freeze("inventory");
    let db = system.database("order").await;
    eventually("the order is confirmed", || async {
        let sql = "SELECT count(*) FROM steps WHERE step = 'ship_stock'";
        let (steps,) = db.read(sql).one::<(i64,)>().await.ok()?;
        (steps == 1).then_some(())
    })
    .await;
    system.kill("order").await;
    system.kill("inventory").await;
    assert!(waiting.await.unwrap().is_err(), "the customer hears nothing");
    // The two minutes are over after which it should have been done.
    let mut tx = db.begin().await.unwrap();
    tx.query("UPDATE steps SET due_at = 0 WHERE step = 'ship_stock'").execute().await.unwrap();
    tx.commit().await.unwrap();
    db.close().await;
    for service in ["inventory", "order"] {
        system.start_service(service, &[]);
        system.service_ready(service).await;
    }
    let (status, answer) = by_calls_with(&system, &checkout("mug-blue", 1), &key).await;
    assert_eq!(status, 201, "{answer}");
    eventually("the goods have left", || async {
        (system.stock("mug-blue").await == (before.0 - 1, before.1)).then_some(())
    })
    .await;
    let id = answer["id"].as_str().unwrap();
    eventually("the step is answered", || async {
        let step = system.order(id).await["saga"][0].clone();
        (step["step"] == "ship_stock" && step["answer"] == "done").then_some(())
    })
    .await;
}
