//! Undoing payments while that fails.

use serde_json::json;
use uuid::Uuid;

use crate::{
    failing::FURTHER,
    world::{World, cancelled, databases, placed, until},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_is_tried_until_the_processor_is_back() {
    for database in databases().await {
        let (world, payment) = World::with_payment(database).await;
        let order = Uuid::now_v7();
        world.say(Uuid::now_v7(), &placed(order, "tok_visa")).await;
        world.hear(order, "taken.v1").await;
        world.faults(json!({ "down": true })).await;
        world.say(Uuid::now_v7(), &cancelled(order)).await;
        // More often than any message is tried.
        until("the seventh failure", async || {
            let (_, list) = payment.get(&["reversals"]).await;
            let failures = list[0]["failed_reversals"].as_u64().unwrap_or(0);
            (list[0]["order_id"] == order.to_string() && failures >= 7).then_some(())
        })
        .await;
        let failing = payment.metric("shop_compensations_failing ").await;
        assert_eq!(failing, Some(1.0));
        world.faults(json!({})).await;
        world.hear(order, "refunded.v1").await;
        until("the alarm ends", async || {
            payment.metric("shop_compensations_failing ").await.filter(|failing| *failing == 0.0)
        })
        .await;
        let attempts = "shop_compensation_attempts_total{outcome=\"refunded\"} ";
        assert_eq!(payment.metric(attempts).await, Some(1.0));
        payment.stop().await;
        assert_eq!(world.heard(order), ["taken.v1", "refunded.v1"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_whose_answer_is_lost_is_asked_about_again() {
    for database in databases().await {
        let world = World::new(database).await;
        let payment = world.start(&["--processor-timeout=200ms", FURTHER]).await;
        let order = Uuid::now_v7();
        world.say(Uuid::now_v7(), &placed(order, "tok_visa")).await;
        world.hear(order, "taken.v1").await;
        world.faults(json!({ "lost_answers": 1.0 })).await;
        world.say(Uuid::now_v7(), &cancelled(order)).await;
        until("the refund", async || {
            let ledger = world.ledger(order).await;
            ledger[0]["refunded_at"].is_string().then_some(())
        })
        .await;
        assert_eq!(payment.payment(order).await.unwrap()["state"], "reversing");
        world.faults(json!({})).await;
        world.hear(order, "refunded.v1").await;
        payment.stop().await;
        assert_eq!(world.heard(order), ["taken.v1", "refunded.v1"]);
    }
}

/// What a process has promised to undo, another does.
#[tokio::test(flavor = "multi_thread")]
async fn a_refund_outlives_its_process() {
    for database in databases().await {
        let (world, payment) = World::with_payment(database).await;
        let order = Uuid::now_v7();
        world.say(Uuid::now_v7(), &placed(order, "tok_visa")).await;
        world.hear(order, "taken.v1").await;
        world.faults(json!({ "down": true })).await;
        world.say(Uuid::now_v7(), &cancelled(order)).await;
        payment.reaches(order, "reversing").await;
        payment.stop().await;
        world.faults(json!({})).await;
        let payment = world.start(&[]).await;
        world.hear(order, "refunded.v1").await;
        payment.stop().await;
        assert_eq!(world.ledger(order).await.len(), 1);
    }
}
