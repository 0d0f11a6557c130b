//! The broker and the databases stopped under load: nothing is lost, and nobody has to restart anything.
//!
//! Each test has servers of its own, which it stops.

use std::time::Duration;

use reqwest::StatusCode;
use testkit::{TestPostgres, TestRabbitMq, own_postgres, own_rabbitmq};
use tokio::time::{Instant, sleep};

use crate::system::{
    Checkout, Placed, Plan, SERVICES, Setup, System, assorted, checkout, eventually, have_servers,
};

/// How long a server is away. Nothing can be waited for instead: time is what makes it an outage.
const OUTAGE: Duration = Duration::from_secs(20);
/// Checkouts a second.
const LOAD: u32 = 20;
/// The longest that a customer may wait for any answer.
const ANSWER: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_checkout_fails_while_the_broker_is_away() {
    let Some((mut system, rabbitmq)) = system_with_rabbitmq().await else { return };
    let stocks = system.stocks().await;
    let load = system.customers().keep_coming(LOAD, assorted);
    some_orders(&system, 10).await;
    rabbitmq.kill().await;
    consumers(&system, 0.0).await;
    sleep(OUTAGE).await;
    rabbitmq.start().await;
    consumers(&system, 1.0).await;
    let orders = all_accepted(&load.end().await);

    assert!(orders.len() >= 400, "{} orders are no load", orders.len());
    assert!(system.balance(&stocks, &orders).await > orders.len() / 2);
    system.all_run();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_consumer_comes_back_when_rabbitmq_is_restarted() {
    let Some((mut system, rabbitmq)) = system_with_rabbitmq().await else { return };
    let stocks = system.stocks().await;
    consumers(&system, 1.0).await;
    let load = system.customers().keep_coming(LOAD, assorted);
    some_orders(&system, 10).await;
    rabbitmq.restart().await;
    let after = system.place(&checkout("mug-blue", 1)).await;
    consumers(&system, 1.0).await;
    system.settled(&after.id).await;
    let mut orders = all_accepted(&load.end().await);

    orders.push(after);
    assert!(system.balance(&stocks, &orders).await > orders.len() / 2);
    system.all_run();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkouts_say_so_while_the_database_is_away() {
    let Some(postgres) = own_postgres().await else { return };
    if !have_servers() {
        return;
    }
    let mut system = on_postgres(Plan::new(Setup::SERVERS).mixed(), &postgres).await.start().await;
    let stocks = system.stocks().await;
    let customers = system.customers();
    let load = customers.keep_coming(LOAD, assorted);
    some_orders(&system, 10).await;
    let killed_at = Instant::now();
    postgres.kill().await;
    none_is_ready(&system).await;
    sleep(OUTAGE).await;
    let started_at = Instant::now();
    postgres.start().await;
    system.ready().await;
    postgres.restart().await;
    system.ready().await;
    let checkouts = load.end().await;

    let away = checkouts.iter().filter(|c| c.sent > killed_at && c.sent < started_at).count();
    assert!(away >= 300, "{away} checkouts are no load");
    let refused = checkouts.iter().filter(|checkout| refused_for_now(checkout)).count();
    println!("{refused} of {} checkouts were refused for now", checkouts.len());
    // With their keys: whether such a checkout was written or not, there is one order in the end.
    let orders = customers.all_placed(checkouts).await;
    assert!(system.balance(&stocks, &orders).await > orders.len() / 2);
    system.all_run();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_wait_for_servers_that_start_later() {
    let (Some(rabbitmq), Some(postgres)) = (own_rabbitmq().await, own_postgres().await) else {
        return;
    };
    let plan = Plan::new(Setup::SERVERS).mixed().broker(&rabbitmq.url);
    let plan = on_postgres(plan, &postgres).await;
    tokio::join!(rabbitmq.kill(), postgres.kill());
    let mut system = plan.launch().await;
    // Long enough for several attempts of each to fail.
    sleep(Duration::from_secs(3)).await;
    system.all_run();
    tokio::join!(rabbitmq.start(), postgres.start());
    system.ready().await;
    consumers(&system, 1.0).await;
    let stocks = system.stocks().await;
    let order = system.place(&checkout("mug-blue", 1)).await;

    assert_eq!(system.balance(&stocks, &[order]).await, 1);
    system.all_run();
}

/// A running system on a RabbitMQ that it has for itself.
async fn system_with_rabbitmq() -> Option<(System, TestRabbitMq)> {
    let rabbitmq = own_rabbitmq().await.filter(|_| have_servers())?;
    let system = Plan::new(Setup::SERVERS).mixed().broker(&rabbitmq.url).start().await;
    Some((system, rabbitmq))
}

/// Puts all the services' databases on this server.
async fn on_postgres(mut plan: Plan, postgres: &TestPostgres) -> Plan {
    for service in SERVICES {
        plan = plan.database(service, &postgres.database(service).await);
    }
    plan
}

/// Waits until the load has brought so many charges: the whole system is at work.
async fn some_orders(system: &System, charges: u64) {
    eventually("orders come", || async {
        (system.ledger_summary().await["charges"].as_u64()? >= charges).then_some(())
    })
    .await;
}

/// Waits until each service says that the broker delivers to it (1), or that it doesn't (0).
async fn consumers(system: &System, connected: f64) {
    for service in SERVICES {
        system.is_connected(service, connected).await;
    }
}

/// Checks that every service lives, and says that it can't work.
async fn none_is_ready(system: &System) {
    for service in SERVICES {
        eventually(&format!("{service} isn't ready"), || async {
            let ready = system.http().get(format!("{}/readyz", system.url(service)));
            (ready.send().await.unwrap().status() == StatusCode::SERVICE_UNAVAILABLE).then_some(())
        })
        .await;
        let live = system.http().get(format!("{}/livez", system.url(service)));
        assert_eq!(live.send().await.unwrap().status(), StatusCode::OK, "{service} lives");
        eventually(&format!("{service}'s metrics say so"), || async {
            let gauge = system.metric(service, "shop_database_connected", "").await?;
            (gauge == 0.0).then_some(())
        })
        .await;
    }
}

/// Checks that each checkout was accepted at once; the orders.
fn all_accepted(checkouts: &[Checkout]) -> Vec<Placed> {
    let accepted = checkouts.iter().map(|checkout| {
        assert!(checkout.took < ANSWER, "{checkout:?}");
        checkout.placed().unwrap_or_else(|| panic!("{checkout:?}"))
    });
    accepted.collect()
}

/// Whether a checkout was refused for want of a database. There was an answer in time, and no other refusal.
fn refused_for_now(checkout: &Checkout) -> bool {
    let answer = checkout.answer.as_ref().unwrap_or_else(|_| panic!("{checkout:?}"));
    assert!(checkout.took < ANSWER, "{checkout:?}");
    if answer.status == StatusCode::ACCEPTED {
        return false;
    }
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{checkout:?}");
    assert_eq!(answer.content_type, "application/problem+json", "{checkout:?}");
    assert!(answer.retry_after.as_ref().is_some_and(|s| s.parse::<u32>().is_ok()), "{checkout:?}");
    assert_eq!(answer.body["status"], 503, "{checkout:?}");
    true
}
