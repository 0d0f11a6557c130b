//! What the measuring is done on.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Context as _;
use contracts::Timestamp;

use crate::measured::{Machine, Measured, median};

/// How often the disk is asked.
const SYNCS: usize = 200;
/// What is written each time: a page of PostgreSQL's log.
const PAGE: [u8; 8_192] = [7; 8_192];

/// `bench machine`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the data will be: how long writing to that disk takes is measured
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,

    /// More that is worth knowing, `name=value`; repeat it
    #[arg(long = "fact", value_name = "FACT", value_parser = fact)]
    facts: Vec<(String, String)>,
}

fn fact(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("write it as name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Prints what is known of the machine.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let read = |path: &str| std::fs::read_to_string(path).with_context(|| path.to_owned());
    let cpu = read("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let memory = read("/proc/meminfo")?;
    let kib = memory.lines().next().and_then(|line| line.split_whitespace().nth(1));
    let gb = kib.and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() * 1_024.0 / 1e9;
    let load = read("/proc/loadavg")?;
    let load = load.split_whitespace().next().unwrap_or_default().to_owned();
    let sync = sync(&args.data).context("writing to the data's disk")?;
    let mut facts = vec![
        ("date", Timestamp::now().to_string()),
        (
            "cores",
            format!(
                "{} × {}",
                std::thread::available_parallelism()?,
                model.trim_matches([' ', '\t', ':'])
            ),
        ),
        ("memory", format!("{gb:.1} GB")),
        ("kernel", read("/proc/sys/kernel/osrelease")?.trim().to_owned()),
        ("disk", format!("fdatasync after 8 KiB: {:.0} µs (median of {SYNCS})", sync * 1e6)),
        ("load before", format!("{load} (1 minute's average of processes that want to run)")),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect::<Vec<_>>();
    facts.extend(args.facts);
    Ok(Measured::Machine(Machine { facts }).print()?)
}

/// How many seconds it takes until the disk has what was written.
fn sync(folder: &Path) -> std::io::Result<f64> {
    let path = folder.join("sync");
    let mut file = File::create(&path)?;
    let mut seconds = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let began = Instant::now();
        file.write_all(&PAGE)?;
        file.sync_data()?;
        seconds.push(began.elapsed().as_secs_f64());
    }
    std::fs::remove_file(path)?;
    Ok(median(&seconds))
}
