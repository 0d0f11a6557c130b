//! Each service killed at each point at which that could hurt, and started again.
//!
//! The points are the `CRASH_AT` of the services; a failure's output ends with the one that was tried last.

use std::collections::HashMap;

use contracts::Timestamp;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    in_both_styles,
    system::{Placed, Plan, SERVICES, Setup, System, assorted, checkout, eventually, new_key},
};

in_both_styles! {
    order_is_killed_at_each_point,
    payment_is_killed_at_each_point,
    inventory_is_killed_at_each_point,
    email_is_killed_at_each_point,
    an_order_is_cancelled_while_payment_is_dead,
    services_are_killed_under_load,
}

/// A place to die, and which service must then get a message a second time, and recognise it.
type Point = (&'static str, &'static [&'static str]);

async fn order_is_killed_at_each_point(setup: Setup) {
    // The first commit is the checkout's, whose customer gets no answer and repeats the request; the others are a fact's.
    let mut points: Vec<Point> = vec![
        ("after_confirm", &["payment", "inventory", "email"]),
        ("before_commit", &[]),
        ("after_commit", &[]),
        ("before_commit:2", &[]),
        ("after_commit:2", &["order"]),
    ];
    if setup.style == "orchestration" {
        // What follows from the first fact is a command.
        points.extend([
            ("after_confirm:2", &["payment"] as &[&str]),
            ("after_confirm:3", &["inventory", "email"]),
            ("before_commit:3", &[]),
            ("after_commit:3", &["order"]),
        ]);
    } else {
        points.push(("after_confirm:2", &["inventory", "email"]));
    }
    let confirmed = kill_at_each(setup, "order", &points, &[checkout("mug-blue", 2)]).await;
    assert_eq!(confirmed, points.len());
}

async fn payment_is_killed_at_each_point(setup: Setup) {
    let points: [Point; 5] = [
        ("after_confirm", &["order"]),
        ("after_call", &[]),
        ("after_call:2", &[]),
        ("before_commit", &[]),
        ("after_commit", &["payment"]),
    ];
    let confirmed = kill_at_each(setup, "payment", &points, &three_fates()).await;
    assert_eq!(confirmed, points.len());
}

async fn inventory_is_killed_at_each_point(setup: Setup) {
    let points: [Point; 3] =
        [("after_confirm", &["order"]), ("before_commit", &[]), ("after_commit", &["inventory"])];
    let confirmed = kill_at_each(setup, "inventory", &points, &three_fates()).await;
    assert_eq!(confirmed, points.len());
}

/// One order that is confirmed, one whose card is declined, one whose goods aren't there.
fn three_fates() -> [Value; 3] {
    let mut declined = checkout("mug-blue", 1);
    declined["card_token"] = json!("tok_declined");
    [checkout("mug-blue", 2), declined, checkout("vinyl-sold-out", 1)]
}

/// Kills a service at each of the points, with these checkouts on their way; how many orders were confirmed.
async fn kill_at_each(setup: Setup, service: &str, points: &[Point], checkouts: &[Value]) -> usize {
    let mut system = Plan::new(setup).start().await;
    let stocks = system.stocks().await;
    let (mut orders, mut confirmed) = (Vec::new(), 0);
    for (point, repeated) in points {
        println!("{service} is killed at {point}");
        let before = duplicates(&system, repeated).await;
        orders.extend(crash(&mut system, service, point, checkouts).await);
        confirmed = system.balance(&stocks, &orders).await;
        hear_twice(&system, service, repeated, &before).await;
    }
    // Once more, now that everything was delivered again.
    assert_eq!(system.balance(&stocks, &orders).await, confirmed);
    confirmed
}

/// Lets a service die at a point, and starts it again. The orders: those that got no answer were repeated.
async fn crash(
    system: &mut System,
    service: &str,
    point: &str,
    checkouts: &[Value],
) -> Vec<Placed> {
    system.stop_service(service).await;
    system.start_service(service, &[("CRASH_AT", point)]);
    // Or all that happens in the meantime would come to it at once.
    system.is_connected(service, 1.0).await;
    let customers = system.customers();
    let asking = checkouts.iter().cloned().map(|body| {
        let customers = customers.clone();
        tokio::spawn(async move { customers.insist(body, new_key()).await })
    });
    let asking: Vec<_> = asking.collect();
    system.wait_for_crash(service).await;
    end_leases(system, service).await;
    system.start_service(service, &[]);
    join_all(asking).await.into_iter().map(Result::unwrap).collect()
}

/// Ends at once what a dead service has leased of its outbox and of its queue in the jobs table: half a minute and some seconds
/// would be a long time to wait, so many times.
async fn end_leases(system: &System, service: &str) {
    let db = system.database(service).await;
    let mut tx = db.begin().await.unwrap();
    tx.query("UPDATE outbox SET leased_until = 0").execute().await.unwrap();
    tx.commit().await.unwrap();
    db.close().await;
    if system.broker_url().starts_with("sqlite:") {
        let db = store::Db::open(&system.broker_url(), store::Options::default()).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        tx.query("UPDATE deliveries SET due_at = $1 WHERE queue = $2")
            .bind(Timestamp::now().as_micros())
            .bind(service.to_owned())
            .execute()
            .await
            .unwrap();
        tx.commit().await.unwrap();
        db.close().await;
    }
}

/// How many messages these services have recognised as repetitions since they were started.
async fn duplicates(system: &System, services: &[&str]) -> HashMap<String, f64> {
    let count = async |service: &str| {
        system.metric(service, "shop_attempts_total", "outcome=\"duplicate\"").await.unwrap()
    };
    let mut counts = HashMap::new();
    for service in services {
        counts.insert((*service).to_owned(), count(service).await);
    }
    counts
}

/// Waits until these services have been given a message again: the crash was where it should be.
async fn hear_twice(
    system: &System,
    killed: &str,
    services: &[&str],
    before: &HashMap<String, f64>,
) {
    for service in services {
        // The one that was killed counts from 0.
        let before = if *service == killed { 0.0 } else { before[*service] };
        eventually(&format!("{service} gets a message again"), || async {
            (duplicates(system, &[service]).await[*service] > before).then_some(())
        })
        .await;
    }
    for service in SERVICES {
        system.outbox_drained(service).await;
    }
}

/// The only service that may do something twice, because a mail server knows no idempotency keys: a mail that the mail server took,
/// and the service was killed before that was committed, comes again, with the same Message-ID. No other mail does.
async fn email_is_killed_at_each_point(setup: Setup) {
    // A claim of the dead process lasts twice as long.
    let mut system = Plan::new(setup).env("email", "SMTP_TIMEOUT", "2s").start().await;
    // So that the receipt isn't on its way yet when the acknowledgement meets the crash.
    system.fault("processor", json!({"latency_ms": 1000})).await;
    let stocks = system.stocks().await;
    let mut orders = Vec::new();
    for (point, times) in [("after_call", 2), ("before_commit", 2), ("after_commit", 1)] {
        println!("email is killed at {point}");
        let placed = crash(&mut system, "email", point, &[checkout("mug-blue", 1)]).await;
        orders.extend(placed);
        let views = system.all_settled(&orders).await;
        assert_eq!(system.money_balances(&orders, &views).await, orders.len(), "all confirmed");
        system.goods_balance(&stocks, &views).await;
        let mails = mails_by_id(&system, &orders[orders.len() - 1].id, times + 1).await;
        let mut counts: Vec<usize> = mails.values().copied().collect();
        counts.sort_unstable();
        assert_eq!(counts, [1, times], "the receipt and the acknowledgement: {mails:?}");
        if times == 1 {
            hear_twice(&system, "email", &["email"], &HashMap::new()).await;
        }
    }
    system.no_dead_letters().await;
    let summary = system.mails_summary().await;
    assert_eq!(summary["total"], 2 * orders.len() + 2, "and no more mails: {summary}");
}

/// An order's mails, once there are so many: how often each Message-ID came.
async fn mails_by_id(system: &System, order: &str, count: usize) -> HashMap<String, usize> {
    let mut times = HashMap::new();
    for mail in system.mails_arrived(order, count).await {
        *times.entry(mail["message_id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    times
}

/// The processor has charged, nobody wrote it down, and then nobody wants it any more.
async fn an_order_is_cancelled_while_payment_is_dead(setup: Setup) {
    let mut system = Plan::new(setup).start().await;
    let stocks = system.stocks().await;
    system.stop_service("payment").await;
    // Where a saga says when to charge, the event comes first, and asks for nothing.
    let point = if setup.style == "orchestration" { "after_call:2" } else { "after_call" };
    system.start_service("payment", &[("CRASH_AT", point)]);
    system.is_connected("payment", 1.0).await;
    let placed = system.place(&checkout("mug-blue", 1)).await;
    system.wait_for_crash("payment").await;
    assert_eq!(system.net(&placed.id).await, placed.total, "it was charged");
    assert_eq!(system.order(&placed.id).await["payment"], "unknown", "and nobody knows");
    assert_eq!(system.cancel(&placed.id).await.status(), 202);

    system.start_service("payment", &[]);
    let order = system.settled(&placed.id).await;
    assert_eq!(
        (&order["status"], &order["reason"], &order["payment"], &order["stock"]),
        (&json!("cancelled"), &json!("customer"), &json!("refunded"), &json!("released")),
        "{order}"
    );
    assert_eq!(system.charges(&placed.id).await.len(), 1, "one charge, which was given back");
    assert_eq!(system.balance(&stocks, &[placed]).await, 0);
}

/// At no particular point: wherever they happen to be with twenty-five checkouts a second.
async fn services_are_killed_under_load(setup: Setup) {
    let mut system = Plan::new(setup).start().await;
    let stocks = system.stocks().await;
    let customers = system.customers();
    let load = customers.keep_coming(25, assorted);
    // Not email: its mails may repeat, as the test above shows.
    for service in ["order", "payment", "inventory", "payment", "inventory", "order"] {
        println!("{service} is killed");
        system.kill(service).await;
        end_leases(&system, service).await;
        system.start_service(service, &[]);
        system.service_ready(service).await;
    }
    let orders = customers.all_placed(load.end().await).await;
    assert!(system.balance(&stocks, &orders).await > orders.len() / 2);
}
