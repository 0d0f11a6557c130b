//! The page's tables: one of all scenarios, and one for each.

use super::{
    super::{
        figures::{Compared, Figures},
        scenario::Style,
        table::{baseline, cells, columns},
    },
    Text,
};

/// The table of all scenarios.
pub(super) fn all(results: &[Compared]) -> String {
    let heads: String = columns()
        .map(|(name, what)| {
            format!("<th scope=\"col\" title=\"{}\">{}</th>", Text(what), Text(&name))
        })
        .collect();
    let rows: String = results.iter().map(|result| rows(result, results)).collect();
    format!(
        r#"<div class="scroll" role="region" aria-label="All figures" tabindex="0">
<table class="all">
<thead><tr><th scope="col">scenario</th>{heads}</tr></thead>
<tbody>
{rows}</tbody>
</table>
</div>"#
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

/// The figures of one scenario: a column for each style, so that it fits a small screen.
pub(super) fn of_scenario(result: &Compared, results: &[Compared]) -> String {
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
