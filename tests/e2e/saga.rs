//! Sagas that get no answer: given up, asked again, parked, and resolved by an operator.

use serde_json::{Value, json};

use crate::{
    on_both,
    system::{Plan, Setup, System, checkout, eventually},
};

on_both! {
    a_step_that_is_not_answered_is_given_up_and_counts_as_possibly_done,
    what_cant_be_undone_is_parked_and_goes_on_when_it_can,
    after_a_step_that_an_operator_resolved_the_saga_goes_on,
}

/// Sagas that lose patience quickly, but not with a busy machine.
fn impatient(setup: Setup) -> Plan {
    Plan::new(setup.orchestrated())
        .env("order", "STEP_TIMEOUT", "4s")
        .env("order", "COMPENSATION_RETRY", "200ms")
        .env("order", "COMPENSATION_RETRY_MAX", "500ms")
}

async fn a_step_that_is_not_answered_is_given_up_and_counts_as_possibly_done(setup: Setup) {
    let mut system = impatient(setup).start().await;
    let stocks = system.stocks().await;
    system.stop_service("inventory").await;
    let unreserved = system.place(&checkout("mug-blue", 1)).await;
    cancelled(&system, &unreserved.id, "no_answer").await;
    // Now both, what was asked and that it isn't wanted any more, come to it; and at payment the same.
    system.start_service("inventory", &[]);
    let order = system.settled(&unreserved.id).await;
    assert_eq!((&order["payment"], &order["stock"]), (&json!("voided"), &json!("released")));
    assert_eq!(steps(&order), ["reserve_stock", "release_stock"]);
    assert_eq!(order["saga"][0]["answer"], "given up: no answer");

    system.stop_service("payment").await;
    let uncharged = system.place(&checkout("mug-blue", 1)).await;
    cancelled(&system, &uncharged.id, "no_answer").await;
    system.start_service("payment", &[]);
    let order = system.settled(&uncharged.id).await;
    assert_eq!(steps(&order), ["reserve_stock", "charge_card", "refund_payment", "release_stock"]);
    assert_eq!(system.balance(&stocks, &[unreserved, uncharged]).await, 0);
}

/// An order whose charge is refunded only when the processor answers again.
async fn stuck(system: &System) -> String {
    system.fault("processor", json!({"lost_answers": 1.0})).await;
    let placed = system.place(&checkout("mug-blue", 1)).await;
    eventually("it was charged", || async {
        (system.net(&placed.id).await == placed.total).then_some(())
    })
    .await;
    system.fault("processor", json!({"down": true})).await;
    cancelled(system, &placed.id, "no_answer").await;
    let parked = eventually("the saga is parked", || async {
        let parked = system.saga(&["list", "--parked"]).await;
        parked.as_array()?.first().cloned()
    })
    .await;
    assert_eq!(parked["order_id"], json!(placed.id));
    assert_eq!(parked["steps"][0]["step"], "refund_payment");
    eventually("the metric says so", || async {
        (system.metric("order", "shop_saga_parked_steps", "").await == Some(1.0)).then_some(())
    })
    .await;
    let order = system.order(&placed.id).await;
    assert_eq!((&order["settled"], &order["needs_attention"]), (&json!(false), &json!(true)));
    placed.id
}

async fn what_cant_be_undone_is_parked_and_goes_on_when_it_can(setup: Setup) {
    let system = impatient(setup).start().await;
    let id = stuck(&system).await;
    let asked = |order: &Value| order["saga"][2]["attempts"].as_u64().unwrap();
    let before = asked(&system.order(&id).await);
    eventually("it is still asked for", || async {
        (asked(&system.order(&id).await) > before + 1).then_some(())
    })
    .await;
    system.heal().await;
    let answer = system.saga(&["retry", &id]).await;
    assert_eq!(answer["order_id"], json!(id));
    let order = system.settled(&id).await;
    assert_eq!((&order["payment"], &order["stock"]), (&json!("refunded"), &json!("released")));
    assert_eq!(order["needs_attention"], Value::Null);
    assert_eq!(system.net(&id).await, 0);
    eventually("the metric is quiet", || async {
        (system.metric("order", "shop_saga_parked_steps", "").await == Some(0.0)).then_some(())
    })
    .await;
    assert_eq!(system.saga(&["list", "--parked"]).await, json!([]));
    system.no_dead_letters().await;
}

async fn after_a_step_that_an_operator_resolved_the_saga_goes_on(setup: Setup) {
    let system = impatient(setup).start().await;
    let before = system.stocks().await;
    let id = stuck(&system).await;
    let url = format!("{}/sagas/{id}/resolve", system.url("order"));
    let resolve = async |body: Value| {
        let answer = system.http().post(&url).json(&body).send().await.unwrap();
        answer.status().as_u16()
    };
    let reason = "refunded by hand, ticket 4711";
    for (body, status) in [
        (json!({}), 422),
        (json!({"reason": " "}), 422),
        (json!({"reason": 1}), 422),
        (json!({"reason": reason, "step": "charge_card"}), 422),
        // The goods are released after the refund, and this was not asked for yet.
        (json!({"reason": reason, "step": "release_stock"}), 409),
    ] {
        assert_eq!(resolve(body.clone()).await, status, "{body}");
    }
    let saga = system.saga(&["resolve", &id, "--step", "refund_payment", "--reason", reason]).await;
    assert_eq!((&saga["payment"], &saga["resolution"]), (&json!("resolved"), &json!(reason)));
    // The refund is resolved, and nothing else: the goods are released as ever.
    let order = system.settled(&id).await;
    assert_eq!((&order["stock"], system.stocks().await), (&json!("released"), before));
    assert_eq!(steps(&order), ["reserve_stock", "charge_card", "refund_payment", "release_stock"]);
    assert_eq!(order["needs_attention"], Value::Null);
    let facts = order["timeline"].as_array().unwrap().iter();
    let resolved = facts.clone().find(|fact| fact["fact"] == "PaymentResolved").unwrap();
    assert_eq!(resolved["detail"], reason);
    assert_eq!(resolve(json!({"reason": reason})).await, 200, "saying it again changes nothing");
    assert_eq!(resolve(json!({"reason": "something else"})).await, 409, "it is resolved");

    // What comes late is still taken note of.
    system.heal().await;
    eventually("the refund is known", || async {
        (system.order(&id).await["payment"] == "refunded").then_some(())
    })
    .await;
    system.no_dead_letters().await;
    let confirmed = system.place(&checkout("mug-blue", 1)).await.id;
    let order = eventually("another order ends", || async {
        let order = system.order(&confirmed).await;
        (order["settled"] == true).then_some(order)
    })
    .await;
    assert_eq!(order["status"], "confirmed");
    let nothing = system.http().post(format!("{}/sagas/{confirmed}/retry", system.url("order")));
    assert_eq!(nothing.send().await.unwrap().status(), 409, "nothing waits for an answer");
}

async fn cancelled(system: &System, id: &str, reason: &str) {
    eventually("it is cancelled", || async {
        let order = system.order(id).await;
        (order["status"] == "cancelled" && order["reason"] == reason).then_some(())
    })
    .await;
}

fn steps(order: &Value) -> Vec<&str> {
    order["saga"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect()
}
