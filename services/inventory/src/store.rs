//! Every SQL statement of the service.
//!
//! Whoever locks rows locks those of reservations first and those of products after, each kind in the order of its
//! key: two transactions that touch the same rows then never wait for each other in a circle.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use ::store::{Db, Result, Tx};
use contracts::{OrderId, Timestamp};

use crate::{
    catalogue::{Product, Stock},
    reservation::{Reservation, Shelf, State},
};

/// All products, by SKU.
///
/// # Errors
/// When the database is away.
pub async fn products(db: &Db) -> Result<Vec<Product>> {
    db.read(
        "SELECT sku, name, amount, currency, on_hand, reserved, version FROM products ORDER BY sku",
    )
    .all()
    .await
}

/// One product; none when nobody has listed it.
///
/// # Errors
/// When the database is away.
pub async fn product(db: &Db, sku: &str) -> Result<Option<Product>> {
    db.read(
        "SELECT sku, name, amount, currency, on_hand, reserved, version FROM products WHERE sku = $1",
    )
    .bind(sku.to_owned())
    .optional()
    .await
}

/// Adds the products that aren't there yet; the SKUs of those. Another transaction that is adding the same ones is
/// waited for.
///
/// # Errors
/// When the database is away.
pub async fn add_products(tx: &mut Tx, products: &[Product]) -> Result<HashSet<String>> {
    let mut sorted: Vec<&Product> = products.iter().collect();
    sorted.sort_unstable_by_key(|product| product.sku.as_str());
    let added = tx
        .fetch_many::<_, (String,)>(
            "INSERT INTO products (sku, name, amount, currency, on_hand, reserved, version) VALUES {}
             ON CONFLICT (sku) DO NOTHING RETURNING sku",
            &sorted,
            |row, product| {
                row.bind(product.sku.clone())
                    .bind(product.name.clone())
                    .bind(product.amount)
                    .bind(product.currency.clone())
                    .bind(i64::from(product.on_hand))
                    .bind(i64::from(product.reserved))
                    .bind(product.version)
            },
        )
        .await?;
    Ok(added.into_iter().map(|(sku,)| sku).collect())
}

/// One product, locked until the transaction ends; none when nobody has listed it.
///
/// # Errors
/// When the database is away.
pub async fn lock_product(tx: &mut Tx, sku: &str) -> Result<Option<Product>> {
    tx.query(
        "SELECT sku, name, amount, currency, on_hand, reserved, version FROM products
         WHERE sku = $1 FOR UPDATE",
    )
    .bind(sku.to_owned())
    .optional()
    .await
}

/// Saves a product's listing and its stock on hand. What is reserved stays.
///
/// # Errors
/// When the database is away, or fewer would be on hand than are reserved.
pub async fn save_product(tx: &mut Tx, product: &Product) -> Result<()> {
    tx.query(
        "UPDATE products SET name = $1, amount = $2, currency = $3, on_hand = $4, version = $5
         WHERE sku = $6",
    )
    .bind(product.name.clone())
    .bind(product.amount)
    .bind(product.currency.clone())
    .bind(i64::from(product.on_hand))
    .bind(product.version)
    .bind(product.sku.clone())
    .execute()
    .await
    .map(drop)
}

/// The stock of these products, locked until the transaction ends. A product that nobody has listed is left out.
///
/// # Errors
/// When the database is away.
pub async fn lock_stock(tx: &mut Tx, skus: &BTreeSet<String>) -> Result<Shelf> {
    let skus: Vec<&String> = skus.iter().collect();
    let rows = tx
        .fetch_many::<_, StockRow>(
            "SELECT sku, on_hand, reserved FROM products WHERE sku IN (VALUES {})
             ORDER BY sku FOR UPDATE",
            &skus,
            |row, sku| row.bind((*sku).clone()),
        )
        .await?;
    Ok(Shelf(
        rows.into_iter()
            .map(|row| (row.sku, Stock { on_hand: row.on_hand, reserved: row.reserved }))
            .collect(),
    ))
}

