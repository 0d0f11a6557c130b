//! Two replicas on one database, and every message several times, in any order.

use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use serde_json::json;
use uuid::Uuid;

use crate::world::{World, cancelled, databases, placed, until};

/// Orders in one go.
const ORDERS: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_and_a_shuffled_tripled_flood_leave_every_order_charged_once_or_not_at_all() {
    for database in databases().await {
        let world = World::new(database).await;
        let settings = ["--processor-timeout=300ms", "--retry-delays=1s,1s,1s"];
        let first = world.start(&settings).await;
        let second = world.start(&settings).await;
        world.faults(json!({ "error_rate": 0.05, "lost_answers": 0.02 })).await;
        let orders: Vec<(Uuid, bool)> = (0..ORDERS).map(|n| (Uuid::now_v7(), n % 2 == 0)).collect();
        for (order, is_placed, id) in flood(&orders) {
            if is_placed {
                world.say(id, &placed(order, "tok_visa")).await;
            } else {
                world.say(id, &cancelled(order)).await;
            }
        }
        world.faults(json!({})).await;
        for (order, is_cancelled) in &orders {
            let ends: &[&str] = if *is_cancelled { &["voided", "refunded"] } else { &["taken"] };
            until("the order is settled", async || {
                let state = first.payment(*order).await?["state"].as_str()?.to_owned();
                ends.contains(&state.as_str()).then_some(())
            })
            .await;
            let last = format!("{}.v1", ends.last().unwrap());
            let kept = world.ledger(*order).await;
            assert!(kept.len() <= 1, "{kept:?}");
            let net = kept.iter().filter(|charge| charge["refunded_at"].is_null()).count();
            assert_eq!(net, usize::from(!is_cancelled), "{last}: {kept:?}");
        }
        first.stop().await;
        second.stop().await;
        assert!(world.broker.dead_letters("payment", 10).await.unwrap().is_empty());
        for (order, _) in &orders {
            let mut heard = world.heard(*order);
            heard.sort_unstable();
            let announced = heard.len();
            heard.dedup();
            assert_eq!(heard.len(), announced, "{heard:?}");
        }
    }
}

/// The messages of all orders, each three times, shuffled.
fn flood(orders: &[(Uuid, bool)]) -> Vec<(Uuid, bool, Uuid)> {
    let mut messages = Vec::new();
    for (order, is_cancelled) in orders {
        let kinds: &[bool] = if *is_cancelled { &[true, false] } else { &[true] };
        for is_placed in kinds {
            messages.extend([(*order, *is_placed, Uuid::now_v7()); 3]);
        }
    }
    let shuffled = Just(messages).prop_shuffle();
    shuffled.new_tree(&mut TestRunner::default()).unwrap().current()
}
