//! The page: one file that needs nothing from anywhere, with the plots drawn by Observable Plot in the reader's browser.
//!
//! Text and tables are there without a script; the figures of the run are in the page as JSON.

use std::fmt::{self, Display, Formatter};

use contracts::Timestamp;
use serde_json::json;

use super::{
    audit,
    figures::{Compared, Figures},
    scenario::Style,
    system::RETRY_DELAYS,
    table::{baseline, cells, columns},
    words,
};

const CSS: &str = include_str!("../../assets/compare/page.css");
const SCRIPT: &str = include_str!("../../assets/compare/page.js");
const D3: &str = include_str!("../../assets/d3/d3.min.js");
const PLOT: &str = include_str!("../../assets/plot/plot.umd.min.js");
const D3_LICENSE: &str = include_str!("../../assets/d3/LICENSE");
const PLOT_LICENSE: &str = include_str!("../../assets/plot/LICENSE");

/// Nothing is loaded from anywhere, whatever the figures say.
const POLICY: &str =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:";

/// What a run was made with.
#[derive(Debug)]
pub(super) struct Setting {
    /// On what it ran.
    pub(super) setup: String,
    /// When it ended.
    pub(super) at: Timestamp,
    /// How long it took, in seconds.
    pub(super) seconds: f64,
    /// With too few checkouts.
    pub(super) quick: bool,
}

/// Text as it must be written in HTML.
struct Text<'t>(&'t str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}

/// The whole page.
///
/// # Errors
/// When the figures can't be written as JSON.
pub(super) fn page(setting: &Setting, results: &[Compared]) -> serde_json::Result<String> {
    let sections: String = results.iter().map(|result| section(result, results)).collect();
    let data = data(results)?;
    Ok(format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Three ways to make an order, compared</title>
<link rel="icon" href="data:,">
<style>
{CSS}</style>
</head>
<body>
<main>
{head}
{overview}
{sections}
{method}
{footer}
</main>
<script type="application/json" id="data">{data}</script>
<script>
{D3}
</script>
<script>
{PLOT}
</script>
<script>
{SCRIPT}</script>
</body>
</html>
"#,
        head = head(setting, results),
        overview = overview(results),
        method = method(results),
        footer = footer(),
    ))
}

