//! What a service counts and measures, as Prometheus text.

use std::{
    collections::BTreeMap,
    fmt::{Debug, Display},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::{Duration, Instant},
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
use store::Chain;

/// An unreadable row that wasn't met for this long has been repaired: all who look for rows do so more often.
const REPAIRED_AFTER: Duration = Duration::from_secs(120);

/// A metric's labels.
type Labels = Vec<(&'static str, String)>;
/// Rows by table and key, and when each was met last.
type Unreadable = BTreeMap<(&'static str, String), Instant>;
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
    /// Rows that this program has met and can't read, by table.
    unreadable_rows: Family<Labels, Gauge>,
    unreadable: Arc<Mutex<Unreadable>>,
    /// How long ago gauges were set.
    gauge_age: Family<Labels, Gauge<f64, AtomicU64>>,
    /// When they were.
    refreshed: Arc<Mutex<BTreeMap<&'static str, Instant>>>,
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
            unreadable_rows: Family::default(),
            unreadable: Arc::default(),
            gauge_age: Family::default(),
            refreshed: Arc::default(),
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
            r.register(
                "shop_unreadable_rows",
                "Rows that this program has met and can't handle; the log names them",
                m.unreadable_rows,
            );
            r.register_with_unit(
                "shop_gauge_age",
                "How long ago the gauges of the outbox, the queue and others were refreshed",
                Unit::Seconds,
                m.gauge_age,
            );
        });
        metrics
    }

    /// Registers metrics of a service's own.
    pub fn with_registry(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Reports a row of a table that can't be read, or not moved on: in the log when it is met first, in the gauge for as long as it is
    /// met.
    pub fn unreadable(
        &self,
        table: &'static str,
        key: &dyn Display,
        error: &dyn std::error::Error,
    ) {
        let key = key.to_string();
        let met = self.unreadable_rows().insert((table, key.clone()), Instant::now());
        if met.is_none() {
            let error = tracing::field::display(Chain(error));
            tracing::error!(
                table,
                key,
                error,
                "a row can't be handled; it is left out, and tried again"
            );
        }
    }

    fn unreadable_rows(&self) -> MutexGuard<'_, Unreadable> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what was met lately; what wasn't has been repaired.
    fn count_unreadable(&self) {
        let mut met = self.unreadable_rows();
        for (table, _) in met.keys() {
            self.unreadable_rows.get_or_create(&vec![("table", (*table).to_owned())]).set(0);
        }
        met.retain(|_, at| at.elapsed() < REPAIRED_AFTER);
        for (table, _) in met.keys() {
            self.unreadable_rows.get_or_create(&vec![("table", (*table).to_owned())]).inc();
        }
    }

    /// Notes that the gauges of something were just refreshed: from now on their age is a metric.
    pub fn refreshed(&self, what: &'static str) {
        self.refreshed_at().insert(what, Instant::now());
    }

    fn refreshed_at(&self) -> MutexGuard<'_, BTreeMap<&'static str, Instant>> {
        self.refreshed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Messages in the outbox when it was last counted: a second ago, or up to 15 when counting takes long.
    #[must_use]
    pub fn outbox_rows(&self) -> u64 {
        self.outbox_rows.get().cast_unsigned()
    }

    /// All of them in the Prometheus text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.count_unreadable();
        for (what, at) in self.refreshed_at().iter() {
            let labels = vec![("gauges", (*what).to_owned())];
            self.gauge_age.get_or_create(&labels).set(at.elapsed().as_secs_f64());
        }
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
