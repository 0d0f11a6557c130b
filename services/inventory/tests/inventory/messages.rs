//! The service between its neighbours: orders in, what became of their goods out.

use contracts::{
    Cancellation, Coordination, Customer, Line, Money, OrderCancelled, OrderConfirmed, OrderPlaced,
    Shortage, StockRejected, Timestamp,
};
use serde_json::json;
use uuid::Uuid;

use crate::{databases, running::Running, short};

fn customer() -> Customer {
    Customer { email: "ada@example.com".to_owned(), name: None }
}

fn euro(amount: i64) -> Money {
    Money { amount, currency: "EUR".to_owned() }
}

fn order(quantities: &[(&str, u32)]) -> OrderPlaced {
    let line = |(sku, quantity): &(&str, u32)| Line {
        sku: (*sku).to_owned(),
        name: String::new(),
        quantity: *quantity,
        unit_price: euro(1),
    };
    OrderPlaced {
        order_id: Uuid::now_v7(),
        customer: customer(),
        lines: quantities.iter().map(line).collect(),
        total: euro(1),
        card_token: "tok_visa".to_owned(),
        coordination: Coordination::Choreography,
        placed_at: Timestamp::now(),
    }
}

fn confirmed(order: &OrderPlaced) -> OrderConfirmed {
    let OrderPlaced { order_id, lines, total, .. } = order.clone();
    OrderConfirmed { order_id, customer: customer(), lines, total }
}

fn cancelled(order: &OrderPlaced) -> OrderCancelled {
    let OrderPlaced { order_id, lines, total, .. } = order.clone();
    let reason = Cancellation::Customer;
    let coordination = contracts::Coordination::Choreography;
    OrderCancelled { order_id, customer: customer(), lines, total, reason, coordination }
}

#[tokio::test]
async fn orders_are_reserved_shipped_rejected_and_released() {
    for database in databases().await {
        let mut shop = Running::start(&database).await;
        shop.told(10).await; // the seed

        let posters = order(&[("mug-blue", 2), ("poster-limited", 3)]);
        let id = Uuid::now_v7();
        shop.publish(id, &posters).await;
        shop.publish(id, &posters).await; // a repetition
        shop.publish(Uuid::now_v7(), &posters).await; // the same fact in another message
        let reserved = shop.told(1).await.remove(0);
        assert_eq!(short(&reserved.kind), "stock.reserved");
        assert_eq!(reserved.subject, posters.order_id.to_string());
        let body = shop.reservation(posters.order_id, "reserved").await;
        let lines = [("mug-blue", 2), ("poster-limited", 3)];
        assert_eq!(body["lines"], json!(lines.map(|(s, q)| json!({"sku": s, "quantity": q}))));

        let too_many = order(&[("mug-blue", 1), ("poster-limited", 3)]);
        let id = Uuid::now_v7();
        shop.publish(id, &too_many).await;
        let rejected = shop.told(1).await.remove(0);
        assert_eq!(rejected.causationid, Some(id));
        let rejected: StockRejected = rejected.data().unwrap();
        let shortage = Shortage { sku: "poster-limited".to_owned(), wanted: 3, available: 2 };
        assert_eq!(rejected.shortages, [shortage]);
        let fewer = json!({"name": "Poster", "unit_price": euro(1), "on_hand": 2}).to_string();
        let refused = shop.put("poster-limited", "application/json", fewer).await;
        assert_eq!(refused.status(), 409);

        shop.publish(Uuid::now_v7(), &confirmed(&posters)).await;
        shop.reservation(posters.order_id, "shipped").await;
        let early = order(&[("mug-blue", 4)]);
        shop.publish(Uuid::now_v7(), &cancelled(&early)).await;
        assert_eq!(short(&shop.told(1).await[0].kind), "stock.released");
        shop.publish(Uuid::now_v7(), &early).await; // late: it must reserve nothing
        let last = order(&[("poster-limited", 2)]);
        shop.publish(Uuid::now_v7(), &last).await;
        assert_eq!(shop.told(1).await[0].subject, last.order_id.to_string());

        shop.reservation(early.order_id, "released").await;
        let mug = shop.get_json(&["products", "mug-blue"]).await;
        assert_eq!((&mug["on_hand"], &mug["reserved"]), (&json!(99_998), &json!(0)));
        let poster = shop.get_json(&["products", "poster-limited"]).await;
        assert_eq!((&poster["on_hand"], &poster["available"]), (&json!(2), &json!(0)));
        shop.stop().await;
    }
}

#[tokio::test]
async fn calls_about_an_unknown_order_are_not_found_and_announce_nothing() {
    for database in databases().await {
        let mut shop = Running::start(&database).await;
        shop.told(10).await; // the seed
        let [stranger, early, known] = [(); 3].map(|()| order(&[("mug-blue", 1)]));
        for (order, action) in [
            (&stranger, "ship"),
            (&stranger, "release"),
            (&stranger, "release"),
            (&early, "release"),
        ] {
            let (status, problem) = shop.post(order.order_id, action).await;
            assert_eq!(status, 404, "{problem}");
            assert!(problem["type"].as_str().unwrap().ends_with("/unknown-order"), "{problem}");
        }
        // Nothing is reserved for an order that comes later, and its cancellation is answered.
        shop.publish(Uuid::now_v7(), &early).await;
        shop.publish(Uuid::now_v7(), &cancelled(&early)).await;
        let told = shop.told(1).await.remove(0);
        assert_eq!(short(&told.kind), "stock.released");
        assert_eq!(told.subject, early.order_id.to_string());
        // One that is known is released, and that is announced.
        shop.publish(Uuid::now_v7(), &known).await;
        assert_eq!(short(&shop.told(1).await[0].kind), "stock.reserved");
        let (status, released) = shop.post(known.order_id, "release").await;
        assert_eq!((status, &released["state"]), (200, &json!("released")));
        assert_eq!(shop.told(1).await[0].subject, known.order_id.to_string());
        let (status, _) = shop.post(known.order_id, "ship").await;
        assert_eq!(status, 409, "it is known, and its goods are not reserved");
        let mug = shop.get_json(&["products", "mug-blue"]).await;
        assert_eq!(mug["reserved"], json!(0));
        shop.stop().await;
    }
}

#[tokio::test]
async fn a_contradiction_is_a_dead_letter_and_blocks_nobody() {
    let database = testkit::sqlite_database();
    let mut shop = Running::start(&database).await;
    shop.told(10).await; // the seed
    let [impossible, good] = [(); 2].map(|()| order(&[("mug-blue", 1)]));
    shop.publish(Uuid::now_v7(), &confirmed(&impossible)).await;
    shop.publish(Uuid::now_v7(), &good).await;
    assert_eq!(shop.told(1).await[0].subject, good.order_id.to_string());
    let letters = shop.dead_letters().await;
    let reason = letters[0].history.error.as_deref().unwrap();
    assert!(reason.contains("can't be confirmed: its goods are new"), "{reason}");
    assert_eq!((letters.len(), letters[0].history.failures), (1, 1));
    shop.stop().await;
}
