//! Charges while the card processor, or the service itself, fails.

use broker::Selection;
use serde_json::json;
use uuid::Uuid;

use crate::world::{RETRY_DELAYS, World, cancelled, databases, money, placed, until};

/// Further attempts, for a machine so slow that the first are over before the test has mended what was broken.
pub(crate) const FURTHER: &str = "--retry-delays=1s,5s,10s";

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_asked_for_again_with_the_same_key() {
    for database in databases().await {
        let world = World::new(database).await;
        let payment = world.start(&["--processor-timeout=200ms", FURTHER]).await;
        let order = Uuid::now_v7();
        let placement = Uuid::now_v7();
        world.faults(json!({ "lost_answers": 1.0 })).await;
        world.say(placement, &placed(order, "tok_visa")).await;
        let charges = until("the charge", async || {
            Some(world.ledger(order).await).filter(|charges| !charges.is_empty())
        })
        .await;
        assert_eq!(charges[0]["key"], placement.to_string());
        assert_eq!(payment.payment(order).await.unwrap()["state"], "pending");
        world.faults(json!({})).await;
        world.hear(order, "taken.v1").await;
        payment.stop().await;
        assert_eq!(world.ledger(order).await.len(), 1);
        assert_eq!(world.heard(order), ["taken.v1"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_the_charge_is_mended_when_the_message_comes_again() {
    for database in databases().await {
        let (world, payment) = World::with_payment(database).await;
        let order = Uuid::now_v7();
        world.faults(json!({ "lost_answers": 1.0 })).await;
        world.say(Uuid::now_v7(), &placed(order, "tok_visa")).await;
        until("the charge", async || (!world.ledger(order).await.is_empty()).then_some(())).await;
        payment.crash().await;
        world.faults(json!({})).await;
        let payment = world.start(&[]).await;
        world.hear(order, "taken.v1").await;
        payment.stop().await;
        assert_eq!(world.ledger(order).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_the_charge_of_an_order_that_is_cancelled_meanwhile_ends_in_a_refund() {
    for database in databases().await {
        let (world, payment) = World::with_payment(database).await;
        let order = Uuid::now_v7();
        let placement = Uuid::now_v7();
        world.faults(json!({ "lost_answers": 1.0 })).await;
        world.say(placement, &placed(order, "tok_visa")).await;
        until("the charge", async || (!world.ledger(order).await.is_empty()).then_some(())).await;
        payment.crash().await;
        world.faults(json!({})).await;
        world.say(Uuid::now_v7(), &cancelled(order)).await;
        let payment = world.start(&[]).await;
        world.hear(order, "refunded.v1").await;
        world.applied(placement).await;
        payment.stop().await;
        let ledger = world.ledger(order).await;
        assert_eq!(ledger.len(), 1);
        assert!(ledger[0]["refunded_at"].is_string());
        // If the placement came again first, the payment was taken before it was given back.
        assert_eq!(world.heard(order).last().unwrap(), "refunded.v1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_that_is_down_is_waited_for() {
    for database in databases().await {
        let world = World::new(database).await;
        let payment = world.start(&[FURTHER]).await;
        let order = Uuid::now_v7();
        world.faults(json!({ "down": true })).await;
        let placement = Uuid::now_v7();
        world.say(placement, &placed(order, "tok_visa")).await;
        payment.reaches(order, "pending").await;
        world.faults(json!({})).await;
        world.hear(order, "taken.v1").await;
        payment.stop().await;
        assert_eq!(world.ledger(order).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_that_is_given_up_is_voided_by_the_deadline_and_never_made_by_a_replay() {
    for database in databases().await {
        let (world, payment) = World::with_payment(database).await;
        let order = Uuid::now_v7();
        let placement = Uuid::now_v7();
        world.faults(json!({ "down": true })).await;
        world.say(placement, &placed(order, "tok_visa")).await;
        let dead = dead_letter(&world).await;
        assert_eq!(dead.id, placement);
        assert_eq!(dead.history.failures as usize, RETRY_DELAYS.len() + 1);
        assert!(dead.history.error.unwrap().contains("503"));
        assert_eq!(payment.payment(order).await.unwrap()["state"], "pending");
        world.faults(json!({})).await;
        world.say(Uuid::now_v7(), &cancelled(order)).await;
        world.hear(order, "voided.v1").await;
        world.broker.replay("payment", &Selection::All).await.unwrap();
        world.applied(placement).await;
        payment.stop().await;
        assert_eq!(world.ledger(order).await, [json!(null); 0]);
        assert_eq!(world.heard(order), ["voided.v1"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_that_the_processor_refuses_is_a_dead_letter_at_once_and_blocks_nobody() {
    for database in databases().await {
        let (world, payment) = World::with_payment(database).await;
        let (bad, good) = (Uuid::now_v7(), Uuid::now_v7());
        let mut order = placed(bad, "tok_visa");
        order.total = money(-1);
        world.say(Uuid::now_v7(), &order).await;
        world.say(Uuid::now_v7(), &placed(good, "tok_visa")).await;
        world.hear(good, "taken.v1").await;
        let dead = dead_letter(&world).await;
        assert_eq!(dead.history.failures, 1);
        let error = dead.history.error.unwrap();
        assert!(error.contains("422") && !error.contains("tok_"), "{error}");
        payment.stop().await;
        assert!(world.heard(bad).is_empty());
    }
}

/// The first message that payment gives up.
async fn dead_letter(world: &World) -> broker::DeadLetter {
    until("a dead letter", async || world.broker.dead_letters("payment", 10).await.unwrap().pop())
        .await
}
