//! What is charged against what an order costs: a wrong amount never confirms, and is undone.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use serde_json::{Value, json};

use crate::{
    in_both_styles,
    sync::by_calls,
    system::{Plan, Setup, System, checkout, eventually, new_key},
};

in_both_styles! { a_wrong_amount_never_confirms }

/// Waits until the metric says that there was one.
async fn reported(system: &System) {
    eventually("the metric says so", || async {
        (system.metric("order", "shop_order_wrong_amounts", "").await == Some(1.0)).then_some(())
    })
    .await;
}

/// Places an order whose message waits in the outbox of an order service that has died; its id.
async fn held_back(system: &mut System) -> String {
    system.stop_service("order").await;
    system.start_service("order", &[("CRASH_AT", "after_commit")]);
    system.service_ready("order").await;
    let answer = system.post_checkout(&checkout("mug-blue", 2)).await;
    assert!(answer.is_err(), "it has died: {answer:?}");
    system.wait_for_crash("order").await;
    let db = system.database("order").await;
    let (id,) = db.read("SELECT order_id FROM orders").one::<(uuid::Uuid,)>().await.unwrap();
    db.close().await;
    id.to_string()
}

async fn a_wrong_amount_never_confirms(setup: Setup) {
    let mut system = Plan::new(setup).start().await;
    let before = system.stocks().await;
    let id = held_back(&mut system).await;
    // One cent is paid before payment hears of the order.
    let request = json!({"order_id": id, "total": {"amount": 1, "currency": "EUR"}, "card_token": "tok_visa"});
    let request = system.http().post(format!("{}/payments", system.url("payment"))).json(&request);
    let answer = request.header("idempotency-key", new_key()).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(system.net(&id).await, 1);
    system.start_service("order", &[]);
    let order = system.settled(&id).await;
    assert_eq!(
        (&order["status"], &order["reason"], &order["payment"]),
        (&json!("cancelled"), &json!("wrong_amount"), &json!("refunded"))
    );
    let facts = order["timeline"].as_array().unwrap();
    assert!(facts.iter().all(|fact| fact["fact"] != "OrderConfirmed"), "{order}");
    let taken = facts.iter().find(|fact| fact["fact"] == "PaymentTaken").unwrap();
    assert_eq!(taken["detail"], "0.01 EUR, not 25.00 EUR");
    assert_eq!((system.net(&id).await, system.stocks().await), (0, before));
    // The metric of the alert, and the log, say so.
    reported(&system).await;
    let log = system.log("order");
    assert!(log.contains("charged a wrong amount") && log.contains("0.01 EUR, not 25.00 EUR"));
    if setup.style == "choreography" {
        // Payment doesn't charge the total as well: the order is a dead letter there.
        let letter = eventually("payment refuses the order", || async {
            system.dead_list("payment").await.pop()
        })
        .await;
        assert!(letter.to_string().contains("can't be charged 25.00 EUR"), "{letter}");
    }
}

/// What a payment service of the test's own does with a charge.
#[derive(Debug, Clone, Copy)]
enum Charge {
    /// It charges one cent, and says so.
    OneCent,
    /// It says that the order is already charged a different amount.
    OtherTotal,
}

/// A payment service that never charges the total. Whether it has refunded; the first time, it fails to.
async fn wrong_payment(charge: Charge) -> (String, Arc<AtomicUsize>) {
    let refunds = Arc::<AtomicUsize>::default();
    let cent = |state: &str| Json(json!({"state": state, "amount": 1, "currency": "EUR"}));
    let charged = async move || match charge {
        Charge::OneCent => (StatusCode::CREATED, cent("taken")),
        Charge::OtherTotal => {
            let kind = "https://shop.example.com/problems/other-total";
            (StatusCode::CONFLICT, Json(json!({"type": kind, "detail": "already charged"})))
        }
    };
    let refund = async move |State(refunds): State<Arc<AtomicUsize>>| match refunds
        .fetch_add(1, Ordering::SeqCst)
    {
        0 => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"detail": "not now"}))),
        _ => (StatusCode::OK, cent("refunded")),
    };
    let app = Router::new()
        .route("/payments", post(charged))
        .route("/payments/{order_id}/refund", post(refund))
        .with_state(refunds.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, app).into_future());
    (url, refunds)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_charges_a_wrong_amount_never_confirms() {
    let mut system = Plan::new(Setup::EMBEDDED).start().await;
    let before = system.stocks().await;
    for (charge, detail) in [
        (Charge::OneCent, "payment charged 0.01 EUR, not 25.00 EUR"),
        (Charge::OtherTotal, "already charged"),
    ] {
        let (payment, refunds) = wrong_payment(charge).await;
        system.stop_service("order").await;
        system.start_service("order", &[("PAYMENT_URL", &payment)]);
        system.service_ready("order").await;
        let (status, problem) = by_calls(&system, &checkout("mug-blue", 2)).await;
        assert_eq!((status.as_u16(), &problem["callee"]), (502, &json!("payment")), "{problem}");
        assert!(problem["type"].as_str().unwrap().ends_with("/wrong-amount"), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem}");
        let id = problem["order"].as_str().unwrap().trim_start_matches("/orders/");
        // The refund has failed once, and isn't left to an operator.
        let order: Value = system.settled(id).await;
        assert_eq!(
            (&order["status"], &order["reason"], &order["payment"]),
            (&json!("cancelled"), &json!("wrong_amount"), &json!("refunded"))
        );
        assert!(refunds.load(Ordering::SeqCst) > 1);
        assert!(system.log("order").contains("charged a wrong amount"));
        assert_eq!(system.stocks().await, before);
    }
    reported(&system).await;
}
