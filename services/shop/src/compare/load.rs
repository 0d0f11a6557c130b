//! Checkouts that start on time, whether those before were answered or not: customers don't wait for each other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::customer::{Sample, check_out};
use crate::checkout::api::Shop;

/// So many checkouts per second; it can be changed while they run.
#[derive(Debug, Clone)]
pub(super) struct Rate(Arc<AtomicU32>);

impl Rate {
    /// This many.
    pub(super) fn new(per_second: u32) -> Self {
        Self(Arc::new(AtomicU32::new(per_second)))
    }

    /// This many from now on.
    pub(super) fn set(&self, per_second: u32) {
        self.0.store(per_second, Ordering::Relaxed);
    }

    fn pause(&self) -> Duration {
        Duration::from_secs(1) / self.0.load(Ordering::Relaxed).max(1)
    }
}

/// Lets customers come until told to end; then waits for all of their answers.
pub(super) async fn run(
    shop: &Shop,
    body: &[u8],
    rate: Rate,
    end: CancellationToken,
) -> anyhow::Result<Vec<Sample>> {
    let mut customers = JoinSet::new();
    let mut next = Instant::now();
    while end.run_until_cancelled(sleep_until(next)).await.is_some() {
        customers.spawn(check_out(shop.clone(), body.to_vec(), next));
        next += rate.pause();
    }
    let mut samples = Vec::with_capacity(customers.len());
    while let Some(done) = customers.join_next().await {
        samples.push(done?);
    }
    samples.sort_by_key(|sample| sample.at);
    Ok(samples)
}