#[derive(sqlx::FromRow)]
struct StockRow {
    sku: String,
    #[sqlx(try_from = "i64")]
    on_hand: u32,
    #[sqlx(try_from = "i64")]
    reserved: u32,
}

/// Saves the stock of products whose rows are locked.
///
/// # Errors
/// When the database is away, or refuses a stock below zero or below what is reserved.
pub async fn save_stock(tx: &mut Tx, stock: &[(&String, Stock)]) -> Result<()> {
    tx.execute_many(
        "UPDATE products SET on_hand = new.column2, reserved = new.column3
         FROM (VALUES {}) AS new WHERE products.sku = new.column1",
        stock,
        |row, (sku, stock)| {
            row.bind((*sku).clone()).bind(i64::from(stock.on_hand)).bind(i64::from(stock.reserved))
        },
    )
    .await
    .map(drop)
}

/// The state of a reservation. One that is barred is kept as released, which is all that an older program knows of it.
macro_rules! state {
    () => {
        "CASE WHEN reservations.barred = 1 THEN 'barred' ELSE reservations.state END AS state"
    };
}

/// The reservations of these orders, locked until the transaction ends; a [`State::New`] one for an order that was
/// unknown, so that two transactions never both take an order for new.
///
/// One upsert that changes nothing, and no `SELECT … FOR UPDATE`: it inserts or locks the rows in the order of the list, by
/// the key.
///
/// # Errors
/// When the database is away.
pub async fn lock_reservations(
    tx: &mut Tx,
    orders: &BTreeSet<OrderId>,
) -> Result<BTreeMap<OrderId, Reservation>> {
    let orders: Vec<OrderId> = orders.iter().copied().collect();
    let now = Timestamp::now().as_micros();
    let reservations = tx
        .fetch_many::<_, Reservation>(
            concat!(
                "INSERT INTO reservations (order_id, state, lines, updated_at) VALUES {}
                 ON CONFLICT (order_id) DO UPDATE SET state = reservations.state
                 RETURNING order_id, ",
                state!(),
                ", lines"
            ),
            &orders,
            |row, id| row.bind(*id).bind(State::New.as_str()).bind("{}").bind(now),
        )
        .await?;
    Ok(reservations.into_iter().map(|reservation| (reservation.order_id, reservation)).collect())
}

/// Saves reservations whose rows are locked; each order once. An upsert for the same reason as there.
///
/// # Errors
/// When the database is away.
pub async fn save_reservations(tx: &mut Tx, reservations: &[&Reservation]) -> Result<()> {
    let now = Timestamp::now().as_micros();
    let rows = reservations
        .iter()
        .map(|reservation| Ok((reservation, serde_json::to_string(&reservation.lines)?)))
        .collect::<Result<Vec<_>>>()?;
    tx.execute_many(
        "INSERT INTO reservations (order_id, state, barred, lines, updated_at) VALUES {}
         ON CONFLICT (order_id) DO UPDATE SET state = excluded.state, barred = excluded.barred,
             lines = excluded.lines, updated_at = excluded.updated_at",
        &rows,
        |row, (reservation, lines)| {
            let barred = reservation.state == State::Barred;
            let state = if barred { State::Released } else { reservation.state };
            row.bind(reservation.order_id)
                .bind(state.as_str())
                .bind(i64::from(barred))
                .bind(lines.clone())
                .bind(now)
        },
    )
    .await
    .map(drop)
}

/// The reservation of an order, and when it last changed; none when nothing is known of the order.
///
/// # Errors
/// When the database is away.
pub async fn reservation(db: &Db, order: OrderId) -> Result<Option<(Reservation, Timestamp)>> {
    let row = db
        .read(concat!(
            "SELECT order_id, ",
            state!(),
            ", lines, updated_at FROM reservations WHERE order_id = $1"
        ))
        .bind(order)
        .optional::<ReservationRow>()
        .await?;
    Ok(row.map(|row| (row.reservation, Timestamp::from_micros(row.updated_at))))
}

#[derive(sqlx::FromRow)]
struct ReservationRow {
    #[sqlx(flatten)]
    reservation: Reservation,
    updated_at: i64,
}
