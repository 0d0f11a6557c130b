//! What the service answers over HTTP.

use std::time::Duration;

use reqwest::Method;
use runtime::client::Client;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{World, cancelled, databases, placed, until};

#[tokio::test(flavor = "multi_thread")]
async fn coupons_are_found_however_they_are_written() {
    for database in databases().await {
        let (_world, payment) = World::with_payment(database).await;
        for (code, found, percent_off) in [
            ("WELCOME10", "WELCOME10", 10),
            ("welcome10", "WELCOME10", 10),
            ("Spring25", "SPRING25", 25),
            ("STAFF50", "STAFF50", 50),
        ] {
            let (status, coupon) = payment.get(&["coupons", code]).await;
            assert_eq!(status, 200, "{code}");
            assert_eq!(coupon, json!({ "code": found, "percent_off": percent_off }));
        }
        let long = "A".repeat(10_000);
        for code in
            ["WELCOME", "WELCOME10 ", "%", "'; DROP TABLE coupons", "ＷＥＬＣＯＭＥ10", "\0", &long]
        {
            let (status, problem) = payment.get(&["coupons", code]).await;
            assert_eq!(status, 404, "{code}");
            is_problem(&problem, 404);
        }
        payment.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_payments_and_bad_questions_are_problems() {
    for database in databases().await {
        let (_world, payment) = World::with_payment(database).await;
        let unknown = Uuid::now_v7().to_string();
        let (status, problem) = payment.get(&["payments", &unknown]).await;
        assert_eq!(status, 404);
        is_problem(&problem, 404);
        let (status, problem) = payment.get(&["payments", "42"]).await;
        assert_eq!(status, 400);
        is_problem(&problem, 400);
        for limit in ["0", "1001", "-1", "many", ""] {
            let url = format!("{}/?limit={limit}", payment.url);
            let api = Client::new(&url, Duration::from_secs(30)).unwrap();
            let answer = api.call(Method::GET, "", &["reversals"], |call| call).await.unwrap();
            assert_eq!(answer.status(), 400, "{limit:?}");
            is_problem(&answer.json().await.unwrap(), 400);
        }
        assert_eq!(payment.get(&["reversals"]).await.1, json!([]));
        let (_, openapi) = payment.get(&["openapi.json"]).await;
        for path in ["/coupons/{code}", "/payments/{order_id}", "/reversals"] {
            assert!(openapi["paths"][path].is_object(), "{path}");
        }
        payment.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_charged_one_amount_only() {
    for database in databases().await {
        let (world, payment) = World::with_payment(database).await;
        let order_id = Uuid::now_v7();
        assert_eq!(payment.charge(order_id, 1).await.0, 201);
        assert_eq!(payment.charge(order_id, 1).await.0, 201, "the same again");
        let (status, problem) = payment.charge(order_id, 4_200).await;
        assert_eq!(status, 409, "{problem}");
        is_problem(&problem, 409);
        assert!(problem["type"].as_str().unwrap().ends_with("/other-total"), "{problem}");
        // The order itself is a dead letter, and its cancellation refunds what was charged.
        let id = Uuid::now_v7();
        world.say(id, &placed(order_id, "tok_visa")).await;
        until("the order is a dead letter", async || {
            let letters = world.broker.dead_letters("payment", 10).await.unwrap();
            letters
                .iter()
                .any(|letter| {
                    letter.history.error.as_ref().is_some_and(|error| error.contains("42.00 EUR"))
                })
                .then_some(())
        })
        .await;
        world.say(Uuid::now_v7(), &cancelled(order_id)).await;
        payment.reaches(order_id, "refunded").await;
        let charges = world.ledger(order_id).await;
        assert_eq!((charges.len(), &charges[0]["amount"]), (1, &json!(1)), "{charges:?}");
        payment.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_of_an_unknown_order_is_not_found_and_announces_nothing() {
    for database in databases().await {
        let (world, payment) = World::with_payment(database).await;
        let [stranger, early, known] = [(); 3].map(|()| Uuid::now_v7());
        for order_id in [stranger, stranger, early] {
            let (status, problem) = payment.refund(order_id).await;
            assert_eq!(status, 404, "{problem}");
            assert!(problem["type"].as_str().unwrap().ends_with("/unknown-order"), "{problem}");
        }
        // An order that comes later is not charged, and its cancellation is answered.
        world.say(Uuid::now_v7(), &placed(early, "tok_visa")).await;
        world.say(Uuid::now_v7(), &cancelled(early)).await;
        world.hear(early, "voided.v1").await;
        assert_eq!(world.ledger(early).await, [] as [Value; 0]);
        // One that is known is refunded, and that is announced.
        assert_eq!(payment.charge(known, 4_200).await.0, 201);
        assert_eq!(payment.refund(known).await.0, 200);
        world.hear(known, "refunded.v1").await;
        assert_eq!(world.heard(stranger), [] as [String; 0]);
        assert_eq!(world.heard(early).len(), 1);
        payment.stop().await;
    }
}

fn is_problem(problem: &Value, status: u16) {
    assert_eq!(problem["status"], status, "{problem}");
    assert!(problem["type"].as_str().unwrap().starts_with("https://"), "{problem}");
    assert!(problem["detail"].is_string(), "{problem}");
}
