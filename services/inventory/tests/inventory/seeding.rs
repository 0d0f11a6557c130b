//! The first products: each listed once, however many replicas start together.

use std::collections::BTreeSet;

use inventory::{catalogue, handlers, store};

use crate::{announced, databases, open};

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_together_list_each_product_once() {
    for database in databases().await {
        let (one, two) = (open(&database).await, open(&database).await);
        let starts = [&one, &two, &one, &two].map(|db| {
            let db = db.clone();
            tokio::spawn(async move { handlers::list_seed(&db).await })
        });
        for start in starts {
            start.await.unwrap().unwrap();
        }
        handlers::list_seed(&one).await.unwrap();

        let seed = catalogue::seed();
        assert_eq!(store::products(&two).await.unwrap(), seed);
        let announced = announced(&one).await;
        let skus: BTreeSet<_> = announced.iter().map(|(_, sku)| sku.as_str()).collect();
        assert_eq!(announced.len(), seed.len());
        assert_eq!(skus, seed.iter().map(|product| product.sku.as_str()).collect());
        assert!(announced.iter().all(|(kind, _)| kind == "product.listed"));
    }
}

#[tokio::test]
async fn a_restart_does_not_undo_a_change() {
    for database in databases().await {
        let db = open(&database).await;
        handlers::list_seed(&db).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        let mug = store::lock_product(&mut tx, "mug-blue").await.unwrap().unwrap();
        let mug = catalogue::Product { amount: 999, version: 2, ..mug };
        store::save_product(&mut tx, &mug).await.unwrap();
        tx.commit().await.unwrap();

        handlers::list_seed(&db).await.unwrap();
        assert_eq!(store::product(&db, "mug-blue").await.unwrap(), Some(mug));
    }
}
