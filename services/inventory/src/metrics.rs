//! How much of each product can be had, as a gauge.

use std::time::Duration;

use ::store::Db;
use prometheus_client::metrics::{family::Family, gauge::Gauge};
use runtime::{Chain, Metrics, Pulse};
use tokio_util::sync::CancellationToken;

use crate::store;

/// How often the gauge is read from the database.
const POLL: Duration = Duration::from_secs(10);

/// The gauge `inventory_stock_available`, by SKU.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stock(Family<Vec<(&'static str, String)>, Gauge>);

impl Stock {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let stock = Self::default();
        metrics.with_registry(|registry| {
            registry.register(
                "inventory_stock_available",
                "Pieces of a product that are neither reserved nor gone",
                stock.0.clone(),
            );
        });
        stock
    }

    /// Keeps the gauge up to date until told to stop. While the database can't be read it keeps its last value, and its age says so.
    pub(crate) async fn watch(
        self,
        db: Db,
        metrics: Metrics,
        pulse: Pulse,
        shutdown: CancellationToken,
    ) {
        loop {
            pulse.beat();
            match store::products(&db).await {
                Ok(products) => {
                    metrics.refreshed("stock");
                    for product in products {
                        let available = i64::from(product.stock().available());
                        self.0.get_or_create(&vec![("sku", product.sku)]).set(available);
                    }
                }
                Err(error) => {
                    let error = tracing::field::display(Chain(&error));
                    tracing::debug!(error, "the stock gauges could not be read");
                }
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(POLL)).await.is_none() {
                return;
            }
        }
    }
}
