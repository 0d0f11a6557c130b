//! What must hold over everything that was ordered, whatever was broken meanwhile.

use std::collections::BTreeSet;

use testkit::shop::{Placed, Stocks, Views, grouped};

use super::{SERVICES, System, eventually};

impl System {
    /// Checks that nothing was lost and nothing done twice over `orders`, which are all that there ever were in this system: every
    /// confirmed one has its one charge, every cancelled one none that is left, each has its two mails, each once; the goods
    /// of the confirmed ones have left, and no message waits for a person. How many were confirmed.
    pub(crate) async fn balance(&self, before: &Stocks, orders: &[Placed]) -> usize {
        let views = self.all_settled(orders).await;
        let confirmed = self.money_balances(orders, &views).await;
        self.mails_balance(orders).await;
        self.goods_balance(before, &views).await;
        self.no_dead_letters().await;
        confirmed
    }

    /// The orders once they are settled, by id.
    pub(crate) async fn all_settled(&self, orders: &[Placed]) -> Views {
        let views = self.settled_views(orders).await;
        assert_eq!(self.orders_kept().await, orders.len(), "orders in the order service's books");
        views
    }

    async fn mails_balance(&self, orders: &[Placed]) {
        eventually("every order has two mails", || async {
            let total = self.mails_summary().await["total"].as_u64()?;
            (total >= 2 * orders.len() as u64).then_some(())
        })
        .await;
        let mut mails =
            grouped(self.sandbox("/mails?limit=10000").await["mails"].take(), "order_id");
        for Placed { id, .. } in orders {
            let mails = mails.remove(id).unwrap_or_default();
            let ids: BTreeSet<&str> =
                mails.iter().map(|mail| mail["message_id"].as_str().unwrap()).collect();
            assert_eq!((mails.len(), ids.len()), (2, 2), "mails about {id}: {mails:?}");
        }
        assert!(mails.is_empty(), "mails about orders that nobody knows: {mails:?}");
    }

    /// How many orders there are in the order service's database.
    async fn orders_kept(&self) -> usize {
        let db = self.database("order").await;
        let (orders,) = db.read("SELECT count(*) FROM orders").one::<(i64,)>().await.unwrap();
        db.close().await;
        usize::try_from(orders).unwrap()
    }

    /// Checks that no message was given up.
    pub(crate) async fn no_dead_letters(&self) {
        let broker = self.broker().await;
        for service in SERVICES {
            let letters = broker.dead_letters(service, 10).await.unwrap();
            assert!(letters.is_empty(), "dead letters of {service}: {letters:#?}");
        }
        broker.close().await;
    }

    /// A service's database, for a test that looks behind the curtain.
    pub(crate) async fn database(&self, service: &str) -> store::Db {
        store::Db::open(self.database_url(service), store::Options::default()).await.unwrap()
    }

    /// Waits until a service's outbox is empty.
    pub(crate) async fn outbox_drained(&self, service: &str) {
        let db = self.database(service).await;
        eventually(&format!("the outbox of {service} is empty"), || async {
            (db.outbox_backlog().await.ok()?.rows == 0).then_some(())
        })
        .await;
        db.close().await;
    }
}
