//! Clients that wait for an order to be settled.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use contracts::OrderId;
use tokio::sync::Notify;

/// Who waits for which order, in this process. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiters(Arc<Mutex<HashMap<OrderId, Arc<Notify>>>>);

/// A place in the queue for one order; it is given up when it is dropped.
pub(crate) struct Waiter {
    waiters: Waiters,
    order_id: OrderId,
    settled: Arc<Notify>,
}

impl Waiters {
    /// Starts waiting. Look at the order after this, not before, or its settlement may be missed.
    pub(crate) fn wait(&self, order_id: OrderId) -> Waiter {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let settled = waiting.entry(order_id).or_default().clone();
        Waiter { waiters: self.clone(), order_id, settled }
    }

    /// Wakes up who waits for these orders.
    pub(crate) fn wake(&self, settled: &[OrderId]) {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
        let mut waiting = self.waiters.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Two: the map's and this one's.
        if Arc::strong_count(&self.settled) == 2 {
            waiting.remove(&self.order_id);
        }
    }
}
