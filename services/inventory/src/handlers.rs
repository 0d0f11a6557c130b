//! What the service does with the messages of its queue, and when it starts.

use std::collections::BTreeSet;

use ::store::{Db, Tx};
use contracts::{Cause, Coordination, OrderId, StockRejected, StockReleased, StockReserved};
use runtime::{Apply, Failure, Received};

use crate::{
    catalogue,
    reservation::{self, Announcement, Fact, Refusal},
    store,
};

contracts::incoming! {
    /// What the inventory service reacts to.
    pub enum Incoming { OrderPlaced, OrderConfirmed, OrderCancelled; ReserveStock, ReleaseStock }
}

/// Keeps the books of the stock.
#[derive(Debug)]
pub struct Books;

impl Apply for Books {
    type Message = Incoming;

    async fn apply(&self, tx: &mut Tx, batch: &[&Received<Incoming>]) -> Result<(), Failure> {
        let news: Vec<News> = batch.iter().filter_map(|received| News::of(received)).collect();
        Ok(apply(tx, &news).await?)
    }
}

/// A fact about an order, and the message that brought it.
#[derive(Debug, Clone)]
pub struct News {
    /// The order.
    pub order_id: OrderId,
    /// What happened to it.
    pub fact: Fact,
    /// Where it comes from.
    pub cause: Cause,
    /// Whether whoever caused it waits to hear how the goods stand, also when they were told before.
    pub answer: bool,
}

impl News {
    /// What a message means here: of an order that is orchestrated, commands say what to do, and the events of its placing and
    /// cancelling mean nothing.
    fn of(received: &Received<Incoming>) -> Option<Self> {
        let ours = |coordination| coordination == Coordination::Choreography;
        let (order_id, fact) = match &received.message {
            Incoming::OrderPlaced(order) if ours(order.coordination) => {
                (order.order_id, Fact::Placed(order.lines.as_slice().into()))
            }
            Incoming::OrderCancelled(order) if ours(order.coordination) => {
                (order.order_id, Fact::Cancelled)
            }
            Incoming::OrderPlaced(_) | Incoming::OrderCancelled(_) => return None,
            Incoming::OrderConfirmed(order) => (order.order_id, Fact::Confirmed),
            Incoming::ReserveStock(command) => {
                (command.order_id, Fact::Placed(command.lines.as_slice().into()))
            }
            Incoming::ReleaseStock(command) => (command.order_id, Fact::Cancelled),
        };
        let answer = matches!(received.message, Incoming::ReleaseStock(_));
        Some(Self { order_id, fact, cause: received.cause(), answer })
    }
}

/// Why news could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One of the facts can't be true.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] ::store::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refusal) => Self::Permanent(refusal.into()),
            Error::Store(error) => Self::Store(error),
        }
    }
}

/// Applies facts in the order of their arrival: a handful of statements, however many there are. The products stay
/// locked from their reading to the commit, since all orders may want the same one; what can be done before is.
///
/// # Errors
/// When a fact contradicts what happened before, or the database fails. The transaction must then be rolled back.
pub async fn apply(tx: &mut Tx, news: &[News]) -> Result<(), Error> {
    let orders: BTreeSet<OrderId> = news.iter().map(|news| news.order_id).collect();
    let mut reservations = store::lock_reservations(tx, &orders).await?;
    let placed = news.iter().filter_map(|news| match &news.fact {
        Fact::Placed(lines) => Some(lines),
        Fact::Confirmed | Fact::Cancelled | Fact::ReleaseCalled => None,
    });
    let known = reservations.values().map(|reservation| &reservation.lines);
    let skus = placed.chain(known).flat_map(|lines| lines.0.keys().cloned()).collect();
    let mut shelf = store::lock_stock(tx, &skus).await?;
    let (before, stock_before) = (reservations.clone(), shelf.clone());
    for News { order_id, fact, cause, answer } in news {
        let Some(reservation) = reservations.get_mut(order_id) else { continue };
        let announcement = reservation::apply(reservation, fact, &mut shelf)?;
        // Nothing is put aside for an order whose release was asked for: that is certain after it.
        let announcement = announcement.or_else(|| answer.then_some(Announcement::Released));
        if let Some(announcement) = announcement {
            announce(tx, *order_id, announcement, cause)?;
        }
    }
    let changed: Vec<_> =
        reservations.values().filter(|now| before.get(&now.order_id) != Some(now)).collect();
    store::save_reservations(tx, &changed).await?;
    let moved: Vec<_> = shelf
        .0
        .iter()
        .filter(|(sku, stock)| stock_before.0.get(*sku) != Some(stock))
        .map(|(sku, stock)| (sku, *stock))
        .collect();
    Ok(store::save_stock(tx, &moved).await?)
}

fn announce(
    tx: &mut Tx,
    order_id: OrderId,
    announcement: Announcement,
    cause: &Cause,
) -> ::store::Result<()> {
    match announcement {
        Announcement::Reserved => tx.publish(&StockReserved { order_id }, cause),
        Announcement::Rejected(shortages) => {
            tx.publish(&StockRejected { order_id, shortages }, cause)
        }
        Announcement::Released => tx.publish(&StockReleased { order_id }, cause),
    }
    .map(drop)
}

/// Lists the products that a new shop starts with, each once, however many replicas start together and however often.
///
/// # Errors
/// When the database is away.
pub async fn list_seed(db: &Db) -> ::store::Result<()> {
    let seed = catalogue::seed();
    let mut tx = db.begin().await?;
    let added = store::add_products(&mut tx, &seed).await?;
    for product in seed.iter().filter(|product| added.contains(&product.sku)) {
        tx.publish(&product.announcement(), &Cause::default())?;
    }
    tx.commit().await
}

#[cfg(test)]
mod tests {
    use contracts::Incoming as _;

    use super::*;

    #[test]
    fn the_queue_is_bound_to_what_is_handled() {
        let subscription = contracts::subscription("inventory").unwrap();
        assert_eq!(Incoming::ROUTING_KEYS, subscription.routing_keys);
        assert_eq!(Incoming::OWNERS, ["inventory"; 2]);
    }
}
