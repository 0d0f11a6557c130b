//! Tables of what was measured, and which aims were reached.

mod aims;
mod tables;

use std::path::PathBuf;

use anyhow::Context as _;
use comfy_table::{CellAlignment, Table, presets::NOTHING};

use crate::measured::Measured;

/// `bench report`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What the other commands have printed
    #[arg(value_name = "FILE")]
    results: PathBuf,
}

/// Prints the tables.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&args.results)
        .with_context(|| format!("{}", args.results.display()))?;
    let results =
        text.lines().map(serde_json::from_str).collect::<Result<Vec<Measured>, _>>().with_context(
            || format!("{} holds something else than results", args.results.display()),
        )?;
    for (title, table) in tables::all(&results) {
        println!("\n{title}\n{table}");
    }
    println!("\nAims and ratios\n{}", aims::table(&results));
    Ok(())
}

/// A table with numbers in all columns but the first.
fn table(header: impl IntoIterator<Item = String>, rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header.into_iter().collect::<Vec<_>>()).add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}