fn head(setting: &Setting, results: &[Compared]) -> String {
    let verdict: String =
        words::verdict(results).iter().map(|line| format!("<li>{}</li>\n", Text(line))).collect();
    let links: String = results
        .iter()
        .map(|result| {
            let (id, name) = (result.scenario.as_str(), result.scenario.short());
            format!("<li><a href=\"#{id}\">{}</a></li>\n", Text(name))
        })
        .collect();
    let build = if cfg!(debug_assertions) {
        "a debug build, several times slower than a release build"
    } else {
        "a release build"
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let quick = if setting.quick {
        " <strong>A quick run: too few checkouts for steady figures.</strong>"
    } else {
        ""
    };
    format!(
        r#"<header>
<h1>Three ways to make an order, compared</h1>
<p>The same checkout, made in three ways: with <strong>choreography</strong> the order is committed, announced as an event, and payment, inventory
and email react by themselves; with <strong>orchestration</strong> the order service commits it and then tells them by commands what to do; and with
<strong>sync</strong> it calls them one after the other while the customer waits. What each costs, and what each does when something breaks, was
measured in one run of <code>shop compare</code>.</p>
<p class="soft">{at}, on {setup}, {build}, {cores} processor cores shared with the customers, in {seconds:.0} s.{quick}</p>
<div class="verdict"><ul>
{verdict}</ul></div>
<nav aria-label="Scenarios"><ul>
{links}</ul></nav>
</header>"#,
        at = Text(&day(setting.at)),
        setup = Text(&setting.setup),
        seconds = setting.seconds,
    )
}

/// A time to the minute.
fn day(at: Timestamp) -> String {
    let text = at.to_string();
    match text.split_once('T') {
        Some((day, time)) => format!("{day} {} UTC", time.get(..5).unwrap_or_default()),
        None => text,
    }
}

fn overview(results: &[Compared]) -> String {
    let title = "How long the answer to a checkout took, by scenario and style, from p50 to p99";
    let figure = figure(
        "overview",
        "",
        title,
        &style_legend(),
        "From the filled circle (p50: half of the accepted checkouts were answered by then) to the hollow one (p99), on a logarithmic scale.",
    );
    let heads: String = columns()
        .map(|(name, what)| {
            format!("<th scope=\"col\" title=\"{}\">{}</th>", Text(what), Text(&name))
        })
        .collect();
    let rows: String = results.iter().map(|result| rows(result, results)).collect();
    format!(
        r##"<section id="overview">
<h2>All at a glance</h2>
{figure}
<div class="scroll" role="region" aria-label="All figures" tabindex="0">
<table class="all">
<thead><tr><th scope="col">scenario</th>{heads}</tr></thead>
<tbody>
{rows}</tbody>
</table>
</div>
<p class="soft">What the columns mean is said <a href="#method">at the end</a>.</p>
</section>"##
    )
}

/// A scenario's rows of the large table.
fn rows(result: &Compared, results: &[Compared]) -> String {
    let (width, name) = (columns().count() + 1, result.scenario.short());
    let mut html = format!(
        "<tr class=\"scenario\"><th scope=\"rowgroup\" colspan=\"{width}\">{}</th></tr>\n",
        Text(name)
    );
    for figures in &result.styles {
        let cells: String = cells(figures, baseline(result, results, figures.style))
            .iter()
            .enumerate()
            .map(|(column, cell)| cell_html(column, cell))
            .collect();
        html += &format!("<tr><th scope=\"row\">{}</th>{cells}</tr>\n", style_name(figures.style));
    }
    html
}

/// The columns from here on should be nought.
const BAD_FROM: usize = 7;

fn cell_html(column: usize, cell: &str) -> String {
    let class = match cell {
        "0" => " class=\"nought\"",
        _ if column >= BAD_FROM => " class=\"bad\"",
        _ => "",
    };
    format!("<td{class}>{}</td>", Text(cell))
}

fn style_name(style: Style) -> String {
    let name = style.as_str();
    format!("<span class=\"name\" style=\"--c: var(--{name})\">{name}</span>")
}

fn section(result: &Compared, results: &[Compared]) -> String {
    let (id, title) = (result.scenario.as_str(), result.scenario.title());
    let seen: String = words::seen(result, results)
        .iter()
        .map(|text| format!("<p>{}</p>\n", Text(text)))
        .collect();
    let latency = figure(
        "latency",
        id,
        &format!("{title}: how long each checkout took, over time, by style"),
        "",
        &latency_caption(result),
    );
    let fates = figure(
        "fates",
        id,
        &format!("{title}: how the checkouts ended, by style"),
        &fates_legend(result),
        "All checkouts of the plot above, each by how it stood in the end.",
    );
    format!(
        r#"<section id="{id}">
<h2>{title}</h2>
<p class="soft">{done}</p>
{seen}
{latency}
{fates}
{table}
</section>
"#,
        title = Text(title),
        done = Text(&words::done(result)),
        table = small_table(result, results),
    )
}

/// The figures of one scenario: a column for each style, so that it fits a small screen.
fn small_table(result: &Compared, results: &[Compared]) -> String {
    let heads: String = result
        .styles
        .iter()
        .map(|figures| format!("<th scope=\"col\">{}</th>", style_name(figures.style)))
        .collect();
    let by_style: Vec<_> = result
        .styles
        .iter()
        .map(|figures| cells(figures, baseline(result, results, figures.style)))
        .collect();
    let mut rows = String::new();
    for (column, (name, what)) in columns().enumerate() {
        let cells: String = by_style
            .iter()
            .filter_map(|cells| cells.get(column))
            .map(|cell| cell_html(column, cell))
            .collect();
        rows += &format!(
            "<tr><th scope=\"row\" title=\"{}\">{}</th>{cells}</tr>\n",
            Text(what),
            Text(&name)
        );
    }
    rows += &reasons(&result.styles);
    format!(
        r#"<div class="scroll" role="region" aria-label="Figures: {}" tabindex="0">
<table class="each">
<thead><tr><th scope="col"></th>{heads}</tr></thead>
<tbody>
{rows}</tbody>
</table>
</div>"#,
        Text(result.scenario.short())
    )
}

/// What the refusals said; nothing when there were none.
fn reasons(styles: &[Figures]) -> String {
    if styles.iter().all(|figures| figures.reasons.is_empty()) {
        return String::new();
    }
    let cells: String = styles
        .iter()
        .map(|figures| {
            let all: Vec<_> =
                figures.reasons.iter().map(|(why, times)| format!("{times} × {why}")).collect();
            let all = if all.is_empty() { "–".to_owned() } else { all.join(", ") };
            format!("<td>{}</td>", Text(&all))
        })
        .collect();
    format!("<tr><th scope=\"row\">the refusals said</th>{cells}</tr>\n")
}

fn figure(plot: &str, scenario: &str, title: &str, legend: &str, caption: &str) -> String {
    format!(
        r#"<figure data-plot="{plot}" data-scenario="{scenario}" data-title="{}">
{legend}
<div class="place"></div>
<figcaption>{}</figcaption>
</figure>"#,
        Text(title),
        Text(caption)
    )
}

/// Only what there is to see.
fn latency_caption(result: &Compared) -> String {
    let mut text = "Each dot is a checkout, placed when it began".to_owned();
    if result.styles.iter().any(|figures| figures.refused > 0) {
        text += ", each × one that was refused";
    }
    text += "; the line is the median of fifteen. ";
    if result.is_broken() {
        text += "Grey: while it was broken. ";
    }
    text + "The scale is logarithmic."
}

fn style_legend() -> String {
    let items: String = Style::ALL
        .iter()
        .map(|style| {
            let name = style.as_str();
            format!("<li><i style=\"background: var(--{name})\"></i>{name}</li>")
        })
        .collect();
    format!("<ul class=\"legend\">{items}</ul>")
}

/// Only what there is.
fn fates_legend(result: &Compared) -> String {
    let names = [
        ("confirmed", "confirmed"),
        ("cancelled", "accepted, cancelled later"),
        ("refused", "refused"),
        ("stuck", "not settled"),
        ("lost", "lost"),
    ];
    let items: String = names
        .iter()
        .zip(result.ends())
        .filter(|(_, count)| *count > 0)
        .map(|((name, text), _)| {
            format!("<li><i style=\"background: var(--{name})\"></i>{text}</li>")
        })
        .collect();
    format!("<ul class=\"legend\">{items}</ul>")
}

fn method(results: &[Compared]) -> String {
    let meanings: String = columns()
        .map(|(name, what)| format!("<dt>{}</dt><dd>{}.</dd>\n", Text(&name), Text(what)))
        .collect();
    let rates: Vec<_> = results
        .iter()
        .map(|result| format!("{} {}", result.scenario.short(), result.rate))
        .collect();
    format!(
        r#"<section id="method">
<h2>How it was measured</h2>
<ul>
<li>One shop, started for this; every service is a process of its own. The three styles take turns in each scenario, with the same number of checkouts a
second for the same time. At the same time they would be in each other's way at the services that they share, and nobody could say whose fault a
figure is.</li>
<li>Customers don't wait for each other: a checkout starts on time, whether those before it were answered or not, and its time counts from when it was meant
to start. Checkouts a second: {rates}.</li>
<li>The healthy shop and the one with the slow mail server are compared by their p99, so they alternate in short turns, and each one's p99 is the median of
its turns' p99: whatever else the machine does meets both, and a bad moment doesn't decide. In the other scenarios a p99 is that of one or two checkouts, and says little on a machine that does something else too.</li>
<li>Counted are the checkouts that began while it was broken, but not those of the last second or two, which could meet the mended shop: it stays
broken until all that count are answered. The plots show all of them.</li>
<li>A refusal is not repeated; a checkout whose answer never came is, with the same <code>Idempotency-Key</code>.</li>
<li>Afterwards all is mended, and orders have {limit} s to settle; those made by calls {calls_limit} s, since nobody goes on
with them but payment, which gives money back. Then the order service is asked for every order, the card processor for every charge, the mail
server for every mail, and the broker for dead letters.</li>
<li>Failed messages are tried again after {delays}, and email may send 256 mails at a time, so that a run doesn't take an afternoon. A call may
take 5 s.</li>
<li>A checkout by calls sends one mail, the receipt. The other styles send two: who answers before all is done says so first.</li>
</ul>
<h3>The columns</h3>
<dl>
{meanings}</dl>
</section>"#,
        rates = Text(&rates.join(", ")),
        limit = audit::LIMIT.as_secs(),
        calls_limit = audit::CALLS_LIMIT.as_secs(),
        delays = Text(&RETRY_DELAYS.replace(',', ", ")),
    )
}

fn footer() -> String {
    format!(
        r#"<footer>
<p>Drawn with Observable Plot and D3, which are in this file: nothing is loaded from anywhere.</p>
<details><summary>Their licences</summary>
<pre>Observable Plot
{}</pre>
<pre>D3
{}</pre>
</details>
</footer>"#,
        Text(PLOT_LICENSE),
        Text(D3_LICENSE)
    )
}

/// What the plots are drawn from. No text in it can end the script.
fn data(results: &[Compared]) -> serde_json::Result<String> {
    let scenarios: Vec<_> = results
        .iter()
        .map(|result| {
            json!({
                "scenario": result.scenario.as_str(),
                "short": result.scenario.short(),
                "broken": result.is_broken(),
                "styles": result.styles,
                "traces": result.traces,
            })
        })
        .collect();
    let text = serde_json::to_string(&json!({ "scenarios": scenarios }))?;
    Ok(text.replace('<', "\\u003c"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_can_not_become_markup() {
        assert_eq!(
            Text("<a href='x'>\"&\"").to_string(),
            "&lt;a href=&#39;x&#39;&gt;&quot;&amp;&quot;"
        );
    }

    #[test]
    fn the_libraries_can_not_end_their_script() {
        for script in [D3, PLOT, SCRIPT] {
            assert!(!script.to_lowercase().contains("</script"));
            assert!(!script.contains("<!--"));
        }
    }
}
