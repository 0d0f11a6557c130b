//! Every SQL statement of the order service.

mod rows;
pub(crate) mod steps;

use contracts::{Line, Money, OrderId, ProductListed, Timestamp};
use store::{Db, Result, Tx};

use crate::order::{Entry, Order};
use rows::{COLUMNS, OrderRow, columns};

/// A product's price as this service knows it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Product {
    pub(crate) sku: String,
    pub(crate) name: String,
    pub(crate) amount: i64,
    pub(crate) currency: String,
}

impl Product {
    /// So many of it.
    pub(crate) fn line(&self, quantity: u32) -> Line {
        Line {
            sku: self.sku.clone(),
            name: self.name.clone(),
            quantity,
            unit_price: Money { amount: self.amount, currency: self.currency.clone() },
        }
    }
}

/// Takes over what the catalogue says, unless something newer is known. No SKU twice.
pub(crate) async fn list_products(tx: &mut Tx, products: &[&ProductListed]) -> Result<()> {
    tx.execute_many(
        "INSERT INTO products (sku, name, amount, currency, version) VALUES {}
         ON CONFLICT (sku) DO UPDATE SET name = excluded.name, amount = excluded.amount,
             currency = excluded.currency, version = excluded.version
         WHERE excluded.version > products.version",
        products,
        |row, product| {
            row.bind(product.sku.clone())
                .bind(product.name.clone())
                .bind(product.unit_price.amount)
                .bind(product.unit_price.currency.clone())
                .bind(product.version)
        },
    )
    .await
    .map(drop)
}

/// The products with these SKUs, as far as they are known.
pub(crate) async fn products(db: &Db, skus: &[&str]) -> Result<Vec<Product>> {
    db.read_many(
        "SELECT sku, name, amount, currency FROM products WHERE sku IN (VALUES {})",
        skus,
        |row, sku| row.bind((*sku).to_owned()),
    )
    .await
}

/// Writes new orders.
pub(crate) async fn insert_orders(tx: &mut Tx, orders: &[&Order]) -> Result<()> {
    let sql = format!("INSERT INTO orders ({COLUMNS}) VALUES {{}}");
    tx.execute_many(&sql, orders, |row, order| rows::bind(row, order)).await.map(drop)
}

/// Reads orders and locks them until the transaction ends; in the order of their ids, so that two transactions can't wait for
/// each other.
pub(crate) async fn lock_orders(tx: &mut Tx, ids: &[OrderId]) -> Result<Vec<Order>> {
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    let sql = format!(
        "SELECT {COLUMNS} FROM orders WHERE order_id IN (VALUES {{}}) ORDER BY order_id FOR UPDATE"
    );
    let rows = tx.fetch_many::<_, OrderRow>(&sql, &sorted, |row, id| row.bind(*id)).await?;
    rows.into_iter().map(Order::try_from).collect()
}

/// Reads and locks up to `limit` placed orders whose time was up at `now`, leaving out what another replica has.
pub(crate) async fn lock_overdue(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<Vec<Order>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM orders WHERE status = 'placed' AND deadline_at <= $1
         ORDER BY deadline_at LIMIT $2 FOR UPDATE SKIP LOCKED"
    );
    let rows = tx.query(sql).bind(now.as_micros()).bind(limit).all::<OrderRow>().await?;
    rows.into_iter().map(Order::try_from).collect()
}

/// Whether any order's time was up at `now`: a look that takes no writer.
pub(crate) async fn any_overdue(db: &Db, now: Timestamp) -> Result<bool> {
    let sql = "SELECT 1 FROM orders WHERE status = 'placed' AND deadline_at <= $1 LIMIT 1";
    Ok(db.read(sql).bind(now.as_micros()).optional::<(i32,)>().await?.is_some())
}

/// Writes the states of locked orders. The card is forgotten as soon as nobody will ask for a charge any more.
pub(crate) async fn save_states(tx: &mut Tx, orders: &[&Order]) -> Result<()> {
    tx.execute_many(
        "UPDATE orders SET status = v.column2, reason = v.column3, payment = v.column4,
             stock = v.column5, settled_at = v.column6, resolution = v.column7,
             card_token = CASE WHEN v.column2 = 'placed' AND v.column4 = 'unknown' THEN card_token END
         FROM (VALUES {}) AS v WHERE orders.order_id = v.column1",
        orders,
        |row, order| {
            row.bind(order.id)
                .bind(order.state.status.as_str())
                .bind(order.state.status.reason().map(contracts::Cancellation::as_str))
                .bind(order.state.payment.as_str())
                .bind(order.state.stock.as_str())
                .bind(order.settled_at.map(Timestamp::as_micros))
                .bind(order.resolution.clone())
        },
    )
    .await
    .map(drop)
}

/// One order.
pub(crate) async fn order(db: &Db, id: OrderId) -> Result<Option<Order>> {
    let row = db
        .read(concat!("SELECT ", columns!(), " FROM orders WHERE order_id = $1"))
        .bind(id)
        .optional::<OrderRow>()
        .await?;
    row.map(Order::try_from).transpose()
}

/// The orders with these ids, as they are.
pub(crate) async fn orders(db: &Db, ids: &[OrderId]) -> Result<Vec<Order>> {
    let sql = concat!("SELECT ", columns!(), " FROM orders WHERE order_id IN (VALUES {})");
    let rows = db.read_many::<_, OrderRow>(sql, ids, |row, id| row.bind(*id)).await?;
    rows.into_iter().map(Order::try_from).collect()
}

/// Adds to the timelines; a kind of fact that an order has already is left as it is.
pub(crate) async fn add_entries(tx: &mut Tx, entries: &[Entry]) -> Result<()> {
    tx.execute_many(
        "INSERT INTO timeline (order_id, fact, service, at, detail) VALUES {}
         ON CONFLICT (order_id, fact) DO NOTHING",
        entries,
        |row, entry| {
            row.bind(entry.order_id)
                .bind(entry.fact)
                .bind(entry.service)
                .bind(entry.at.as_micros())
                .bind(entry.detail.clone())
        },
    )
    .await
    .map(drop)
}

/// An order's timeline: when, what, who, and more about it.
pub(crate) async fn timeline(
    db: &Db,
    id: OrderId,
) -> Result<Vec<(i64, String, String, Option<String>)>> {
    db.read("SELECT at, fact, service, detail FROM timeline WHERE order_id = $1 ORDER BY at")
        .bind(id)
        .all()
        .await
}
