//! Clients that wait for an order to be settled.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use contracts::OrderId;
use runtime::http::Limits;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Who waits for which order, in this process. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Waiters {
    waiting: Arc<Mutex<HashMap<OrderId, Arc<Notify>>>>,
    places: Arc<Semaphore>,
}

impl Default for Waiters {
    fn default() -> Self {
        // The other connections are for checkouts.
        let most = Limits::default().connections / 2;
        Self { waiting: Arc::default(), places: Arc::new(Semaphore::new(most)) }
    }
}

/// A place in the queue for one order; it is given up when it is dropped.
pub(crate) struct Waiter {
    waiters: Waiters,
    order_id: OrderId,
    settled: Arc<Notify>,
    _place: OwnedSemaphorePermit,
}

impl Waiters {
    /// Starts waiting, unless too many do. Look at the order after this, not before, or its settlement may be missed.
    pub(crate) fn wait(&self, order_id: OrderId) -> Option<Waiter> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let settled = waiting.entry(order_id).or_default().clone();
        Some(Waiter { waiters: self.clone(), order_id, settled, _place: place })
    }

    /// Wakes up who waits for these orders.
    pub(crate) fn wake(&self, settled: &[OrderId]) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for order in settled.iter().filter_map(|order_id| waiting.get(order_id)) {
            order.notify_waiters();
        }
    }
}

impl Waiter {
    /// Ends when this process has settled the order. (Another replica may do it, so look again now and then.)
    pub(crate) fn settled(&self) -> tokio::sync::futures::Notified<'_> {
        self.settled.notified()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = self.waiters.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Two: the map's and this one's.
        if Arc::strong_count(&self.settled) == 2 {
            waiting.remove(&self.order_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_wait_than_there_are_places() {
        let waiters = Waiters::default();
        let order = OrderId::now_v7();
        let mut waiting: Vec<_> =
            (0..Limits::default().connections / 2).map(|_| waiters.wait(order).unwrap()).collect();
        assert!(waiters.wait(order).is_none());
        waiting.pop();
        assert!(waiters.wait(order).is_some());
    }
}
