//! Moving orders on: the machine's steps, what they announce and what they leave in the timeline, saved in one transaction.

use std::collections::BTreeMap;

use ::store::Tx;
use contracts::{Cause, OrderId, Timestamp};

use crate::{
    machine::{Fact, Refused, Status},
    metrics::Orders,
    order::{Entry, Order},
    store,
    waiting::Waiters,
};

/// Locked orders that are being moved on.
pub(crate) struct Moving {
    orders: BTreeMap<OrderId, Order>,
    entries: Vec<Entry>,
    decided: Vec<Status>,
    settled: Vec<OrderId>,
}

/// Why an order could not be moved on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is no order {0}")]
    Unknown(OrderId),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Store(#[from] ::store::Error),
}

/// Who is told of it after the commit.
#[derive(Debug, Clone)]
pub(crate) struct Watchers {
    pub(crate) waiters: Waiters,
    pub(crate) metrics: Orders,
}

impl Moving {
    /// Locks the orders with these ids.
    pub(crate) async fn lock(tx: &mut Tx, ids: &[OrderId]) -> ::store::Result<Self> {
        Ok(Self::new(store::lock_orders(tx, ids).await?))
    }

    /// Orders that are locked already.
    pub(crate) fn new(locked: Vec<Order>) -> Self {
        let orders = locked.into_iter().map(|order| (order.id, order)).collect();
        Self { orders, entries: Vec::new(), decided: Vec::new(), settled: Vec::new() }
    }

    /// One of the orders as it is now.
    pub(crate) fn order(&self, id: OrderId) -> Option<&Order> {
        self.orders.get(&id)
    }

    /// Notes something in the timelines.
    pub(crate) fn note(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Takes a fact: announces what it decides, which is led to by `cause`.
    ///
    /// # Errors
    /// When there is no such order, or the machine refuses the fact.
    pub(crate) fn take(
        &mut self,
        tx: &mut Tx,
        id: OrderId,
        fact: Fact,
        cause: &Cause,
    ) -> Result<(), Error> {
        let order = self.orders.get_mut(&id).ok_or(Error::Unknown(id))?;
        let step = order.state.step(fact)?;
        order.state = step.state;
        let now = Timestamp::now();
        match step.decided {
            Some(Status::Confirmed) => {
                tx.publish(&order.confirmed(), cause)?;
                self.entries.push(order.entry("OrderConfirmed", now, None));
            }
            Some(Status::Cancelled(reason)) => {
                tx.publish(&order.cancelled(reason), cause)?;
                let detail = Some(reason.as_str().to_owned());
                self.entries.push(order.entry("OrderCancelled", now, detail));
            }
            Some(Status::Placed) | None => {}
        }
        self.decided.extend(step.decided);
        if order.state.is_settled() && order.settled_at.is_none() {
            order.settled_at = Some(now);
            self.settled.push(id);
        }
        Ok(())
    }

    /// Writes the orders and their timelines. After the commit, the watchers are told.
    pub(crate) async fn save(self, tx: &mut Tx, watchers: &Watchers) -> ::store::Result<()> {
        let orders: Vec<&Order> = self.orders.values().collect();
        store::save_states(tx, &orders).await?;
        store::add_entries(tx, &self.entries).await?;
        let watchers = watchers.clone();
        tx.on_commit(move || {
            for status in &self.decided {
                watchers.metrics.count(*status);
            }
            for order in self.settled.iter().filter_map(|id| self.orders.get(id)) {
                watchers.metrics.settled(order);
            }
            watchers.waiters.wake(&self.settled);
        });
        Ok(())
    }
}
