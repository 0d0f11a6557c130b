//! Checkouts that start on time, whether those before were answered or not: customers don't wait for each other.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
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

/// Customers who keep coming, so many per second.
#[derive(Debug, Clone)]
pub(super) struct Customers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    per_second: AtomicU32,
    /// When those were to begin who have no answer yet.
    waiting: Mutex<BTreeSet<Instant>>,
}

impl Customers {
    /// This many.
    pub(super) fn new(per_second: u32) -> Self {
        let per_second = AtomicU32::new(per_second);
        Self(Arc::new(Shared { per_second, waiting: Mutex::default() }))
    }

    /// This many from now on.
    pub(super) fn come(&self, per_second: u32) {
        self.0.per_second.store(per_second, Ordering::Relaxed);
    }

    /// Whether everybody who came before then has an answer.
    pub(super) fn are_answered(&self, until: Instant) -> bool {
        self.waiting().first().is_none_or(|first| *first >= until)
    }

    /// Lets them come until told to end; then waits for all of their answers.
    pub(super) async fn run(
        &self,
        shop: &Shop,
        body: &[u8],
        end: CancellationToken,
    ) -> anyhow::Result<Vec<Sample>> {
        let mut all = JoinSet::new();
        let mut next = Instant::now();
        while end.run_until_cancelled(sleep_until(next)).await.is_some() {
            self.waiting().insert(next);
            all.spawn(self.clone().one(shop.clone(), body.to_vec(), next));
            next += Duration::from_secs(1) / self.0.per_second.load(Ordering::Relaxed).max(1);
        }
        let mut samples = Vec::with_capacity(all.len());
        while let Some(done) = all.join_next().await {
            samples.push(done?);
        }
        samples.sort_by_key(|sample| sample.at);
        Ok(samples)
    }

    async fn one(self, shop: Shop, body: Vec<u8>, at: Instant) -> Sample {
        let sample = check_out(shop, body, at).await;
        self.waiting().remove(&at);
        sample
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeSet<Instant>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
