//! What the order service counts.

use std::time::Duration;

use prometheus_client::metrics::{
    counter::Counter,
    family::Family,
    gauge::Gauge,
    histogram::{Histogram, exponential_buckets},
};
use prometheus_client::registry::Unit;
use runtime::Metrics;

use crate::{machine::Status, order::Order};

type Labels = Vec<(&'static str, &'static str)>;

/// Counters of orders. Cloning shares them.
#[derive(Debug, Clone)]
pub(crate) struct Orders {
    /// Orders that came to a state.
    reached: Family<Labels, Counter>,
    /// From the placing to the settlement.
    settled: Histogram,
    /// Steps that a person should look at.
    parked: Gauge,
}

impl Orders {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let orders = Self {
            reached: Family::default(),
            // 5 ms to 80 s.
            settled: Histogram::new(exponential_buckets(0.005, 2.0, 15)),
            parked: Gauge::default(),
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
                "shop_saga_parked_steps",
                "What could not be undone or done so far, and a person should look at",
                o.parked,
            );
        });
        orders
    }

    pub(crate) fn count(&self, status: Status) {
        self.reached.get_or_create(&vec![("status", status.as_str())]).inc();
    }

    pub(crate) fn parked(&self, steps: u64) {
        self.parked.set(steps.cast_signed());
    }

    pub(crate) fn settled(&self, order: &Order) {
        let took = order.settled_at.map_or(Duration::ZERO, |at| at.since(order.placed_at));
        self.settled.observe(took.as_secs_f64());
        self.reached.get_or_create(&vec![("status", "settled")]).inc();
    }
}
