//! The aims, and whether they were reached; and how the system compares with its limits, which is no aim.

use super::tables::number;
use crate::measured::{Load, Measured, median};

/// What takes orders and needs little: the services, without what stands for the outside world.
const SERVICES: [&str; 4] = ["order", "payment", "inventory", "email"];
const EMBEDDED: &str = "embedded";

/// An aim that there is a result for.
#[derive(Debug, PartialEq)]
struct Verdict {
    aim: String,
    measured: String,
    /// None for what is only worth knowing.
    reached: Option<bool>,
}

/// All aims that there are results for.
pub(super) fn table(results: &[Measured]) -> String {
    let mut verdicts: Vec<Verdict> = results.iter().filter_map(single).flatten().collect();
    verdicts.extend(settled(results));
    verdicts.extend(ratios(results));
    let row = |verdict: Verdict| {
        let reached = verdict.reached.map_or("", |reached| if reached { "yes" } else { "NO" });
        vec![verdict.aim, verdict.measured, reached.to_owned()]
    };
    let header = ["", "measured", "reached"].map(str::to_owned);
    super::table(header, verdicts.into_iter().map(row).collect())
}

/// The aims that one result decides.
fn single(result: &Measured) -> Option<Vec<Verdict>> {
    match result {
        Measured::Start(start) => {
            let kinds = [("nothing there yet", &start.empty), ("started again", &start.again)];
            let verdict = |(kind, seconds): (&str, &Vec<f64>)| Verdict {
                aim: format!("first order confirmed within 1 s, {}, {kind}", start.setup),
                measured: format!("{:.2} s", median(seconds)),
                reached: Some(median(seconds) <= 1.0),
            };
            Some(kinds.into_iter().filter(|(_, s)| !s.is_empty()).map(verdict).collect())
        }
        Measured::Idle(idle) if idle.setup == EMBEDDED => {
            let cpu = idle.cpu.iter().filter(|(name, _)| *name != "load").map(|(_, s)| s);
            let percent = cpu.sum::<f64>() / idle.seconds * 100.0;
            Some(vec![Verdict {
                aim: "idle: at most 2 % of a core, embedded, all processes".to_owned(),
                measured: format!("{percent:.1} %"),
                reached: Some(percent <= 2.0),
            }])
        }
        Measured::Memory(memory) => {
            let services =
                memory.processes.iter().filter(|(name, _)| SERVICES.contains(&name.as_str()));
            let (name, most) = services.max_by(|a, b| a.1.after.total_cmp(&b.1.after))?;
            Some(vec![Verdict {
                aim: format!("each service at most 30 MB, {}", memory.setup),
                measured: format!("{:.1} MB at most ({name})", most.after),
                reached: Some(most.after <= 30.0),
            }])
        }
        _ => None,
    }
}

/// The measurement of a set-up that settled the most orders per second, and how many.
fn best(results: &[Measured], embedded: bool) -> Option<(f64, &Load)> {
    let loads = results.iter().filter_map(|result| match result {
        Measured::Load(load) if (load.setup == EMBEDDED) == embedded => Some(load),
        _ => None,
    });
    let rates = loads.map(|load| (load.orders as f64 / load.settled, load));
    rates.max_by(|a, b| a.0.total_cmp(&b.0))
}

/// Orders per second: the best of each set-up.
fn settled(results: &[Measured]) -> Vec<Verdict> {
    let verdict = |(embedded, least): (bool, f64)| {
        let (rate, load) = best(results, embedded)?;
        Some(Verdict {
            aim: format!("settles {} orders/s, {}", number(least), load.setup),
            measured: format!("{} with {} clients", number(rate), load.clients),
            reached: Some(rate >= least),
        })
    };
    [(false, 1_000.0), (true, 400.0)].into_iter().filter_map(verdict).collect()
}

/// What is compared with something else that was measured.
fn ratios(results: &[Measured]) -> Vec<Verdict> {
    let rate = |name: &str| {
        results.iter().find_map(|result| match result {
            Measured::Rate(rate) if rate.name == name => Some(median(&rate.per_second)),
            _ => None,
        })
    };
    let raw = [rate("raw 100"), rate("raw 500")].into_iter().flatten().max_by(f64::total_cmp);
    let relay = rate("relay").zip(raw).map(|(relay, raw)| Verdict {
        aim: "relay at least 60 % of lapin alone (the faster of its two)".to_owned(),
        measured: format!("{:.0} %", relay / raw * 100.0),
        reached: Some(relay >= 0.6 * raw),
    });
    let servers = best(results, false).map(|(settled, _)| settled);
    let limit = |(name, what): (&str, &str)| {
        let (settled, limit) = servers.zip(rate(name))?;
        Some(Verdict {
            aim: format!("settled orders, PostgreSQL + RabbitMQ, to {what}"),
            measured: format!("{:.2} × {}", settled / limit, number(limit)),
            reached: None,
        })
    };
    let limits = [
        ("pgbench 1", "pgbench with a transaction per step and order"),
        ("pgbench 50", "pgbench with 50 orders per transaction"),
    ];
    relay.into_iter().chain(limits.into_iter().filter_map(limit)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::measured::Rate;

    fn rate(name: &str, per_second: f64) -> Measured {
        Measured::Rate(Rate {
            name: name.to_owned(),
            unit: "messages".to_owned(),
            per_second: vec![per_second],
            cpu_per_1000: BTreeMap::new(),
        })
    }

    #[test]
    fn the_relay_is_compared_with_the_faster_one() {
        let verdict =
            |relay| ratios(&[rate("raw 100", 50.0), rate("raw 500", 100.0), rate("relay", relay)]);
        assert_eq!(verdict(60.0)[0].measured, "60 %");
        assert_eq!((verdict(60.0)[0].reached, verdict(59.0)[0].reached), (Some(true), Some(false)));
        assert_eq!(ratios(&[rate("relay", 60.0)]), []);
    }
}
