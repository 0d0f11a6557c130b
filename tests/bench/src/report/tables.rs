//! One table for each kind of result.

use std::collections::BTreeSet;

use super::table;
use crate::measured::{Idle, Load, Machine, Measured, Memory, Rate, Start, median};

/// All tables that there are results for, with their titles.
pub(super) fn all(results: &[Measured]) -> Vec<(String, String)> {
    let mut tables = Vec::new();
    for result in results {
        match result {
            Measured::Machine(machine) => tables.push(of_machine(machine)),
            Measured::Start(start) => {
                tables.push(of_start(start));
            }
            Measured::Idle(idle) => tables.push(of_idle(idle)),
            Measured::Memory(memory) => {
                let loads = results.iter().filter_map(|result| match result {
                    Measured::Load(load) if load.setup == memory.setup => Some(load),
                    _ => None,
                });
                let loads: Vec<&Load> = loads.collect();
                tables.extend([of_loads(&loads), of_cpu(&loads), of_memory(memory)]);
            }
            Measured::Load(_) | Measured::Rate(_) => {}
        }
    }
    let rates: Vec<&Rate> = results.iter().filter_map(rate).collect();
    if !rates.is_empty() {
        tables.push(of_rates(&rates));
    }
    tables
}

fn rate(result: &Measured) -> Option<&Rate> {
    if let Measured::Rate(rate) = result { Some(rate) } else { None }
}

fn words<const N: usize>(words: [&str; N]) -> [String; N] {
    words.map(str::to_owned)
}

fn of_machine(machine: &Machine) -> (String, String) {
    let lines = machine.facts.iter().map(|(name, value)| format!(" {name:<12} {value}"));
    ("Machine".to_owned(), lines.collect::<Vec<_>>().join("\n"))
}

fn of_start(start: &Start) -> (String, String) {
    let row = |name: &str, seconds: &[f64]| {
        let each: Vec<String> = seconds.iter().map(|s| format!("{s:.2}")).collect();
        vec![name.to_owned(), format!("{:.2}", median(seconds)), each.join(" ")]
    };
    let kinds = [("nothing there yet", &start.empty), ("started again", &start.again)];
    let rows = kinds.iter().filter(|(_, s)| !s.is_empty()).map(|(name, s)| row(name, s)).collect();
    let title = format!("{}: from `shop up` to the first confirmed order, seconds", start.setup);
    (title, table(words(["", "median", "each"]), rows))
}

fn of_idle(idle: &Idle) -> (String, String) {
    let percent = |seconds: f64| format!("{:.2} %", seconds / idle.seconds * 100.0);
    let idlers = idle.cpu.iter().filter(|(name, _)| *name != "load");
    let rows = idlers.map(|(name, seconds)| vec![name.clone(), percent(*seconds)]).collect();
    let title = format!("{}: CPU of the idle system over {:.0} s", idle.setup, idle.seconds);
    (title, table(words(["", "of a core"]), rows))
}

fn of_loads(loads: &[&Load]) -> (String, String) {
    let rows = loads.iter().map(|load| {
        let rate = |seconds: f64| format!("{:.0}", load.orders as f64 / seconds);
        let ms = |ms: f64| format!("{ms:.1}");
        vec![
            load.clients.to_string(),
            load.orders.to_string(),
            ms(load.checkout_ms.p50),
            ms(load.checkout_ms.p99),
            ms(load.checkout_ms.max),
            rate(load.placed),
            rate(load.settled),
            rate(load.done),
            format!("{:.1}", load.settled),
        ]
    });
    let header = [
        "clients",
        "orders",
        "p50 ms",
        "p99 ms",
        "max ms",
        "placed/s",
        "settled/s",
        "all done/s",
        "settled in s",
    ];
    let setup = loads.first().map_or("", |load| &load.setup);
    let title = format!(
        "{setup}: checkouts (settled: from the first POST to the last settlement; all done: mails sent and goods gone too)"
    );
    (title, table(words(header), rows.collect()))
}

