//! Two replicas of every service, on one database and one queue for each pair, under load.

use futures_util::{StreamExt as _, stream};

use crate::system::{Customers, Placed, Plan, Setup, System, assorted, have_servers, new_key};

/// How many orders are placed.
const ORDERS: usize = 300;
/// How many customers order at the same time.
const CUSTOMERS: usize = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_of_each_service_do_nothing_twice() {
    if !have_servers() {
        return;
    }
    let mut system = Plan::new(Setup::SERVERS).mixed().replicas(2).start().await;
    let stocks = system.stocks().await;
    let customers = system.customers();
    let ordering = (0..ORDERS).map(|n| order(&system, &customers, n));
    let orders: Vec<Placed> = stream::iter(ordering).buffer_unordered(CUSTOMERS).collect().await;

    let confirmed = system.balance(&stocks, &orders).await;
    println!("{confirmed} of {ORDERS} orders were confirmed");
    assert!((ORDERS / 2..ORDERS).contains(&confirmed), "{confirmed} of {ORDERS} confirmed");
    let (posters, aside) = system.stocks().await["poster-limited"];
    assert!(posters >= 0 && aside == 0, "{posters} posters are left, {aside} of them put aside");
    both_worked(&system).await;
    system.all_run();
}

/// Places an order, and sometimes cancels it: in the middle of it, or too late.
async fn order(system: &System, customers: &Customers, n: usize) -> Placed {
    let checkout = customers.send(assorted(n), new_key()).await;
    let placed = checkout.placed().unwrap_or_else(|| panic!("{checkout:?}"));
    if n.is_multiple_of(7) {
        let status = system.cancel(&placed.id).await.status().as_u16();
        assert!([202, 409].contains(&status), "cancelling {} answers {status}", placed.id);
    }
    placed
}

/// Checks that each replica took part: a test in which one did everything would show nothing.
async fn both_worked(system: &System) {
    for name in system.names().iter().filter(|name| *name != "sandbox") {
        let applied = system.metric(name, "shop_attempts_total", "outcome=\"applied\"").await;
        let applied = applied.unwrap();
        println!("{name} applied {applied} messages");
        assert!(applied > 0.0, "{name} applied nothing");
    }
}
