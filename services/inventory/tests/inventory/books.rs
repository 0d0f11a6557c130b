//! The books of the stock, one batch after the other: all lines or none, never below zero.

use ::store::Db;
use contracts::{Cause, OrderId};
use inventory::{
    catalogue::{Product, Stock},
    handlers::{self, Error, News},
    reservation::{Fact, Lines, State},
    store,
};
use uuid::Uuid;

use crate::{announced, databases, open};

fn placed(quantities: &[(&str, u32)]) -> Fact {
    Fact::Placed(Lines(quantities.iter().map(|(sku, n)| ((*sku).to_owned(), *n)).collect()))
}

pub(crate) async fn stock_up(db: &Db, products: &[(&str, u32)]) {
    let products: Vec<_> = products
        .iter()
        .map(|(sku, on_hand)| Product { on_hand: *on_hand, version: 1, ..Product::unlisted(sku) })
        .collect();
    let mut tx = db.begin().await.unwrap();
    store::add_products(&mut tx, &products).await.unwrap();
    tx.commit().await.unwrap();
}

pub(crate) async fn apply(db: &Db, facts: &[(OrderId, Fact)]) -> Result<(), Error> {
    let news: Vec<_> = facts
        .iter()
        .map(|(order_id, fact)| News {
            order_id: *order_id,
            fact: fact.clone(),
            cause: Cause::default(),
            answer: false,
        })
        .collect();
    let mut tx = db.begin().await?;
    handlers::apply(&mut tx, &news).await?;
    Ok(tx.commit().await?)
}

pub(crate) async fn state(db: &Db, order: OrderId) -> Option<State> {
    store::reservation(db, order).await.unwrap().map(|(reservation, _)| reservation.state)
}

async fn stock(db: &Db, sku: &str) -> (u32, u32) {
    let product = store::product(db, sku).await.unwrap().unwrap();
    (product.on_hand, product.reserved)
}

#[tokio::test]
async fn a_batch_is_applied_in_its_order_and_announced() {
    for database in databases().await {
        let db = open(&database).await;
        stock_up(&db, &[("cap", 3), ("mug", 5)]).await;
        let [a, b, c, d] = [(); 4].map(|()| Uuid::now_v7());
        let first = [
            (a, placed(&[("cap", 2), ("mug", 2)])),
            (b, placed(&[("cap", 2)])),
            (c, Fact::Cancelled),
            (c, placed(&[("mug", 3)])),
            (a, placed(&[("cap", 2), ("mug", 2)])),
            (d, placed(&[("mug", 3), ("unheard-of", 1)])),
        ];
        apply(&db, &first).await.unwrap();
        assert_eq!((stock(&db, "cap").await, stock(&db, "mug").await), ((3, 2), (5, 2)));

        // What an order releases, the next in the same batch can have.
        let e = Uuid::now_v7();
        let second = [
            (a, Fact::Cancelled),
            (e, placed(&[("cap", 3)])),
            (e, Fact::Confirmed),
            (b, Fact::Cancelled),
        ];
        apply(&db, &second).await.unwrap();
        assert_eq!((stock(&db, "cap").await, stock(&db, "mug").await), ((0, 0), (5, 0)));

        let expected = [
            (a, State::Released),
            (b, State::Rejected),
            (c, State::Released),
            (d, State::Rejected),
            (e, State::Shipped),
        ];
        for (order, expected) in expected {
            assert_eq!(state(&db, order).await, Some(expected), "{order}");
        }
        let told = [
            ("stock.reserved", a),
            ("stock.rejected", b),
            ("stock.released", c),
            ("stock.rejected", d),
            ("stock.released", a),
            ("stock.reserved", e),
        ];
        let told = told.map(|(kind, order)| (kind.to_owned(), order.to_string()));
        assert_eq!(announced(&db).await, told);
    }
}

#[tokio::test]
async fn a_contradiction_undoes_its_whole_batch() {
    for database in databases().await {
        let db = open(&database).await;
        stock_up(&db, &[("mug", 5)]).await;
        let [good, bad] = [(); 2].map(|()| Uuid::now_v7());
        let facts = [(good, placed(&[("mug", 1)])), (bad, Fact::Confirmed)];
        let error = apply(&db, &facts).await.unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{error}");
        assert_eq!(error.to_string(), format!("order {bad} can't be confirmed: its goods are new"));
        assert_eq!((state(&db, good).await, state(&db, bad).await), (None, None));
        assert_eq!(stock(&db, "mug").await, (5, 0));
        assert!(announced(&db).await.is_empty());
    }
}

#[tokio::test]
async fn the_database_refuses_books_that_do_not_balance() {
    for database in databases().await {
        let db = open(&database).await;
        stock_up(&db, &[("mug", 5)]).await;
        for (on_hand, reserved) in [(5, 6), (0, 1)] {
            let mut tx = db.begin().await.unwrap();
            let sku = "mug".to_owned();
            let error = store::save_stock(&mut tx, &[(&sku, Stock { on_hand, reserved })]).await;
            assert!(!error.unwrap_err().is_unavailable());
        }
        assert_eq!(stock(&db, "mug").await, (5, 0));
    }
}

/// Facts of the size of a full batch: more rows than one statement takes.
#[tokio::test]
async fn a_large_batch() {
    for database in databases().await {
        let db = open(&database).await;
        let skus: Vec<String> = (0..200).map(|n| format!("sku-{n}")).collect();
        let products: Vec<_> = skus.iter().map(|sku| (sku.as_str(), 10)).collect();
        stock_up(&db, &products).await;
        let facts: Vec<_> = skus
            .iter()
            .zip(skus.iter().rev())
            .map(|(a, b)| {
                let lines = [(a.clone(), 1), (b.clone(), 2)].into_iter().collect();
                (Uuid::now_v7(), Fact::Placed(Lines(lines)))
            })
            .collect();
        apply(&db, &facts).await.unwrap();
        let products = store::products(&db).await.unwrap();
        assert_eq!(products.len(), 200);
        assert!(products.iter().all(|product| (product.on_hand, product.reserved) == (10, 3)));
        assert_eq!(announced(&db).await.len(), 200);
    }
}
