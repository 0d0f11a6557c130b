//! The page: one file that needs nothing from anywhere, with the plots drawn by Observable Plot in the reader's browser.
//!
//! Text and tables are there without a script; the figures of the run are in the page as JSON.

mod method;
mod tables;

use std::fmt::{self, Display, Formatter};

use contracts::Timestamp;
use serde_json::json;

use super::{figures::Compared, scenario::Style, words};

const CSS: &str = include_str!("../../assets/compare/page.css");
const SCRIPT: &str = include_str!("../../assets/compare/page.js");
const D3: &str = include_str!("../../assets/d3/d3.min.js");
const PLOT: &str = include_str!("../../assets/plot/plot.umd.min.js");

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
        method = method::method(results),
        footer = method::footer(),
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
    format!(
        r##"<section id="overview">
<h2>All at a glance</h2>
{figure}
{table}
<p class="soft">What the columns mean is said <a href="#method">at the end</a>.</p>
</section>"##,
        table = tables::all(results),
    )
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
        table = tables::of_scenario(result, results),
    )
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
