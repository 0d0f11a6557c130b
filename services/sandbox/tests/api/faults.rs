//! Faults, switched while everything runs.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::world::{World, answer, charge_of, mail};

/// For answers that must not come; longer than any that comes here.
const PATIENCE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn faults_are_switched_on_shown_and_off_for_each_part() {
    let world = World::start().await;
    let healthy = world.get("/faults").await;
    assert_eq!(healthy["processor"]["down"], false);
    world.set_faults("processor", json!({ "down": true, "latency_ms": 5 })).await;
    world.set_faults("mail", json!({ "error_rate": 0.5 })).await;
    let faults = world.get("/faults").await;
    let processor = json!({
        "latency_ms": 5, "error_rate": 0.0, "down": true, "lost_answers": 0.0, "decline_tokens": []
    });
    assert_eq!(faults["processor"], processor);
    assert_eq!(faults["mail"]["error_rate"], 0.5);
    world.set_faults("processor", json!({})).await;
    assert_eq!(world.get("/faults").await["processor"], healthy["processor"]);
    world.heal().await;
    assert_eq!(world.get("/faults").await, healthy);
}

#[tokio::test]
async fn a_processor_that_is_down_or_failing_charges_nothing_and_shows_its_ledger() {
    let world = World::start().await;
    let cases = [
        (json!({ "down": true }), StatusCode::SERVICE_UNAVAILABLE),
        (json!({ "error_rate": 1 }), StatusCode::INTERNAL_SERVER_ERROR),
    ];
    for (faults, expected) in cases {
        world.set_faults("processor", faults).await;
        assert_eq!(world.charge("key", &charge_of("order")).await.0, expected);
        let reverse = world.request(Method::POST, "/charges/key/reverse");
        assert_eq!(answer(reverse).await.0, expected);
        assert_eq!(world.totals().await, (0, 0, 0));
    }
    world.heal().await;
    assert_eq!(world.charge("key", &charge_of("order")).await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn a_lost_answer_is_a_charge_that_was_made() {
    let world = World::start().await;
    world.set_faults("processor", json!({ "lost_answers": 1 })).await;
    let request = world.charge_request("key", &charge_of("order")).timeout(PATIENCE);
    assert!(request.send().await.unwrap_err().is_timeout());
    assert_eq!(world.totals().await, (1, 0, 0));
    world.heal().await;
    assert_eq!(world.charge("key", &charge_of("order")).await.0, StatusCode::CREATED);
    assert_eq!(world.totals().await, (1, 0, 0));
    assert_eq!(world.reverse("key").await, "refunded");
}

#[tokio::test]
async fn a_lost_answer_ends_when_the_sandbox_stops() {
    let world = World::start().await;
    world.set_faults("processor", json!({ "lost_answers": 1 })).await;
    let request = world.charge_request("key", &charge_of("order"));
    let waiting = tokio::spawn(request.send());
    while world.totals().await.0 == 0 {
        tokio::task::yield_now().await;
    }
    let started = Instant::now();
    world.stop().await;
    assert_eq!(waiting.await.unwrap().unwrap().status(), StatusCode::GATEWAY_TIMEOUT);
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn a_slow_processor_charges_even_if_the_caller_hangs_up() {
    let world = World::start().await;
    world.set_faults("processor", json!({ "latency_ms": 3000 })).await;
    let request = world.charge_request("key", &charge_of("order")).timeout(PATIENCE);
    assert!(request.send().await.unwrap_err().is_timeout());
    assert_eq!(world.totals().await, (0, 0, 0));
    let deadline = Instant::now() + Duration::from_secs(10);
    while world.totals().await.0 == 0 {
        assert!(Instant::now() < deadline, "it never charged");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_share_of_errors_is_about_that_share() {
    let world = World::start().await;
    world.set_faults("processor", json!({ "error_rate": 0.5 })).await;
    let mut failed = 0;
    for number in 0..200 {
        let (status, _) = world.charge(&number.to_string(), &charge_of("order")).await;
        failed += u32::from(status == StatusCode::INTERNAL_SERVER_ERROR);
    }
    // Seven standard deviations.
    assert!((50..150).contains(&failed), "{failed} of 200");
    assert_eq!(world.totals().await.0, u64::from(200 - failed));
}

#[tokio::test]
async fn a_mail_server_that_is_down_or_failing_keeps_nothing() {
    let world = World::start().await;
    for (faults, code) in [(json!({ "down": true }), "421"), (json!({ "error_rate": 1 }), "451")] {
        world.set_faults("mail", faults).await;
        let error = world.send(mail("ada@example.com", "1", "a@shop", "hi")).await.unwrap_err();
        assert!(error.is_transient(), "{error:?}");
        assert_eq!(error.status().unwrap().to_string(), code);
    }
    assert_eq!(world.get("/mails/summary").await["total"], 0);
    world.heal().await;
    world.send(mail("ada@example.com", "1", "a@shop", "hi")).await.unwrap();
    assert_eq!(world.get("/mails/summary").await["total"], 1);
}

#[tokio::test]
async fn a_mail_server_that_goes_down_leaves_its_open_connections() {
    let world = World::start().await;
    let mailer = world.mailer();
    assert!(mailer.test_connection().await.unwrap());
    world.set_faults("mail", json!({ "down": true })).await;
    assert!(!mailer.test_connection().await.unwrap_or(false));
}

#[tokio::test]
async fn a_mail_whose_answer_is_lost_was_kept() {
    let world = World::start().await;
    world.set_faults("mail", json!({ "lost_answers": 1 })).await;
    let error = world.send(mail("ada@example.com", "1", "a@shop", "hi")).await.unwrap_err();
    assert!(error.status().is_none(), "no answer: {error:?}");
    world.heal().await;
    world.send(mail("ada@example.com", "1", "a@shop", "hi")).await.unwrap();
    let summary = json!({ "total": 2, "distinct_message_ids": 1, "repeated": 1 });
    assert_eq!(world.get("/mails/summary").await, summary);
}

#[tokio::test]
async fn a_slow_mail_server_takes_its_time() {
    let world = World::start().await;
    world.set_faults("mail", json!({ "latency_ms": 200 })).await;
    let started = Instant::now();
    world.send(mail("ada@example.com", "1", "a@shop", "hi")).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn nonsense_is_refused_and_changes_nothing() {
    let world = World::start().await;
    let before = world.get("/faults").await;
    let cases = [
        ("processor", r#"{"latency_ms": -1}"#),
        ("processor", r#"{"latency_ms": 1e9}"#),
        ("processor", r#"{"latency_ms": 60001}"#),
        ("processor", r#"{"error_rate": 1.5}"#),
        ("processor", r#"{"error_rate": -0.5}"#),
        ("processor", r#"{"lost_answers": "often"}"#),
        ("processor", r#"{"down": "yes"}"#),
        ("processor", r#"{"decline_tokens": "tok_stolen"}"#),
        ("processor", r#"{"decline_tokens": [""]}"#),
        ("processor", r#"{"slow": true}"#),
        ("mail", r#"{"decline_tokens": []}"#),
        ("mail", r#"{"error_rate": 2}"#),
    ];
    for (part, body) in cases {
        let request = world.request(Method::PUT, &format!("/faults/{part}"));
        let (status, problem) =
            answer(request.header("Content-Type", "application/json").body(body)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{part} {body}: {problem}");
    }
    assert_eq!(world.get("/faults").await, before);
}
