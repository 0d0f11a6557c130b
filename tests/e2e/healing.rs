//! What once stopped the shop for good, in silence: lines and replicas that fall silent, and a full disk. It goes on by itself.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use reqwest::StatusCode;
use testkit::{Proxy, SmallDisk, server_of};
use tokio::time::{Instant, sleep};

use crate::system::{
    Checkout, Placed, Plan, SERVICES, Setup, System, checkout, eventually, have_servers, new_key,
    plain, within,
};

/// Checkouts a second.
const LOAD: u32 = 30;
/// How long it may take until orders are settled again.
const RECOVERED: Duration = Duration::from_secs(30);
/// How long the disk is full. Nothing can be waited for instead: time is what makes it a standstill.
const FULL: Duration = Duration::from_secs(5);
/// A session that waits for a row, and one that is left in a transaction.
const WAITING: &str = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
const IDLE: &str = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'";
/// How long a process may take to end in order.
const STOPPED: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_to_the_database_that_fall_silent_are_replaced() {
    if !have_servers() {
        return;
    }
    let (mut plan, mut lines) = (Plan::new(Setup::SERVERS).mixed(), BTreeMap::new());
    let mut databases = Vec::new();
    for service in SERVICES {
        let database = testkit::postgres_database().await.unwrap();
        let line = Proxy::start(server_of(&database.url)).await;
        plan = plan.database(service, &line.before(&database.url));
        lines.insert(service, line);
        databases.push(database);
    }
    let mut system = plan.start().await;
    let stocks = system.stocks().await;
    let customers = system.customers();
    let load = customers.keep_coming(LOAD, plain);
    some_orders(&system, 10).await;
    let mut checkouts = Vec::new();
    for (service, line) in &lines {
        line.silence();
        checkouts.extend(recovers(&system, &format!("{service}'s line fell silent")).await);
    }
    checkouts.extend(load.end().await);
    let orders = customers.all_placed(checkouts).await;
    assert_eq!(system.balance(&stocks, &orders).await, orders.len(), "all are confirmed");
    system.all_run();

    for line in lines.values() {
        line.silence();
    }
    let began = Instant::now();
    system.stop().await;
    assert!(began.elapsed() < STOPPED, "{:?}", began.elapsed());
}

/// Its transaction keeps the row lock, and no other replica can reserve from that row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_frozen_in_a_transaction_holds_up_no_other() {
    if !have_servers() {
        return;
    }
    let mut system = Plan::new(Setup::SERVERS).mixed().replicas(2).start().await;
    let stocks = system.stocks().await;
    system.stop_service("inventory").await;
    // It waits for the row that the test has, and gets it while it is frozen.
    let db = system.database("inventory").await;
    let mut tx = db.begin().await.unwrap();
    let lock = "SELECT sku FROM products WHERE sku = 'mug-blue' FOR UPDATE";
    tx.query(lock).execute().await.unwrap();
    let mut orders = vec![system.place(&checkout("mug-blue", 1)).await];
    session(&db, WAITING).await;
    system.freeze("inventory.1");
    drop(tx);
    session(&db, IDLE).await;
    db.close().await;

    let began = Instant::now();
    system.start_service("inventory", &[]);
    system.is_connected("inventory", 1.0).await;
    for _ in 0..6 {
        orders.push(system.place(&checkout("mug-blue", 1)).await);
    }
    // Some of them were delivered to the frozen one, and wait until the broker misses its heartbeats.
    settles(&system, &orders, began).await;
    println!("an order was settled {:?} after the freeze", began.elapsed());
    system.thaw("inventory.1");
    system.service_ready("inventory.1").await;
    assert_eq!(system.balance(&stocks, &orders).await, orders.len(), "all are confirmed");
    system.all_run();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_forgotten_when_there_is_space_again() {
    let Some(disk) = SmallDisk::new(24) else { return };
    let url = |name: &str| format!("sqlite://{}", disk.folder.join(name).display());
    let mut plan = Plan::new(Setup::EMBEDDED).mixed().broker(&url("broker.db"));
    for service in SERVICES {
        plan = plan.database(service, &url(&format!("{service}.db")));
    }
    let mut system = plan.start().await;
    let stocks = system.stocks().await;
    let customers = system.customers();
    let load = customers.keep_coming(LOAD, plain);
    some_orders(&system, 10).await;
    disk.fill();
    sleep(FULL).await;
    disk.free();
    let mut checkouts = recovers(&system, "the disk was full").await;
    checkouts.extend(load.end().await);

    let refused = checkouts.iter().filter(|checkout| refused_for_now(checkout)).count();
    println!("{refused} of {} checkouts were refused for now", checkouts.len());
    assert!(refused > 0, "the disk was not full");
    let orders = customers.all_placed(checkouts).await;
    assert_eq!(system.balance(&stocks, &orders).await, orders.len(), "all are confirmed");
    system.all_run();
}

/// Waits for the first charges: the whole system is at work.
async fn some_orders(system: &System, charges: u64) {
    eventually("orders come", || async {
        (system.ledger_summary().await["charges"].as_u64()? >= charges).then_some(())
    })
    .await;
}

/// Waits until an order that is placed now is settled; the checkouts that it took.
async fn recovers(system: &System, after: &str) -> Vec<Checkout> {
    let (began, customers) = (Instant::now(), system.customers());
    let mut checkouts = Vec::new();
    let order = loop {
        let checkout = customers.send(plain(0), new_key()).await;
        let placed = checkout.placed();
        checkouts.push(checkout);
        if let Some(placed) = placed {
            break placed;
        }
        assert!(began.elapsed() < RECOVERED, "no order is accepted after {after}");
    };
    settles(system, &[order], began).await;
    println!("recovered {:?} after {after}", began.elapsed());
    checkouts
}

/// Waits until one of these orders is settled.
async fn settles(system: &System, orders: &[Placed], began: Instant) {
    within(RECOVERED.saturating_sub(began.elapsed()), "an order is settled again", || async {
        let views = join_all(orders.iter().map(|order| system.order(&order.id))).await;
        views.iter().any(|order| order["settled"] == true).then_some(())
    })
    .await;
}

/// Waits until this finds a session.
async fn session(db: &store::Db, sql: &'static str) {
    eventually(sql, || async { db.read(sql).optional::<(i32,)>().await.ok()?.map(drop) }).await;
}

/// Whether a checkout was refused because nothing could be written. There was an answer, and no other refusal.
fn refused_for_now(checkout: &Checkout) -> bool {
    let answer = checkout.answer.as_ref().unwrap_or_else(|_| panic!("{checkout:?}"));
    let status = answer.status;
    assert!(
        [StatusCode::ACCEPTED, StatusCode::SERVICE_UNAVAILABLE].contains(&status),
        "{checkout:?}"
    );
    status == StatusCode::SERVICE_UNAVAILABLE
}
