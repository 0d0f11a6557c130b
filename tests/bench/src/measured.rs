//! What was measured, as it goes from the command that measures to the one that reports: a line of JSON each.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
};

use serde::{Deserialize, Serialize};

/// A result.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "measured", rename_all = "snake_case")]
pub(crate) enum Measured {
    Machine(Machine),
    Start(Start),
    Idle(Idle),
    Load(Load),
    Memory(Memory),
    Rate(Rate),
}

/// What the measuring was done on; names and values.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) facts: Vec<(String, String)>,
}

/// From the start of `shop up` until its first order was confirmed, in seconds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) setup: String,
    /// With nothing there yet: databases, tables and queues are made.
    pub(crate) empty: Vec<f64>,
    /// With all of that there.
    pub(crate) again: Vec<f64>,
}

/// What the system uses while nobody wants anything of it: CPU seconds by process, over `seconds`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Idle {
    pub(crate) setup: String,
    pub(crate) seconds: f64,
    pub(crate) cpu: BTreeMap<String, f64>,
}

/// Checkouts by so many clients at a time.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(crate) setup: String,
    pub(crate) clients: usize,
    pub(crate) orders: usize,
    /// From sending a checkout to its whole answer, in milliseconds.
    pub(crate) checkout_ms: Quantiles,
    /// From the first checkout sent, in seconds, until: the last was answered,
    pub(crate) placed: f64,
    /// the last order was settled,
    pub(crate) settled: f64,
    /// and the last mail sent and the last goods gone.
    pub(crate) done: f64,
    /// CPU seconds until then, by process.
    pub(crate) cpu: BTreeMap<String, f64>,
    /// Of the whole machine.
    pub(crate) machine: Cores,
}

/// Of so many times, half were at most `p50`, 99 of 100 at most `p99`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

/// CPU seconds of all cores together.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Cores {
    pub(crate) busy: f64,
    /// Taken by the host of a virtual machine.
    pub(crate) stolen: f64,
}

/// Memory of the system's processes, in MB (1,000,000 bytes).
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) setup: String,
    pub(crate) processes: BTreeMap<String, Resident>,
}

/// Memory of a process.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Resident {
    /// Before the load.
    pub(crate) idle: f64,
    /// After it.
    pub(crate) after: f64,
    /// The part of `after` that no file holds.
    pub(crate) anonymous: f64,
    /// The most that it ever was.
    pub(crate) peak: f64,
}

/// How fast something went, the same several times over.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Rate {
    /// `relay`, `subscriber`, `raw 100`, `raw 500`, `pgbench 1`, `pgbench 50`.
    pub(crate) name: String,
    /// What is counted, `messages` or `orders`.
    pub(crate) unit: String,
    /// Per second, each time.
    pub(crate) per_second: Vec<f64>,
    /// CPU seconds per 1,000, by process, over all times.
    #[serde(default)]
    pub(crate) cpu_per_1000: BTreeMap<String, f64>,
}

impl Measured {
    /// Prints it.
    ///
    /// # Errors
    /// When nobody reads.
    pub(crate) fn print(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, self)?;
        out.write_all(b"\n")?;
        out.flush()
    }
}

/// The one in the middle; of an even number, the lower one. Zero of none.
pub(crate) fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

impl Quantiles {
    /// By the nearest rank; zeros of none.
    pub(crate) fn of(mut times: Vec<f64>) -> Self {
        times.sort_unstable_by(f64::total_cmp);
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            times.get(rank - 1).copied().unwrap_or_default()
        };
        Self { p50: at(50), p99: at(99), max: at(100) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_one_of_the_numbers() {
        for (numbers, expected) in
            [(vec![], 0.0), (vec![3.0], 3.0), (vec![3.0, 1.0], 1.0), (vec![9.0, 1.0, 2.0], 2.0)]
        {
            assert_eq!(median(&numbers), expected);
        }
    }

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        let quantiles = Quantiles::of((1..=200).rev().map(f64::from).collect());
        assert_eq!((quantiles.p50, quantiles.p99, quantiles.max), (100.0, 198.0, 200.0));
        assert_eq!(Quantiles::of(vec![]).max, 0.0);
    }

    #[test]
    fn what_is_printed_can_be_read() {
        let rate = r#"{"measured":"rate","name":"pgbench 1","unit":"orders","per_second":[1.5]}"#;
        let Measured::Rate(rate) = serde_json::from_str(rate).unwrap() else { panic!("no rate") };
        assert_eq!(rate.per_second, [1.5]);
        assert!(rate.cpu_per_1000.is_empty());
    }
}
