//! What a service counts and measures, as Prometheus text.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
};

use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// A metric's labels.
type Labels = Vec<(&'static str, String)>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// A service's metrics. Cloning shares them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    /// HTTP requests by method, route and status: seconds.
    pub(crate) requests: Histograms,
    /// Handling of a message by queue and type: seconds.
    pub(crate) handling: Histograms,
    /// Attempts by queue and what came of them.
    pub(crate) attempts: Family<Labels, Counter>,
    /// Messages sent by outcome.
    pub(crate) sent: Family<Labels, Counter>,
    pub(crate) outbox_rows: Gauge,
    pub(crate) outbox_age: Gauge<f64, AtomicU64>,
    /// Messages that wait in the service's queue.
    pub(crate) queue_ready: Gauge,
    pub(crate) dead_letters: Gauge,
    pub(crate) consumer_connected: Gauge,
    pub(crate) database_connected: Gauge,
}

impl Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

fn seconds() -> Histogram {
    // 0.5 ms to 16 s.
    Histogram::new(exponential_buckets(0.0005, 2.0, 16))
}

impl Metrics {
    /// The metrics that every service has.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self {
            registry: Arc::default(),
            requests: Family::new_with_constructor(seconds),
            handling: Family::new_with_constructor(seconds),
            attempts: Family::default(),
            sent: Family::default(),
            outbox_rows: Gauge::default(),
            outbox_age: Gauge::default(),
            queue_ready: Gauge::default(),
            dead_letters: Gauge::default(),
            consumer_connected: Gauge::default(),
            database_connected: Gauge::default(),
        };
        let m = metrics.clone();
        metrics.with_registry(|r| {
            r.register_with_unit(
                "http_server_request_duration",
                "HTTP requests",
                Unit::Seconds,
                m.requests,
            );
            r.register_with_unit(
                "messaging_process_duration",
                "Handling of a message, from its reading to the decision on it",
                Unit::Seconds,
                m.handling,
            );
            r.register("shop_attempts", "Attempts to handle a message, by outcome", m.attempts);
            r.register(
                "messaging_client_sent_messages",
                "Messages handed to the broker, by outcome",
                m.sent,
            );
            r.register("shop_outbox_rows", "Messages in the outbox", m.outbox_rows);
            r.register_with_unit(
                "shop_outbox_oldest_age",
                "Age of the oldest message in the outbox",
                Unit::Seconds,
                m.outbox_age,
            );
            r.register(
                "shop_queue_ready",
                "Messages that wait in the service's queue",
                m.queue_ready,
            );
            r.register("shop_dead_letters", "Dead letters of the service", m.dead_letters);
            r.register(
                "shop_consumer_connected",
                "1 while the broker delivers to this process",
                m.consumer_connected,
            );
            r.register(
                "shop_database_connected",
                "1 while the service's database answers this process",
                m.database_connected,
            );
        });
        metrics
    }

    /// Registers metrics of a service's own.
    pub fn with_registry(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Messages in the outbox when it was last counted, about a second ago.
    #[must_use]
    pub fn outbox_rows(&self) -> u64 {
        self.outbox_rows.get().cast_unsigned()
    }

    /// All of them in the Prometheus text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a String can't fail.
        let _ = encode(&mut text, &registry);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
