//! Calls to payment and inventory about orders that were never placed.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    on_both,
    system::{Plan, Setup, checkout},
};

on_both! { a_call_about_an_unknown_order_is_answered_and_not_announced }

async fn a_call_about_an_unknown_order_is_answered_and_not_announced(setup: Setup) {
    let system = Plan::new(setup).start().await;
    let total = json!({"total": {"amount": 100, "currency": "EUR"}});
    for (service, path, action) in [
        ("payment", "payments", "refund"),
        ("inventory", "reservations", "release"),
        ("inventory", "reservations", "ship"),
    ] {
        let url = format!("{}/{path}/{}/{action}", system.url(service), Uuid::now_v7());
        let request =
            system.http().post(&url).header("idempotency-key", Uuid::now_v7().to_string());
        let answer = request.json(&total).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{url}");
        let problem: Value = answer.json().await.unwrap();
        assert!(problem["type"].as_str().unwrap().ends_with("/unknown-order"), "{problem}");
    }
    // What they had to say would be sent before what they say of this order.
    let order = system.place(&checkout("mug-blue", 1)).await;
    assert_eq!(system.settled(&order.id).await["status"], "confirmed");
    for service in ["payment", "inventory"] {
        system.outbox_drained(service).await;
    }
    system.no_dead_letters().await;
}
