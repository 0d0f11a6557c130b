//! What must hold over everything that was ordered, whatever was broken meanwhile.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};
use serde_json::Value;

use super::{Placed, Shop};
use crate::wait::within;

/// Of each product: how many are on hand, and how many of them are put aside.
pub type Stocks = BTreeMap<String, (i64, i64)>;

/// What the order service shows of orders, by id.
pub type Views = BTreeMap<String, Value>;

impl Shop {
    /// What inventory has.
    pub async fn stocks(&self) -> Stocks {
        let url = format!("{}/products", self.url("inventory"));
        let products: Value = self.http().get(url).send().await.unwrap().json().await.unwrap();
        let named = |product: &Value| (product["sku"].as_str().unwrap().to_owned(), stock(product));
        products.as_array().unwrap().iter().map(named).collect()
    }

    /// The orders once they are settled, by id.
    pub async fn settled_views(&self, orders: &[Placed]) -> Views {
        let settled =
            orders.iter().map(async |placed| (placed.id.clone(), self.settled(&placed.id).await));
        let views: Views = stream::iter(settled).buffer_unordered(8).collect().await;
        assert_eq!(views.len(), orders.len(), "orders that were given one id");
        views
    }

    /// The processor's entries for an order.
    pub async fn charges(&self, order: &str) -> Vec<Value> {
        let ledger = self.sandbox(&format!("/ledger?reference={order}")).await;
        ledger["entries"].as_array().unwrap_or_else(|| panic!("{ledger}")).clone()
    }

    /// What the processor keeps of an order: what was charged and not given back.
    pub async fn net(&self, order: &str) -> i64 {
        kept(&self.charges(order).await)
    }

    /// The processor's totals.
    pub async fn ledger_summary(&self) -> Value {
        self.sandbox("/ledger/summary").await
    }

    /// Checks the charges of `orders`, which are all that there ever were: each confirmed one has its one charge, each cancelled
    /// one none that is left. How many were confirmed.
    pub async fn money_balances(&self, orders: &[Placed], views: &Views) -> usize {
        let mut charges =
            grouped(self.sandbox("/ledger?limit=10000").await["entries"].take(), "reference");
        let mut confirmed = 0;
        for Placed { id, total } in orders {
            let order = &views[id];
            let charges = charges.remove(id).unwrap_or_default();
            assert!(charges.len() <= 1, "charged twice: {charges:?}");
            let expected = if order["status"] == "confirmed" { *total } else { 0 };
            assert_eq!(kept(&charges), expected, "what the processor keeps of {order}");
            confirmed += usize::from(expected > 0);
        }
        assert!(charges.is_empty(), "charged for orders that nobody knows: {charges:?}");
        confirmed
    }

    /// Waits until the goods of the confirmed orders, and no others, have left, and nothing is put aside that wasn't before.
    pub async fn goods_balance(&self, before: &Stocks, views: &Views) {
        let mut stocks = before.clone();
        for order in views.values().filter(|order| order["status"] == "confirmed") {
            for line in order["lines"].as_array().unwrap() {
                let stock = stocks.get_mut(line["sku"].as_str().unwrap()).unwrap();
                stock.0 -= line["quantity"].as_i64().unwrap();
            }
        }
        let what = format!("the goods of the confirmed orders, and no others, leave: {stocks:?}");
        within(self.patience, &what, || async { (self.stocks().await == stocks).then_some(()) })
            .await;
    }
}

/// Of a product: on hand, and put aside.
pub(super) fn stock(product: &Value) -> (i64, i64) {
    let number = |field: &str| product[field].as_i64().unwrap_or_else(|| panic!("{product}"));
    let (on_hand, available) = (number("on_hand"), number("available"));
    (on_hand, on_hand - available)
}

/// What was charged and not given back.
fn kept(charges: &[Value]) -> i64 {
    let kept = charges.iter().filter(|charge| charge["refunded_at"].is_null());
    kept.map(|charge| charge["amount"].as_i64().unwrap()).sum()
}

/// The entries of a list by one of their fields.
#[must_use]
pub fn grouped(list: Value, field: &str) -> BTreeMap<String, Vec<Value>> {
    let Value::Array(entries) = list else { panic!("no list: {list}") };
    let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for entry in entries {
        groups.entry(entry[field].as_str().unwrap().to_owned()).or_default().push(entry);
    }
    groups
}
