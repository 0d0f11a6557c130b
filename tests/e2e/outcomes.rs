//! How an order can end, and that the books balance each time.

use serde_json::json;

use crate::{
    in_both_styles,
    system::{Plan, Setup, checkout, eventually},
};

in_both_styles! {
    a_checkout_is_confirmed,
    a_declined_card_cancels,
    an_empty_shelf_cancels,
    a_customer_cancels,
    the_deadline_cancels,
}

async fn a_checkout_is_confirmed(setup: Setup) {
    let system = Plan::new(setup).start().await;
    let before = system.stock("mug-blue").await;
    let placed = system.place(&checkout("mug-blue", 3)).await;
    let order = system.settled(&placed.id).await;

    assert_eq!(order["status"], "confirmed", "{order}");
    let facts: Vec<&str> =
        order["timeline"].as_array().unwrap().iter().map(|f| f["fact"].as_str().unwrap()).collect();
    for fact in ["OrderPlaced", "PaymentTaken", "StockReserved", "OrderConfirmed"] {
        assert!(facts.contains(&fact), "{facts:?}");
    }
    assert_eq!(system.audit(std::slice::from_ref(&placed)).await, 1);
    let mails = system.mails(&placed.id).await;
    assert!(
        mails.iter().all(|mail| mail["to"].to_string().contains("ada@example.com")),
        "{mails:?}"
    );
    eventually("the goods leave", || async {
        (system.stock("mug-blue").await == (before.0 - 3, before.1)).then_some(())
    })
    .await;
}

async fn a_declined_card_cancels(setup: Setup) {
    let system = Plan::new(setup).start().await;
    let before = system.stock("mug-blue").await;
    let mut body = checkout("mug-blue", 1);
    body["card_token"] = json!("tok_declined");
    let placed = system.place(&body).await;
    let order = system.settled(&placed.id).await;

    assert_eq!(
        (&order["status"], &order["reason"]),
        (&json!("cancelled"), &json!("payment_declined"))
    );
    assert_eq!(system.audit(&[placed]).await, 0);
    assert_eq!(system.stock("mug-blue").await, before);
}

async fn an_empty_shelf_cancels(setup: Setup) {
    let system = Plan::new(setup).start().await;
    let (on_hand, _) = system.stock("poster-limited").await;
    let too_many = u32::try_from(on_hand).unwrap() + 1;
    let placed = system.place(&checkout("poster-limited", too_many)).await;
    let order = system.settled(&placed.id).await;

    assert_eq!(
        (&order["status"], &order["reason"]),
        (&json!("cancelled"), &json!("stock_rejected"))
    );
    assert_eq!(system.audit(&[placed]).await, 0);
    assert_eq!(system.stock("poster-limited").await, (on_hand, 0));
}

async fn a_customer_cancels(setup: Setup) {
    let system = Plan::new(setup).start().await;
    let before = system.stock("mug-blue").await;
    // The processor thinks long enough for the customer to change their mind.
    system.fault("processor", json!({"latency_ms": 2000})).await;
    let placed = system.place(&checkout("mug-blue", 1)).await;
    let answer = system.cancel(&placed.id).await;
    assert_eq!(answer.status(), 202);
    system.heal().await;
    let order = system.settled(&placed.id).await;

    assert_eq!((&order["status"], &order["reason"]), (&json!("cancelled"), &json!("customer")));
    assert_eq!(system.audit(std::slice::from_ref(&placed)).await, 0);
    assert_eq!(system.stock("mug-blue").await, before);
    assert_eq!(system.cancel(&placed.id).await.status(), 202, "cancelling again changes nothing");

    let confirmed = system.place(&checkout("mug-blue", 1)).await;
    system.settled(&confirmed.id).await;
    assert_eq!(system.cancel(&confirmed.id).await.status(), 409, "a confirmed order stays");
}

async fn the_deadline_cancels(setup: Setup) {
    let system = Plan::new(setup).env("order", "ORDER_DEADLINE", "1s").start().await;
    // Charges are made, but the answers never come: whether the card was charged is unknown until somebody undoes it.
    system.fault("processor", json!({"lost_answers": 1.0})).await;
    let placed = system.place(&checkout("mug-blue", 1)).await;
    eventually("the deadline passes", || async {
        (system.order(&placed.id).await["status"] == "cancelled").then_some(())
    })
    .await;
    system.heal().await;
    let order = system.settled(&placed.id).await;

    assert_eq!(order["reason"], "deadline", "{order}");
    assert_eq!(system.audit(&[placed]).await, 0);
}
