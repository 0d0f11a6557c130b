//! What repeating a request does, and asking about coupons.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    on_both,
    system::{Plan, Setup, System, checkout},
};

on_both! {
    the_same_key_gives_the_same_order,
    a_key_in_use_and_a_key_reused_are_refused,
    coupons_are_asked_about_in_time,
    a_slow_answer_about_a_coupon_is_not_waited_for,
}

async fn with_key(system: &System, key: &str, body: &Value) -> (StatusCode, Value) {
    let answer = system.post_checkout_with(body, |request| request.header("idempotency-key", key));
    let answer = answer.await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

async fn the_same_key_gives_the_same_order(setup: Setup) {
    let system = Plan::new(setup).start().await;
    let body = checkout("mug-blue", 1);
    let (status, first) = with_key(&system, "key-1", &body).await;
    assert_eq!(status, 202);
    for _ in 0..3 {
        assert_eq!(with_key(&system, "key-1", &body).await, (status, first.clone()));
    }
    // At the same time: one is placed, the others get its answer or are told to come back.
    let answers = join_all((0..20).map(|_| with_key(&system, "key-2", &body))).await;
    let placed: HashSet<&str> = answers
        .iter()
        .filter(|(status, _)| *status == 202)
        .map(|(_, body)| body["id"].as_str().unwrap())
        .collect();
    assert_eq!(placed.len(), 1, "{answers:?}");
    assert!(answers.iter().all(|(status, _)| [202, 409].contains(&status.as_u16())), "{answers:?}");
    let id = first["id"].as_str().unwrap().to_owned();
    system.settled(&id).await;
    assert_eq!(system.charges(&id).await.len(), 1);
}

async fn a_key_in_use_and_a_key_reused_are_refused(setup: Setup) {
    // The coupon's answer takes long, so that the first request is under way while the second comes.
    let slow = slow_payment().await;
    let plan = Plan::new(setup).env("order", "COUPON_TIMEOUT", "20s");
    let mut system = plan.start().await;
    system.stop_service("order").await;
    system.start_service("order", &[("PAYMENT_URL", &slow.url)]);
    system.service_ready("order").await;
    let mut body = checkout("mug-blue", 1);
    body["coupon"] = json!("WELCOME10");

    let first = with_key(&system, "key", &body);
    let second = async {
        slow.asked.notified().await;
        let second = with_key(&system, "key", &body).await;
        slow.answer.notify_one();
        second
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(second.0, 409, "{}", second.1);
    assert_eq!(first.0, 202, "{}", first.1);

    let (status, problem) = with_key(&system, "key", &checkout("mug-blue", 2)).await;
    assert_eq!(status, 422);
    assert!(problem["type"].as_str().unwrap().ends_with("idempotency-key-reused"), "{problem}");
}

/// Something that answers about coupons when it is told to.
struct SlowPayment {
    url: String,
    asked: std::sync::Arc<tokio::sync::Notify>,
    answer: std::sync::Arc<tokio::sync::Notify>,
}

async fn slow_payment() -> SlowPayment {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, answer) = (
        std::sync::Arc::<tokio::sync::Notify>::default(),
        std::sync::Arc::<tokio::sync::Notify>::default(),
    );
    let (told, wait) = (asked.clone(), answer.clone());
    let app = axum::Router::new().fallback(move || {
        let (told, wait) = (told.clone(), wait.clone());
        async move {
            told.notify_one();
            wait.notified().await;
            axum::Json(json!({"code": "WELCOME10", "percent_off": 10}))
        }
    });
    tokio::spawn(axum::serve(listener, app).into_future());
    SlowPayment { url, asked, answer }
}

async fn coupons_are_asked_about_in_time(setup: Setup) {
    let mut system = Plan::new(setup).start().await;
    let full = system.place(&checkout("mug-blue", 2)).await;
    let mut body = checkout("mug-blue", 2);
    body["coupon"] = json!("welcome10");
    let reduced = system.place(&body).await;
    assert_eq!(reduced.total, full.total * 90 / 100);
    system.settled(&reduced.id).await;
    assert_eq!(
        system.net(&reduced.id).await,
        reduced.total,
        "what is charged is the reduced total"
    );

    system.kill("payment").await;
    let answer = system.post_checkout(&body).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    assert!(answer.text().await.unwrap().contains("leave the coupon out"));
    let without = system.place(&checkout("mug-blue", 1)).await;
    system.start_service("payment", &[]);
    assert_eq!(system.settled(&without.id).await["status"], "confirmed");
}

async fn a_slow_answer_about_a_coupon_is_not_waited_for(setup: Setup) {
    // It takes the question, and never answers.
    let slow = slow_payment().await;
    let mut system = Plan::new(setup).start().await;
    system.stop_service("order").await;
    system.start_service("order", &[("PAYMENT_URL", &slow.url)]);
    system.service_ready("order").await;
    let mut body = checkout("mug-blue", 1);
    body["coupon"] = json!("WELCOME10");

    let asked = Instant::now();
    let answer = system.post_checkout(&body).await.unwrap();
    let took = asked.elapsed();
    assert_eq!(answer.status(), 503);
    let again = answer.headers().get("retry-after").expect("it says when to try again");
    assert!(again.to_str().unwrap().parse::<u32>().is_ok(), "{again:?}");
    assert!(answer.text().await.unwrap().contains("leave the coupon out"));
    assert!(took < Duration::from_millis(1_500), "it took {took:?}");
    let asked = tokio::time::timeout(Duration::from_secs(1), slow.asked.notified()).await;
    assert!(asked.is_ok(), "payment was asked");
    // With the same service, without the coupon.
    let without = system.place(&checkout("mug-blue", 1)).await;
    assert_eq!(system.settled(&without.id).await["status"], "confirmed");
}
