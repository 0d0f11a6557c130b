//! Every SQL statement of the order service.

mod rows;
pub(crate) mod steps;

use contracts::{Line, Money, OrderId, ProductListed, Timestamp};
use runtime::Metrics;
use store::{Db, Error, Result, Tx};

use crate::order::{Entry, Order};
use rows::{COLUMNS, OrderRow, columns};

/// Something that is due, in the order in which it is: when, in microseconds since 1970, and of which order.
pub(crate) type Due = (i64, OrderId);

/// Before everything that is due.
pub(crate) const FIRST: Due = (i64::MIN, OrderId::nil());

/// What was read of some rows. A row that can't be read, as one of a newer version, costs only itself.
#[derive(Debug)]
pub(crate) struct Found<T> {
    pub(crate) read: Vec<T>,
    /// The orders of those that can't be read, and why not.
    pub(crate) unreadable: Vec<(OrderId, Error)>,
}

impl<T> Found<T> {
    /// Reads rows, each of the order that `id` says.
    fn of<R>(rows: Vec<R>, id: impl Fn(&R) -> OrderId) -> Self
    where
        T: TryFrom<R, Error = Error>,
    {
        let mut found = Self { read: Vec::with_capacity(rows.len()), unreadable: Vec::new() };
        for row in rows {
            let order_id = id(&row);
            match T::try_from(row) {
                Ok(row) => found.read.push(row),
                Err(error) => found.unreadable.push((order_id, error)),
            }
        }
        found
    }

    /// What could be read, after the rest was reported as rows of `table`.
    pub(crate) fn reported(self, table: &'static str, metrics: &Metrics) -> Vec<T> {
        for (order_id, error) in &self.unreadable {
            metrics.unreadable(table, order_id, error);
        }
        self.read
    }

    /// All of it.
    ///
    /// # Errors
    /// When something can't be read.
    pub(crate) fn all(self) -> Result<Vec<T>> {
        match self.unreadable.into_iter().next() {
            None => Ok(self.read),
            Some((_, error)) => Err(error),
        }
    }
}

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
pub(crate) async fn lock_orders(tx: &mut Tx, ids: &[OrderId]) -> Result<Found<Order>> {
    lock(tx, ids, "FOR UPDATE").await
}

/// As [`lock_orders`], but leaves out those that another transaction has locked.
pub(crate) async fn lock_free_orders(tx: &mut Tx, ids: &[OrderId]) -> Result<Found<Order>> {
    lock(tx, ids, "FOR UPDATE SKIP LOCKED").await
}

async fn lock(tx: &mut Tx, ids: &[OrderId], how: &str) -> Result<Found<Order>> {
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    let sql = format!(
        "SELECT {COLUMNS} FROM orders WHERE order_id IN (VALUES {{}}) ORDER BY order_id {how}"
    );
    let rows = tx.fetch_many::<_, OrderRow>(&sql, &sorted, |row, id| row.bind(*id)).await?;
    Ok(Found::of(rows, |row| row.order_id))
}

/// Up to `limit` placed orders whose time was up at `now`, those after `after` by deadline and id: a look that takes no writer.
pub(crate) async fn overdue(db: &Db, now: Timestamp, after: Due, limit: i64) -> Result<Vec<Due>> {
    db.read(
        "SELECT deadline_at, order_id FROM orders WHERE status = 'placed' AND deadline_at <= $1
             AND (deadline_at, order_id) > ($2, $3) ORDER BY deadline_at, order_id LIMIT $4",
    )
    .bind(now.as_micros())
    .bind(after.0)
    .bind(after.1)
    .bind(limit)
    .all()
    .await
}

/// What waits.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// Steps that an operator should look at.
    pub(crate) parked: u64,
    /// When the order was placed that has waited longest for its decision.
    pub(crate) oldest: Option<Timestamp>,
    /// Orders that were charged a wrong amount in the last hour.
    pub(crate) wrong_amounts: u64,
}

