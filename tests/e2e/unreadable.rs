//! Rows that this program can't read, as those of a newer version after it was rolled back: each costs only itself, is named, and is
//! dealt with when it was repaired.

use crate::{
    on_both,
    system::{Placed, Plan, Setup, System, eventually, new_key, plain},
};

on_both! { a_row_that_cannot_be_read_costs_no_other }

async fn a_row_that_cannot_be_read_costs_no_other(setup: Setup) {
    let plan = Plan::new(setup).mixed().env("order", "ORDER_DEADLINE", "8s");
    let mut system = plan.env("order", "STEP_TIMEOUT", "4s").start().await;
    let stocks = system.stocks().await;
    // Nothing is answered, so that all wait for their deadline, or their saga's.
    system.stop_service("payment").await;
    system.stop_service("inventory").await;
    let customers = system.customers();
    let mut orders = Vec::new();
    for n in 0..6 {
        let checkout = customers.send(plain(n), new_key()).await;
        orders.push(checkout.placed().unwrap_or_else(|| panic!("{checkout:?}")));
    }
    let (bad, others) = orders.split_at(2);
    for order in bad {
        tamper(&system, order, "UPDATE orders SET coordination = 'telepathy' WHERE order_id = $1")
            .await;
    }
    // Every other order is orchestrated: this one has a saga. When that can't be read, the deadline is left.
    let step = "UPDATE steps SET step = 'read_minds' WHERE order_id = $1";
    tamper(&system, &orders[3], step).await;

    for order in others {
        cancelled(&system, order).await;
    }
    for (table, rows) in [("orders", 2.0), ("steps", 1.0)] {
        let label = format!("table=\"{table}\"");
        let counted = system.metric("order", "shop_unreadable_rows", &label).await;
        assert_eq!(counted, Some(rows), "{table}");
    }
    let log = system.log("order");
    for order in bad {
        let about = |line: &&str| line.contains(&order.id) && line.contains("telepathy");
        assert_eq!(log.lines().filter(about).count(), 1, "{} is named once", order.id);
    }

    for (order, style) in bad.iter().zip(["choreography", "orchestration"]) {
        let repair = match style {
            "choreography" => "UPDATE orders SET coordination = 'choreography' WHERE order_id = $1",
            _ => "UPDATE orders SET coordination = 'orchestration' WHERE order_id = $1",
        };
        tamper(&system, order, repair).await;
        cancelled(&system, order).await;
    }
    system.start_service("payment", &[]);
    system.start_service("inventory", &[]);
    assert_eq!(system.balance(&stocks, &orders).await, 0);
    system.all_run();
}

async fn cancelled(system: &System, order: &Placed) {
    eventually(&format!("order {} is cancelled", order.id), || async {
        (system.order(&order.id).await["status"] == "cancelled").then_some(())
    })
    .await;
}

/// Changes something about an order behind its service's back.
async fn tamper(system: &System, order: &Placed, sql: &'static str) {
    let db = system.database("order").await;
    let mut tx = db.begin().await.unwrap();
    let id: uuid::Uuid = order.id.parse().unwrap();
    assert_eq!(tx.query(sql).bind(id).execute().await.unwrap(), 1);
    tx.commit().await.unwrap();
    db.close().await;
}
