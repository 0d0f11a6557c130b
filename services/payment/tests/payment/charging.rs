//! Orders that are placed and cancelled while everything works.

use contracts::{PaymentDeclined, PaymentRefunded, PaymentTaken};
use serde_json::json;
use uuid::Uuid;

use crate::world::{World, cancelled, databases, money, placed, until};

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_charged_once_however_often_it_is_said() {
    for database in databases().await {
        let (world, payment) = World::with_payment(database).await;
        let order = Uuid::now_v7();
        let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
        for id in [first, first, second, first, second] {
            world.say(id, &placed(order, "tok_visa")).await;
        }
        let taken = world.hear(order, "taken.v1").await;
        world.applied(second).await;
        let said: PaymentTaken = taken.data().unwrap();
        assert_eq!(said.amount, money(4200));
        assert!([Some(first), Some(second)].contains(&taken.causationid), "{taken:?}");
        let ledger = world.ledger(order).await;
        assert_eq!(ledger.len(), 1, "{ledger:?}");
        assert_eq!(ledger[0]["charge_id"], said.charge_id);
        let seen = payment.payment(order).await.unwrap();
        assert_eq!(seen["state"], "taken");
        assert_eq!(seen["charge_id"], said.charge_id);
        assert!(!seen.to_string().contains("tok_"), "{seen}");
        payment.stop().await;
        assert_eq!(world.heard(order), ["taken.v1"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_card_is_announced_and_a_cancellation_adds_nothing() {
    for database in databases().await {
        let (world, payment) = World::with_payment(database).await;
        let order = Uuid::now_v7();
        world.say(Uuid::now_v7(), &placed(order, "tok_insufficient_funds")).await;
        let declined: PaymentDeclined = world.hear(order, "declined.v1").await.data().unwrap();
        assert_eq!(declined.reason, "insufficient_funds");
        let cancellation = Uuid::now_v7();
        world.say(cancellation, &cancelled(order)).await;
        world.applied(cancellation).await;
        assert_eq!(payment.payment(order).await.unwrap()["state"], "declined");
        payment.stop().await;
        assert_eq!(world.heard(order), ["declined.v1"]);
        assert_eq!(world.ledger(order).await, [json!(null); 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_that_comes_first_leaves_nothing_to_charge() {
    for database in databases().await {
        let (world, payment) = World::with_payment(database).await;
        let order = Uuid::now_v7();
        let cancellation = Uuid::now_v7();
        world.say(cancellation, &cancelled(order)).await;
        let voided = world.hear(order, "voided.v1").await;
        assert_eq!(voided.causationid, Some(cancellation));
        let late = Uuid::now_v7();
        world.say(late, &placed(order, "tok_visa")).await;
        world.applied(late).await;
        assert_eq!(payment.payment(order).await.unwrap()["state"], "voided");
        payment.stop().await;
        assert_eq!(world.heard(order), ["voided.v1"]);
        assert_eq!(world.ledger(order).await, [json!(null); 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_order_gets_its_money_back_once() {
    for database in databases().await {
        let (world, payment) = World::with_payment(database).await;
        let order = Uuid::now_v7();
        world.say(Uuid::now_v7(), &placed(order, "tok_visa")).await;
        world.hear(order, "taken.v1").await;
        let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
        world.say(first, &cancelled(order)).await;
        let refunded = world.hear(order, "refunded.v1").await;
        assert_eq!(refunded.causationid, Some(first));
        assert_eq!(refunded.data::<PaymentRefunded>().unwrap().amount, money(4200));
        world.say(second, &cancelled(order)).await;
        world.applied(second).await;
        payment.stop().await;
        assert_eq!(world.heard(order), ["taken.v1", "refunded.v1"]);
        let ledger = world.ledger(order).await;
        assert_eq!(ledger.len(), 1);
        assert!(ledger[0]["refunded_at"].is_string(), "{ledger:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_in_flight_is_blocked_when_the_reversal_overtakes_it() {
    for database in databases().await {
        let (world, payment) = World::with_payment(database).await;
        let order = Uuid::now_v7();
        world.gate.close();
        let placement = Uuid::now_v7();
        world.say(placement, &placed(order, "tok_visa")).await;
        until("the charge is on its way", async || world.gate.holds().then_some(())).await;
        assert_eq!(payment.payment(order).await.unwrap()["state"], "pending");
        world.say(Uuid::now_v7(), &cancelled(order)).await;
        world.hear(order, "voided.v1").await;
        world.gate.open();
        // The charge arrives at last; the processor declines it, and that is no news.
        world.applied(placement).await;
        assert_eq!(payment.payment(order).await.unwrap()["state"], "voided");
        payment.stop().await;
        assert_eq!(world.heard(order), ["voided.v1"]);
        assert_eq!(world.ledger(order).await, [json!(null); 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_in_flight_is_refunded_when_it_overtakes_the_reversal() {
    for database in databases().await {
        let (world, payment) = World::with_payment(database).await;
        let order = Uuid::now_v7();
        // The money is taken, but the answer stays away.
        world.faults(json!({ "lost_answers": 1.0 })).await;
        world.say(Uuid::now_v7(), &placed(order, "tok_visa")).await;
        until("the charge", async || (!world.ledger(order).await.is_empty()).then_some(())).await;
        world.faults(json!({})).await;
        world.say(Uuid::now_v7(), &cancelled(order)).await;
        world.hear(order, "refunded.v1").await;
        payment.crash().await;
        assert_eq!(world.heard(order), ["refunded.v1"]);
        assert!(world.ledger(order).await[0]["refunded_at"].is_string());
    }
}
