//! What the service answers over HTTP.

use std::time::Duration;

use reqwest::Method;
use runtime::client::Client;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{World, databases};

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

fn is_problem(problem: &Value, status: u16) {
    assert_eq!(problem["status"], status, "{problem}");
    assert!(problem["type"].as_str().unwrap().starts_with("https://"), "{problem}");
    assert!(problem["detail"].is_string(), "{problem}");
}
