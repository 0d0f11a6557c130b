//! What the order service counts.

use std::{sync::atomic::AtomicU64, time::Duration};

use contracts::Timestamp;
use prometheus_client::metrics::{
    counter::Counter,
    family::Family,
    gauge::Gauge,
    histogram::{Histogram, exponential_buckets},
};
use prometheus_client::registry::Unit;
use runtime::Metrics;

use crate::{machine::Status, order::Order, store::Waiting};

type Labels = Vec<(&'static str, &'static str)>;

/// Counters of orders. Cloning shares them.
#[derive(Debug, Clone)]
pub(crate) struct Orders {
    /// Orders that came to a state.
    reached: Family<Labels, Counter>,
    /// From the placing to the settlement.
    settled: Histogram,
    /// Orders that were charged a wrong amount in the last hour.
    wrong_amounts: Gauge,
    /// Steps that an operator should look at.
    parked: Gauge,
    /// Age of the oldest order that is still to be decided on: seconds.
    oldest_placed: Gauge<f64, AtomicU64>,
}

impl Orders {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let orders = Self {
            reached: Family::default(),
            // 5 ms to 80 s.
            settled: Histogram::new(exponential_buckets(0.005, 2.0, 15)),
            wrong_amounts: Gauge::default(),
            parked: Gauge::default(),
            oldest_placed: Gauge::default(),
        };
        let o = orders.clone();
        metrics.with_registry(|registry| {
            registry.register("shop_orders", "Orders that came to a state", o.reached);
            registry.register_with_unit(
                "shop_order_settlement",
                "From the placing of an order to its settlement",
                Unit::Seconds,
                o.settled,
            );
            registry.register(
                "shop_order_wrong_amounts",
                "Orders that were charged an amount other than their total in the last hour",
                o.wrong_amounts,
            );
            registry.register(
                "shop_saga_parked_steps",
                "What could not be undone or done so far, and an operator should look at",
                o.parked,
            );
            registry.register_with_unit(
                "shop_order_oldest_placed_age",
                "Age of the oldest order that is neither confirmed nor cancelled",
                Unit::Seconds,
                o.oldest_placed,
            );
        });
        orders
    }

    pub(crate) fn count(&self, status: Status) {
        self.reached.get_or_create(&vec![("status", status.as_str())]).inc();
    }

    pub(crate) fn waiting(&self, waiting: &Waiting, now: Timestamp) {
        self.parked.set(waiting.parked.cast_signed());
        self.wrong_amounts.set(waiting.wrong_amounts.cast_signed());
        let age = waiting.oldest.map_or(Duration::ZERO, |placed_at| now.since(placed_at));
        self.oldest_placed.set(age.as_secs_f64());
    }

    pub(crate) fn settled(&self, order: &Order) {
        let took = order.settled_at.map_or(Duration::ZERO, |at| at.since(order.placed_at));
        self.settled.observe(took.as_secs_f64());
        self.reached.get_or_create(&vec![("status", "settled")]).inc();
    }
}
