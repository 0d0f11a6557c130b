//! Every message delivered three times, in a random order: the same end, one charge, one of each mail.

use futures_util::future::join_all;
use serde_json::json;

use crate::{
    in_both_styles,
    system::{Plan, Setup, checkout, eventually},
};

in_both_styles! { three_times_in_any_order_comes_to_the_same_end }

async fn three_times_in_any_order_comes_to_the_same_end(setup: Setup) {
    let system = Plan::new(setup).chaos().start().await;
    let before = system.stock("mug-blue").await;
    let orders = join_all((0..40).map(|n| {
        let system = &system;
        async move {
            let mut body = checkout("mug-blue", 1 + n % 3);
            match n % 4 {
                1 => body["card_token"] = json!("tok_declined"),
                2 => body["items"] = json!([{"sku": "vinyl-sold-out", "quantity": 1}]),
                _ => {}
            }
            let placed = system.place(&body).await;
            if n % 5 == 0 {
                // In the middle of it, or too late: both are fine.
                assert!([202, 409].contains(&system.cancel(&placed.id).await.status().as_u16()));
            }
            placed
        }
    }))
    .await;

    let confirmed = system.audit(&orders).await;
    assert!(confirmed > 0, "some must have been confirmed");
    let mut sold = 0;
    for placed in &orders {
        let order = system.order(&placed.id).await;
        if order["status"] == "confirmed" {
            sold += order["lines"][0]["quantity"].as_i64().unwrap();
        }
    }
    eventually("the goods of the confirmed orders, and no others, leave", || async {
        (system.stock("mug-blue").await == (before.0 - sold, before.1)).then_some(())
    })
    .await;
    let broker = system.broker().await;
    for service in crate::system::SERVICES {
        assert_eq!(broker.depth(service).await.unwrap().dead, 0, "dead letters of {service}");
    }
}
