//! The table, as it is printed.

use comfy_table::{CellAlignment, Table, presets::NOTHING};

use super::{
    figures::{Compared, Figures},
    scenario::{Scenario, Style},
};

/// The columns: their headings in the terminal (in two lines), and what they say.
const COLUMNS: [(&str, &str); 13] = [
    ("check-\nouts", "Checkouts while it was broken"),
    ("re-\nfused", "Of these, those that were answered with a refusal"),
    ("p50\nms", "Half of the accepted ones were answered within this time, in milliseconds"),
    ("p99\nms", "99 of 100 were; where scenarios take turns, the median of the turns' p99"),
    (
        "p99 by\nhealthy",
        "This p99, divided by that of the healthy shop, where they were measured in turns",
    ),
    ("settled\np50 s", "From placing to settling, in seconds: half of the orders"),
    ("settled\nmax s", "The last one"),
    ("lost", "Orders that were accepted or charged, and that nobody knows"),
    ("stuck", "Orders that were neither confirmed nor cancelled for good in the time"),
    ("charged\ntwice", "Orders with two charges"),
    ("money\nkept", "Orders that are not confirmed, and whose money was not given back"),
    ("mailed\ntwice", "Orders with a mail that came twice"),
    ("needs a\nperson", "Orders and messages that wait for somebody"),
];

/// The columns' headings, in one line, and what they mean.
pub(super) fn columns() -> impl Iterator<Item = (String, &'static str)> {
    COLUMNS
        .iter()
        .map(|(heading, meaning)| (heading.replace("-\n", "").replace('\n', " "), *meaning))
}

/// The cells of one style in one scenario.
pub(super) fn cells(figures: &Figures, healthy: Option<&Figures>) -> Vec<String> {
    let dash = || "–".to_owned();
    let ms = |time: Option<f64>| time.map_or_else(dash, millis);
    let seconds = |time: Option<f64>| time.map_or_else(dash, |ms| format!("{:.2}", ms / 1_000.0));
    let latency = figures.latency;
    vec![
        figures.checkouts.to_string(),
        figures.refused.to_string(),
        ms(latency.map(|took| took.p50)),
        ms(latency.map(|took| took.p99)),
        factor(figures, healthy).map_or_else(dash, |factor| format!("{factor:.2}")),
        seconds(figures.settled.map(|took| took.p50)),
        seconds(figures.settled.map(|took| took.max)),
        figures.lost.to_string(),
        figures.stuck.to_string(),
        figures.charged_twice.to_string(),
        figures.money_kept.to_string(),
        figures.mails_twice.to_string(),
        figures.needs_person.to_string(),
    ]
}

/// A p99, divided by the healthy shop's.
pub(super) fn factor(figures: &Figures, healthy: Option<&Figures>) -> Option<f64> {
    let healthy = healthy?.latency?.p99;
    (healthy > 0.0).then_some(figures.latency?.p99 / healthy)
}

/// Milliseconds, with a decimal where that says something.
pub(super) fn millis(ms: f64) -> String {
    if ms < 10.0 { format!("{ms:.1}") } else { format!("{ms:.0}") }
}

/// The healthy shop's figures, for comparison.
pub(super) fn healthy(results: &[Compared], style: Style) -> Option<&Figures> {
    results.iter().find(|result| result.scenario == Scenario::Healthy)?.of(style)
}

/// The healthy shop's figures where a p99 may be compared with theirs.
pub(super) fn baseline<'r>(
    result: &Compared,
    results: &'r [Compared],
    style: Style,
) -> Option<&'r Figures> {
    result.scenario.is_compared().then(|| healthy(results, style))?
}

/// Everything, a block for each scenario.
pub(super) fn print(results: &[Compared]) -> String {
    let mut table = Table::new();
    let headings = COLUMNS.iter().map(|(heading, _)| (*heading).to_owned());
    table.load_style(NOTHING).set_header([String::new()].into_iter().chain(headings));
    for result in results {
        table.add_row([result.scenario.short()]);
        for figures in &result.styles {
            let name = format!("  {}", figures.style.as_str());
            let cells = cells(figures, baseline(result, results, figures.style));
            table.add_row([name].into_iter().chain(cells));
        }
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}
