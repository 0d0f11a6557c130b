//! The books of the stock with several handlers at work on the same products.

use std::collections::BTreeMap;

use ::store::Db;
use contracts::OrderId;
use inventory::{
    reservation::{Fact, Lines, State},
    store,
};
use proptest::prelude::*;
use uuid::Uuid;

use crate::{
    announced,
    books::{apply, state, stock_up},
    databases, open,
};

const SKUS: [&str; 5] = ["cap", "hoodie", "mug", "poster", "tee"];
const INITIAL: u32 = 60;
const HANDLERS: usize = 8;

/// Orders over shared SKUs, and whether each is cancelled.
fn orders() -> impl Strategy<Value = Vec<(Lines, bool)>> {
    let sku = proptest::sample::select(SKUS.as_slice()).prop_map(str::to_owned);
    let lines = proptest::collection::btree_map(sku, 1..6_u32, 1..=4).prop_map(Lines);
    proptest::collection::vec((lines, any::<bool>()), 40..100)
}

/// What has happened to the orders, each fact twice, dealt out to the handlers in batches.
fn dealt(facts: &[(OrderId, Fact)], seed: usize) -> Vec<Vec<Vec<(OrderId, Fact)>>> {
    let mut facts = [facts, facts].concat();
    for index in 0..facts.len() {
        let other = (index * 31 + seed) % facts.len();
        facts.swap(index, other);
    }
    let hands = facts.chunks(facts.len().div_ceil(HANDLERS).max(1));
    hands.map(|hand| hand.chunks(7).map(<[_]>::to_vec).collect()).collect()
}

/// Several handlers at a time, each with its own batches in its own transactions. None may fail: not by a deadlock either.
async fn handle_concurrently(db: &Db, facts: &[(OrderId, Fact)], seed: usize) {
    let handlers: Vec<_> = dealt(facts, seed)
        .into_iter()
        .map(|batches| {
            let db = db.clone();
            tokio::spawn(async move {
                for batch in batches {
                    apply(&db, &batch).await.unwrap();
                }
            })
        })
        .collect();
    for handler in handlers {
        handler.await.unwrap();
    }
}

/// The sum over the orders in a state, by SKU.
fn sums(ends: &[(Lines, State)], state: State) -> BTreeMap<&str, u32> {
    let mut sums: BTreeMap<&str, u32> = SKUS.iter().map(|sku| (*sku, 0)).collect();
    for (lines, _) in ends.iter().filter(|(_, end)| *end == state) {
        for (sku, quantity) in &lines.0 {
            *sums.get_mut(sku.as_str()).unwrap() += quantity;
        }
    }
    sums
}

async fn check(db: &Db, orders: &[(OrderId, Lines, bool)]) -> Vec<(Lines, State)> {
    let mut ends = Vec::new();
    for (id, lines, _) in orders {
        ends.push((lines.clone(), state(db, *id).await.unwrap()));
    }
    let (reserved, shipped) = (sums(&ends, State::Reserved), sums(&ends, State::Shipped));
    for product in store::products(db).await.unwrap() {
        assert_eq!(product.reserved, reserved[product.sku.as_str()], "{}", product.sku);
        assert_eq!(product.on_hand + shipped[product.sku.as_str()], INITIAL, "{}", product.sku);
    }
    ends
}

async fn concurrent_orders(db: &Db, orders: Vec<(Lines, bool)>, seed: usize) {
    stock_up(db, &SKUS.map(|sku| (sku, INITIAL))).await;
    let orders: Vec<_> =
        orders.into_iter().map(|(lines, cancelled)| (Uuid::now_v7(), lines, cancelled)).collect();
    let mut facts: Vec<_> =
        orders.iter().map(|(id, lines, _)| (*id, Fact::Placed(lines.clone()))).collect();
    let cancelled = orders.iter().filter(|(.., cancelled)| *cancelled);
    facts.extend(cancelled.map(|(id, ..)| (*id, Fact::Cancelled)));
    handle_concurrently(db, &facts, seed).await;
    let ends = check(db, &orders).await;

    let ended = || orders.iter().zip(&ends);
    assert!(ended().all(|((.., cancelled), (_, end))| !*cancelled || *end != State::Reserved));
    let reserved = ended().filter(|(_, (_, end))| *end == State::Reserved);
    let confirmed: Vec<_> = reserved.map(|((id, ..), _)| (*id, Fact::Confirmed)).collect();
    facts.extend(confirmed.clone());
    let facts: Vec<_> = facts.into_iter().filter(|(_, fact)| *fact != Fact::Cancelled).collect();
    handle_concurrently(db, &facts, seed).await;
    let ends = check(db, &orders).await;
    assert_eq!(ends.iter().filter(|(_, end)| *end == State::Shipped).count(), confirmed.len());

    let mut told = announced(db).await;
    let all = told.len();
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), all, "announced twice");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 8,
        max_shrink_iters: 0, // chance decides here too: a smaller input proves nothing
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn concurrent_handlers_neither_deadlock_nor_oversell(orders in orders(), seed in 0..1000_usize) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            for database in databases().await {
                concurrent_orders(&open(&database).await, orders.clone(), seed).await;
            }
        });
    }
}
