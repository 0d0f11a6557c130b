//! Many orders, placed as fast as so many clients can.
//!
//! Placing does as little as it can beside it, since it shares the machine with what it measures; how long the
//! orders took to settle is asked afterwards, and told by the service's own clock.

use std::{
    num::NonZeroUsize,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use contracts::OrderId;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::StatusCode;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    Args,
    api::{Order, Shop, located, refusal},
    summary::{Checkouts, Settled, Summary},
};
use crate::terminal::say;

/// How many orders are asked for at a time in the end.
const READERS: usize = 8;
/// The longest wait that is asked for in one call.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The pause before asking again for an order that can't be seen.
const PAUSE: Duration = Duration::from_millis(50);

/// What the clients share.
struct Load {
    shop: Shop,
    body: Vec<u8>,
    left: AtomicUsize,
    bar: ProgressBar,
}

/// Places the orders, waits until they are settled, and prints a summary.
pub(super) async fn run(
    args: &Args,
    shop: &Shop,
    body: Vec<u8>,
    orders: NonZeroUsize,
) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let bar = ProgressBar::new(orders.get() as u64).with_style(style()?).with_message("placing");
    let left = AtomicUsize::new(orders.get());
    let load = Arc::new(Load { shop: shop.clone(), body, left, bar });
    let mut clients = JoinSet::new();
    for _ in 0..args.clients.get().min(orders.get()) {
        clients.spawn(load.clone().client());
    }
    let mut checkouts = Checkouts::default();
    while let Some(done) = clients.join_next().await {
        checkouts.add(done?);
    }
    let placing = began.elapsed();
    load.bar.reset();
    load.bar.set_length(checkouts.placed.len() as u64);
    load.bar.set_message("settling");
    let settled = settle(&load, checkouts.ids(), Instant::now() + args.wait).await?;
    load.bar.finish_and_clear();
    let summary = Summary::new(&checkouts, &settled, args.clients.get(), placing, began.elapsed());
    if args.json {
        say(serde_json::to_string_pretty(&summary)?);
    } else {
        say(&summary);
    }
    for (reason, times) in &checkouts.reasons {
        eprintln!("{times} × {reason}");
    }
    let all = summary.placed == orders.get() && summary.unsettled == 0;
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn style() -> anyhow::Result<ProgressStyle> {
    Ok(ProgressStyle::with_template("{msg:<8} {wide_bar} {pos}/{len} {eta}")?)
}

impl Load {
    /// Places one order after the other until there are none left.
    async fn client(self: Arc<Self>) -> Checkouts {
        let mut mine = Checkouts::default();
        let one_less = |left: usize| left.checked_sub(1);
        while self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            let sent = Instant::now();
            match self.shop.checkout(self.body.clone()).await {
                Ok(answer)
                    if [StatusCode::ACCEPTED, StatusCode::CREATED].contains(&answer.status()) =>
                {
                    let took = sent.elapsed();
                    match located(&answer) {
                        Some(id) => mine.placed.push((id, took)),
                        None => mine.refuse("accepted without a Location".to_owned()),
                    }
                    // Only a connection whose answer was read to its end is used again.
                    let _ = answer.bytes().await;
                }
                Ok(answer) => mine.refuse(format!("{:#}", refusal(answer).await)),
                Err(error) => mine.miss(format!("{:#}", anyhow::Error::from(error))),
            }
            self.bar.inc(1);
        }
        mine
    }
}

/// What became of the orders, a few at a time; those that aren't settled in time are missing.
async fn settle(
    load: &Arc<Load>,
    mut orders: Vec<OrderId>,
    until: Instant,
) -> anyhow::Result<Vec<Settled>> {
    // The last one first, alone: asking for those that are long settled would only slow it down.
    let mut settled = Vec::with_capacity(orders.len());
    orders.sort_unstable();
    if let Some(last) = orders.pop() {
        settled.extend(one(load, last, until).await);
    }
    let orders = Arc::new(orders);
    let next = Arc::new(AtomicUsize::new(0));
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let (load, orders, next) = (load.clone(), orders.clone(), next.clone());
        readers.spawn(async move {
            let mut mine = Vec::new();
            while let Some(id) = orders.get(next.fetch_add(1, Ordering::Relaxed)) {
                mine.extend(one(&load, *id, until).await);
            }
            mine
        });
    }
    while let Some(done) = readers.join_next().await {
        settled.extend(done?);
    }
    Ok(settled)
}

/// Waits for one order; none when it isn't settled in time.
async fn one(load: &Load, id: OrderId, until: Instant) -> Option<Settled> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        // Whole seconds, and at least one look even when the time is over.
        let wait = left.min(LONGEST_WAIT).as_secs_f64().ceil() as u64;
        let text = load.shop.order(id, Some(wait)).await.ok();
        let order = text.and_then(|text| serde_json::from_str::<Order>(&text).ok());
        if let Some(settled) = order.and_then(Settled::of) {
            load.bar.inc(1);
            return Some(settled);
        }
        if left.is_zero() {
            return None;
        }
        sleep(PAUSE).await;
    }
}