/// What waits now. Of a charge, the timeline has a detail only if its amount was wrong.
pub(crate) async fn waiting(db: &Db, now: Timestamp) -> Result<Waiting> {
    let (parked, oldest, wrong_amounts) = db
        .read(
            "SELECT (SELECT count(*) FROM steps WHERE parked_at IS NOT NULL AND answered_at IS NULL),
                    (SELECT placed_at FROM orders WHERE status = 'placed' ORDER BY placed_at LIMIT 1),
                    (SELECT count(*) FROM timeline WHERE fact = 'PaymentTaken' AND detail IS NOT NULL AND at > $1)",
        )
        .bind(now.as_micros() - 3_600_000_000)
        .one::<(i64, Option<i64>, i64)>()
        .await?;
    Ok(Waiting {
        parked: u64::try_from(parked).unwrap_or(0),
        oldest: oldest.map(Timestamp::from_micros),
        wrong_amounts: u64::try_from(wrong_amounts).unwrap_or(0),
    })
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
pub(crate) async fn orders(db: &Db, ids: &[OrderId]) -> Result<Found<Order>> {
    let sql = concat!("SELECT ", columns!(), " FROM orders WHERE order_id IN (VALUES {})");
    let rows = db.read_many::<_, OrderRow>(sql, ids, |row, id| row.bind(*id)).await?;
    Ok(Found::of(rows, |row| row.order_id))
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

#[cfg(test)]
mod tests {
    use contracts::{Cancellation, Coordination};

    use super::{steps::Asked, *};
    use crate::{
        fixtures,
        machine::{Payment, State, Status, Step, Stock},
    };

    const MIGRATION: &str = include_str!("../migrations/postgres/0102_resolved_steps.sql");

    /// An order as it was kept when an operator resolved a whole order.
    fn resolved(coordination: Coordination, payment: Payment) -> Order {
        let status = Status::Cancelled(Cancellation::NoAnswer);
        Order {
            settled_at: Some(Timestamp::now()),
            resolution: Some("by hand".to_owned()),
            ..fixtures::order(State { coordination, status, payment, stock: Stock::Reserved })
        }
    }

    #[tokio::test]
    async fn a_saga_of_which_a_whole_order_was_resolved_goes_on_with_its_goods() {
        assert_eq!(MIGRATION, include_str!("../migrations/sqlite/0102_resolved_steps.sql"));
        for (database, db) in fixtures::databases().await {
            // Of the third one, the release was resolved.
            let orders = [
                resolved(Coordination::Orchestration, Payment::Taken),
                resolved(Coordination::Orchestration, Payment::Refunded),
                resolved(Coordination::Orchestration, Payment::Refunded),
                resolved(Coordination::Sync, Payment::Taken),
            ];
            let mut tx = db.begin().await.unwrap();
            insert_orders(&mut tx, &orders.each_ref()).await.unwrap();
            let (order_id, step, at) = (orders[2].id, Step::ReleaseStock, Timestamp::now());
            let asked = Asked { order_id, step, attempts: 1, at, due_at: None, error: None };
            steps::ask(&mut tx, &[&asked]).await.unwrap();
            let statements = MIGRATION.split(';').map(str::trim);
            // The index is there: what is tried again is what was done to the rows.
            for statement in statements.filter(|text| !text.is_empty() && !text.contains("CREATE"))
            {
                tx.query(statement).execute().await.unwrap();
            }
            tx.commit().await.unwrap();
            let mut after = Vec::new();
            for Order { id, .. } in &orders {
                let order = super::order(&db, *id).await.unwrap().unwrap();
                let steps = steps::of_order(&db, *id).await.unwrap().all().unwrap();
                let steps: Vec<Step> = steps.into_iter().map(|step| step.step).collect();
                let State { payment, stock, .. } = order.state;
                after.push((payment, stock, order.settled_at.is_some(), steps));
            }
            let expected = [
                (Payment::Resolved, Stock::Reserved, false, vec![Step::ReleaseStock]),
                (Payment::Refunded, Stock::Reserved, false, vec![Step::ReleaseStock]),
                (Payment::Refunded, Stock::Resolved, true, vec![Step::ReleaseStock]),
                (Payment::Resolved, Stock::Resolved, true, vec![]),
            ];
            assert_eq!(after, expected, "{}", database.url);
        }
    }

    #[tokio::test]
    async fn the_oldest_order_is_the_one_that_was_placed_first() {
        for (database, db) in fixtures::databases().await {
            let hours =
                |hours: u64| Timestamp::now() + std::time::Duration::from_secs(hours * 3_600);
            let placed = |placed_at, deadline_at| Order {
                placed_at,
                deadline_at,
                ..fixtures::order(State::placed(Coordination::Sync))
            };
            let (first, second) = (placed(hours(1), hours(4)), placed(hours(2), hours(3)));
            let mut tx = db.begin().await.unwrap();
            insert_orders(&mut tx, &[&second, &first]).await.unwrap();
            tx.commit().await.unwrap();
            let waiting = waiting(&db, Timestamp::now()).await.unwrap();
            assert_eq!(waiting.oldest, Some(first.placed_at), "{}", database.url);
        }
    }
}
