//! What must hold over everything that was ordered, whatever was broken meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, stream};
use serde_json::Value;

use super::{Placed, SERVICES, System, eventually};

/// Of each product: how many are on hand, and how many of them are put aside.
pub(crate) type Stocks = BTreeMap<String, (i64, i64)>;

/// What the order service shows of orders, by id.
pub(crate) type Views = BTreeMap<String, Value>;

impl System {
    /// What inventory has.
    pub(crate) async fn stocks(&self) -> Stocks {
        let url = format!("{}/products", self.url("inventory"));
        let products: Value = self.http().get(url).send().await.unwrap().json().await.unwrap();
        let number = |product: &Value, field: &str| product[field].as_i64().unwrap();
        let stock = |product: &Value| {
            let (on_hand, available) = (number(product, "on_hand"), number(product, "available"));
            (product["sku"].as_str().unwrap().to_owned(), (on_hand, on_hand - available))
        };
        products.as_array().unwrap().iter().map(stock).collect()
    }

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
        let settled =
            orders.iter().map(async |placed| (placed.id.clone(), self.settled(&placed.id).await));
        let views: Views = stream::iter(settled).buffer_unordered(8).collect().await;
        assert_eq!(views.len(), orders.len(), "orders that were given one id");
        assert_eq!(self.orders_kept().await, orders.len(), "orders in the order service's books");
        views
    }

    /// Checks the charges; how many orders were confirmed.
    pub(crate) async fn money_balances(&self, orders: &[Placed], views: &Views) -> usize {
        let mut charges =
            grouped(self.sandbox("/ledger?limit=10000").await["entries"].take(), "reference");
        let mut confirmed = 0;
        for Placed { id, total } in orders {
            let order = &views[id];
            let charges = charges.remove(id).unwrap_or_default();
            assert!(charges.len() <= 1, "charged twice: {charges:?}");
            let kept = charges.iter().filter(|charge| charge["refunded_at"].is_null());
            let kept: i64 = kept.map(|charge| charge["amount"].as_i64().unwrap()).sum();
            let expected = if order["status"] == "confirmed" { *total } else { 0 };
            assert_eq!(kept, expected, "what the processor keeps of {order}");
            confirmed += usize::from(expected > 0);
        }
        assert!(charges.is_empty(), "charged for orders that nobody knows: {charges:?}");
        confirmed
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

    pub(crate) async fn goods_balance(&self, before: &Stocks, views: &Views) {
        let mut stocks = before.clone();
        for order in views.values().filter(|order| order["status"] == "confirmed") {
            for line in order["lines"].as_array().unwrap() {
                let stock = stocks.get_mut(line["sku"].as_str().unwrap()).unwrap();
                stock.0 -= line["quantity"].as_i64().unwrap();
            }
        }
        eventually("the goods of the confirmed orders, and no others, leave", || async {
            (self.stocks().await == stocks).then_some(())
        })
        .await;
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

    /// The sum of a metric of a process, over the series with this label; none while it doesn't answer.
    pub(crate) async fn metric(&self, name: &str, metric: &str, label: &str) -> Option<f64> {
        let url = format!("{}/metrics", self.url(name));
        let text = self.http().get(url).send().await.ok()?.text().await.ok()?;
        let values = text
            .lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(metric) && line.contains(label))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap());
        Some(values.sum())
    }
}

/// The entries of a list by one of their fields.
fn grouped(list: Value, field: &str) -> BTreeMap<String, Vec<Value>> {
    let Value::Array(entries) = list else { panic!("no list: {list}") };
    let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for entry in entries {
        groups.entry(entry[field].as_str().unwrap().to_owned()).or_default().push(entry);
    }
    groups
}
