//! Clients that hang up and ask again with the same key, before the first request is written: one order each.

use std::time::Duration;

use futures_util::future::join_all;
use store::{Db, Options, Tx};
use tokio::time::{sleep, timeout};

use crate::{
    on_both,
    system::{Ground, Plan, Setup, System, checkout, new_key, plain},
};

on_both! {
    a_key_whose_client_hung_up_is_in_use_until_it_is_written,
    impatient_clients_get_one_order_per_key,
}

/// Clients at the same time, and how many keys each of them uses, one after the other.
const CLIENTS: u64 = 24;
const KEYS: u64 = 6;
/// How often a client hangs up before it waits for the answer.
const HANG_UPS: u64 = 8;

async fn a_key_whose_client_hung_up_is_in_use_until_it_is_written(setup: Setup) {
    let system = Plan::new(setup).start().await;
    let customers = system.customers();
    let db = Db::open(system.database_url("order"), Options::default()).await.unwrap();
    // As long as the order service can't write, what comes waits together.
    let lock = no_more_orders(&db, setup).await;
    let first = tokio::spawn({
        let customers = customers.clone();
        async move { customers.insist(plain(0), new_key()).await }
    });
    sleep(Duration::from_millis(200)).await;
    let key = new_key();
    let (mut asked, mut in_progress) = (0, 0);
    while in_progress < 3 && asked < 30 {
        asked += 1;
        let asking = customers.send(plain(0), key.clone());
        if let Ok(checkout) = timeout(Duration::from_millis(100), asking).await {
            assert_eq!(checkout.answer.as_ref().unwrap().status, 409, "{checkout:?}");
            in_progress += 1;
        }
    }
    drop(lock);

    let order = customers.insist(plain(0), key).await;
    let first = first.await.unwrap();
    assert_eq!(orders(&db).await, (2, 2), "two orders; the second was asked for {asked} times");
    assert_eq!(in_progress, 3, "the key is in use: {asked} times asked");
    assert_eq!(system.audit(&[first, order]).await, 2);
}

/// Keeps the order service from writing orders, until this is dropped.
async fn no_more_orders(db: &Db, setup: Setup) -> Tx {
    let mut tx = db.begin().await.unwrap();
    // In SQLite there is one writer, and that is this transaction.
    if setup.ground == Ground::Servers {
        tx.query("LOCK TABLE orders IN EXCLUSIVE MODE").execute().await.unwrap();
    }
    tx
}

async fn impatient_clients_get_one_order_per_key(setup: Setup) {
    let system = Plan::new(setup).start().await;
    let db = Db::open(system.database_url("order"), Options::default()).await.unwrap();
    let hung_up: u64 =
        join_all((0..CLIENTS).map(|client| impatient(&system, client))).await.iter().sum();

    assert!(hung_up > CLIENTS * KEYS, "{hung_up} requests without an answer are too few");
    let count = i64::try_from(CLIENTS * KEYS).unwrap();
    assert_eq!(orders(&db).await, (count, count), "of {hung_up} hung up");
}

/// How often a client hung up. Each of its orders is answered in the end.
async fn impatient(system: &System, client: u64) -> u64 {
    let customers = system.customers();
    let mut hung_up = 0;
    for n in 0..KEYS {
        let key = new_key();
        for try_no in 0..HANG_UPS {
            // From before the request is read until after the answer is written.
            let patience = Duration::from_micros(500 + 700 * ((client + n + try_no) % 16));
            let asking = customers.send(checkout("mug-blue", 1), key.clone());
            hung_up += u64::from(timeout(patience, asking).await.is_err());
        }
        customers.insist(checkout("mug-blue", 1), key).await;
    }
    hung_up
}

/// How many orders there are, and how many keys.
async fn orders(db: &Db) -> (i64, i64) {
    let count = async |sql| db.read(sql).one::<(i64,)>().await.unwrap().0;
    (
        count("SELECT count(*) FROM orders").await,
        count("SELECT count(*) FROM idempotency_keys").await,
    )
}
