//! The figures that sentences speak of, and how they are written in one.

use super::super::figures::Figures;

pub(super) fn p50(figures: &Figures) -> Option<f64> {
    Some(figures.latency?.p50)
}

pub(super) fn p99(figures: &Figures) -> Option<f64> {
    Some(figures.latency?.p99)
}

pub(super) fn settled(figures: &Figures) -> Option<f64> {
    Some(figures.settled?.p50)
}

pub(super) fn slowest(figures: &Figures) -> Option<f64> {
    Some(figures.settled?.max)
}

pub(super) fn ratio(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    let (one, other) = one.zip(other)?;
    (other > 0.0).then_some(one / other)
}

pub(super) fn factor_in_words(times: f64) -> String {
    if times < 10.0 { format!("{times:.1}") } else { format!("{times:.0}") }
}

pub(super) fn of(some: usize, all: usize) -> String {
    format!("{some} of {all}")
}

pub(super) fn share(some: usize, all: usize) -> String {
    if all == 0 { "none".to_owned() } else { format!("{} %", (some * 100).div_ceil(all)) }
}

pub(super) fn things(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A time of so many milliseconds, in words.
pub(super) fn time(ms: Option<f64>) -> String {
    match ms {
        None => "no time".to_owned(),
        Some(ms) if ms >= 1_000.0 => format!("{:.2} s", ms / 1_000.0),
        Some(ms) if ms >= 10.0 => format!("{ms:.0} ms"),
        Some(ms) => format!("{ms:.1} ms"),
    }
}