fn of_cpu(loads: &[&Load]) -> (String, String) {
    let names: BTreeSet<&String> = loads.iter().flat_map(|load| load.cpu.keys()).collect();
    let row = |name: &str, seconds: &dyn Fn(&Load) -> f64| {
        let mut row = vec![name.to_owned()];
        row.extend(
            loads.iter().map(|load| format!("{:.3}", seconds(load) / load.orders as f64 * 1_000.0)),
        );
        row
    };
    let ours = |load: &Load| load.cpu.values().sum::<f64>();
    let mut rows: Vec<Vec<String>> = names
        .into_iter()
        .map(|name| row(name, &|load| load.cpu.get(name).copied().unwrap_or_default()))
        .collect();
    rows.push(row("all of these", &ours));
    rows.push(row("others and the kernel", &|load| (load.machine.busy - ours(load)).max(0.0)));
    rows.push(row("taken by the host", &|load| load.machine.stolen));
    let busy = |load: &&Load| format!("{:.2}", load.machine.busy / load.done);
    rows.push(std::iter::once("busy cores".to_owned()).chain(loads.iter().map(busy)).collect());
    let clients = loads.iter().map(|load| match load.clients {
        1 => "1 client".to_owned(),
        clients => format!("{clients} clients"),
    });
    let setup = loads.first().map_or("", |load| &load.setup);
    let header = std::iter::once(String::new()).chain(clients);
    (format!("{setup}: CPU seconds per 1,000 orders"), table(header, rows))
}

fn of_memory(memory: &Memory) -> (String, String) {
    let mb = |size: f64| if size > 0.0 { format!("{size:.1}") } else { "-".to_owned() };
    let rows = memory.processes.iter().filter(|(name, _)| *name != "load").map(|(name, of)| {
        vec![name.clone(), mb(of.idle), mb(of.after), mb(of.anonymous), mb(of.peak)]
    });
    let header = ["", "before the load", "after it", "of that, no file's", "most ever"];
    let title = format!(
        "{}: resident memory, MB (of PostgreSQL and RabbitMQ: of all their processes, what they share counted once)",
        memory.setup
    );
    (title, table(words(header), rows.collect()))
}

fn of_rates(rates: &[&Rate]) -> (String, String) {
    let rows = rates.iter().map(|rate| {
        let cpu = |name: &str| {
            rate.cpu_per_1000.get(name).map_or("-".to_owned(), |seconds| format!("{seconds:.3}"))
        };
        let least = rate.per_second.iter().copied().fold(f64::INFINITY, f64::min);
        let most = rate.per_second.iter().copied().fold(0.0, f64::max);
        vec![
            explained(&rate.name),
            format!("{} {}/s", number(median(&rate.per_second)), rate.unit),
            format!("{} to {}", number(least), number(most)),
            cpu("this"),
            cpu("postgres"),
            cpu("rabbitmq"),
        ]
    });
    let header = ["", "median", "rounds", "CPU s per 1,000: program", "PostgreSQL", "RabbitMQ"];
    ("Parts alone, and the limits to compare with".to_owned(), table(words(header), rows.collect()))
}

/// What a measurement's name stands for.
fn explained(name: &str) -> String {
    match name.split_once(' ') {
        None if name == "relay" => "relay: full outbox to a quorum queue".to_owned(),
        None if name == "subscriber" => "subscriber: full queue to a row each".to_owned(),
        Some(("raw", n)) => format!("lapin alone, {n} in flight"),
        Some(("pgbench", "1")) => "pgbench, an order's writes, one by one".to_owned(),
        Some(("pgbench", n)) => format!("pgbench, {n} orders per transaction"),
        _ => name.to_owned(),
    }
}

/// A whole number with its thousands set apart.
pub(super) fn number(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        for (n, text) in
            [(0.0, "0"), (999.4, "999"), (1_000.0, "1,000"), (1_234_567.0, "1,234,567")]
        {
            assert_eq!(number(n), text);
        }
    }
}
