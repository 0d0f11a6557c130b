//! What many orders came to.

use std::{collections::BTreeMap, fmt, time::Duration};

use comfy_table::{CellAlignment, Table, presets::NOTHING};
use contracts::{OrderId, Timestamp};
use serde::Serialize;

use super::api::Order;

/// What the checkouts came to.
#[derive(Debug, Default)]
pub(super) struct Checkouts {
    /// The accepted ones, with how long the answer took.
    pub(super) placed: Vec<(OrderId, Duration)>,
    /// How many were answered with something else.
    pub(super) refused: usize,
    /// How many got no answer.
    pub(super) unanswered: usize,
    /// What the refusals and failures said, and how often.
    pub(super) reasons: BTreeMap<String, usize>,
}

impl Checkouts {
    /// Counts a refusal.
    pub(super) fn refuse(&mut self, reason: String) {
        self.refused += 1;
        *self.reasons.entry(reason).or_default() += 1;
    }

    /// Counts a call without an answer.
    pub(super) fn miss(&mut self, reason: String) {
        self.unanswered += 1;
        *self.reasons.entry(reason).or_default() += 1;
    }

    /// Adds what another client counted.
    pub(super) fn add(&mut self, other: Self) {
        self.placed.extend(other.placed);
        self.refused += other.refused;
        self.unanswered += other.unanswered;
        for (reason, times) in other.reasons {
            *self.reasons.entry(reason).or_default() += times;
        }
    }

    /// The orders that exist now.
    pub(super) fn ids(&self) -> Vec<OrderId> {
        self.placed.iter().map(|(id, _)| *id).collect()
    }
}

/// The end of one order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settled {
    confirmed: bool,
    placed_at: Timestamp,
    settled_at: Timestamp,
}

impl Settled {
    /// The end of this order; none when it hasn't come yet.
    pub(super) fn of(order: Order) -> Option<Self> {
        let settled_at = order.settled_at.filter(|_| order.settled)?;
        Some(Self {
            confirmed: order.status == "confirmed",
            placed_at: order.placed_at,
            settled_at,
        })
    }
}

/// The summary, as it is printed and written as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    clients: usize,
    /// Accepted checkouts.
    pub(super) placed: usize,
    refused: usize,
    unanswered: usize,
    confirmed: usize,
    cancelled: usize,
    /// Accepted, but neither confirmed nor cancelled for good in time.
    pub(super) unsettled: usize,
    /// How long the answer to a checkout took.
    checkout_ms: Quantiles,
    /// How long it took from placing to settling, by the service's clock.
    settled_ms: Quantiles,
    /// Accepted checkouts per second, while they were placed.
    placed_per_second: f64,
    /// Settled orders per second, from the first placing to the last settling, by the service's clock.
    settled_per_second: f64,
    /// How long all of it took, asking for the results included.
    wall_seconds: f64,
}

/// Half of them were at least as fast, 99 of 100, all; in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Quantiles {
    /// Half of them took at most so long.
    pub(crate) p50: f64,
    /// 99 of 100.
    pub(crate) p99: f64,
    /// All.
    pub(crate) max: f64,
}

impl Quantiles {
    /// By the nearest rank; zeros for no times at all.
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            times.get(rank - 1).map_or(0.0, |time| round(time.as_secs_f64() * 1_000.0))
        };
        Self { p50: at(50), p99: at(99), max: at(100) }
    }
}

impl Summary {
    /// Sums up; placing took `placing`, everything `wall`.
    pub(super) fn new(
        checkouts: &Checkouts,
        settled: &[Settled],
        clients: usize,
        placing: Duration,
        wall: Duration,
    ) -> Self {
        let confirmed = settled.iter().filter(|order| order.confirmed).count();
        let first = settled.iter().map(|order| order.placed_at).min().unwrap_or_default();
        let last = settled.iter().map(|order| order.settled_at).max().unwrap_or_default();
        let times = settled.iter().map(|order| order.settled_at.since(order.placed_at));
        let placed = checkouts.placed.len();
        Self {
            clients,
            placed,
            refused: checkouts.refused,
            unanswered: checkouts.unanswered,
            confirmed,
            cancelled: settled.len() - confirmed,
            unsettled: placed.saturating_sub(settled.len()),
            checkout_ms: Quantiles::of(checkouts.placed.iter().map(|(_, took)| *took).collect()),
            settled_ms: Quantiles::of(times.collect()),
            placed_per_second: rate(placed, placing),
            settled_per_second: rate(settled.len(), last.since(first)),
            wall_seconds: round(wall.as_secs_f64()),
        }
    }
}

fn rate(count: usize, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { round(count as f64 / time.as_secs_f64()) }
}

fn round(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts = Table::new();
        counts.load_style(NOTHING).add_rows([
            ["placed", &self.placed.to_string()],
            ["refused", &self.refused.to_string()],
            ["unanswered", &self.unanswered.to_string()],
            ["confirmed", &self.confirmed.to_string()],
            ["cancelled", &self.cancelled.to_string()],
            ["unsettled", &self.unsettled.to_string()],
            ["placed per second", &format!("{:.0}", self.placed_per_second)],
            ["settled per second", &format!("{:.0}", self.settled_per_second)],
            ["seconds in all", &format!("{:.2}", self.wall_seconds)],
        ]);
        let row = |name: &str, times: &Quantiles| {
            let ms = |time: f64| format!("{time:.1} ms");
            [name.to_owned(), ms(times.p50), ms(times.p99), ms(times.max)]
        };
        let mut times = Table::new();
        times
            .load_style(NOTHING)
            .set_header(["", "p50", "p99", "max"])
            .add_row(row("checkout", &self.checkout_ms))
            .add_row(row("time to settled", &self.settled_ms));
        for table in [&mut counts, &mut times] {
            for column in table.column_iter_mut().skip(1) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        write!(f, "{}\n\n{}", counts.trim_fmt(), times.trim_fmt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(times: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        times.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        let of = |times| Quantiles::of(millis(times));
        let quantiles = |p50, p99, max| Quantiles { p50, p99, max };
        assert_eq!(of(vec![]), quantiles(0.0, 0.0, 0.0));
        assert_eq!(of(vec![7]), quantiles(7.0, 7.0, 7.0));
        assert_eq!(of(vec![3, 1, 2]), quantiles(2.0, 3.0, 3.0));
        assert_eq!(of((1..=100).rev().collect()), quantiles(50.0, 99.0, 100.0));
        assert_eq!(of((1..=1_000).collect()), quantiles(500.0, 990.0, 1_000.0));
    }

    #[test]
    fn orders_are_counted_once() {
        let at = |micros| Timestamp::from_micros(micros);
        let order =
            |confirmed, settled| Settled { confirmed, placed_at: at(0), settled_at: at(settled) };
        let mut checkouts = Checkouts::default();
        for _ in 0..3 {
            checkouts.placed.push((OrderId::nil(), Duration::from_millis(1)));
        }
        checkouts.refuse("no".to_owned());
        checkouts.refuse("no".to_owned());
        let settled = [order(true, 500_000), order(false, 1_000_000)];
        let second = Duration::from_secs(1);
        let summary = Summary::new(&checkouts, &settled, 1, second, second);
        assert_eq!((summary.placed, summary.refused, summary.confirmed), (3, 2, 1));
        assert_eq!((summary.cancelled, summary.unsettled), (1, 1));
        assert_eq!((summary.placed_per_second, summary.settled_per_second), (3.0, 2.0));
        assert_eq!(checkouts.reasons["no"], 2);
    }
}
