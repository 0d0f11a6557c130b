//! `shop compare`: makes orders in three ways, side by side, breaks things, and measures.
//!
//! It runs a shop of its own, with data of its own, and never touches another. In each scenario the three styles take
//! turns: at the same time they would be in each other's way at the services that they share, and nobody could say whose
//! fault a figure is.

mod audit;
mod customer;
mod figures;
mod load;
mod page;
mod scenario;
mod stage;
mod system;
mod table;
mod words;
mod world;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::Context as _;
use broker::{Broker, Topology};
use contracts::Timestamp;
use uuid::Uuid;

use crate::{
    place::Place,
    terminal::say,
    up::{self, Signals},
};
use audit::Before;
use figures::Compared;
use page::Setting;
use scenario::{Group, Scenario};
use stage::Stage;
use system::System;

/// What the names of its databases begin with, and its queues': no shop's.
const PREFIX: &str = "compare_";
const NAMESPACE: &str = "compare";

/// `shop compare`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this scenario; repeat it for several
    #[arg(long, value_enum, value_name = "NAME")]
    scenario: Vec<Scenario>,

    /// Where the page is written
    #[arg(long, default_value = "compare.html", value_name = "FILE")]
    out: PathBuf,

    /// Print the figures as JSON instead of a table
    #[arg(long)]
    json: bool,

    /// Shorter, with too few checkouts for steady figures: to see that it works
    #[arg(long)]
    quick: bool,

    /// A PostgreSQL server instead of SQLite files. Only databases whose names begin with compare_ are used there; they are
    /// made anew, and removed at the end
    #[arg(long, env = "SHOP_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database: Option<String>,

    /// The broker: amqp://… for RabbitMQ. Only queues whose names begin with compare. are used there; they stay, empty
    #[arg(long, env = "SHOP_BROKER_URL", value_name = "URL", hide_env_values = true)]
    broker: Option<String>,

    /// Where the data are kept meanwhile, in a folder of their own, removed at the end [default: beside the page, since in a
    /// folder in memory a commit costs nothing]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
}

/// Runs the comparison, prints the table and writes the page.
///
/// # Errors
/// When the system can't be started, or fails in a way that nobody ordered.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let began = Instant::now();
    let folder = Temporary::new(&args)?;
    let place = args.place(&folder);
    let (broker, server) = (place.broker()?, place.server()?);
    let system = tokio::select! {
        system = System::start(place) => system?,
        () = signals.next() => return Ok(ExitCode::FAILURE),
    };
    let mut stage = Stage::new(system, args.quick)?;
    let results = tokio::select! {
        results = play(&mut stage, &broker, &args) => Some(results),
        () = signals.next() => None,
    };
    stop(&mut stage.system, &mut signals).await;
    if let Some(server) = server {
        server.remove(up::names(args.broker.is_none())).await?;
    }
    let Some(results) = results else { return Ok(ExitCode::FAILURE) };
    let setting = Setting {
        setup: args.setup(),
        at: Timestamp::now(),
        seconds: began.elapsed().as_secs_f64(),
        quick: args.quick,
    };
    report(&args, &setting, &results?)?;
    Ok(ExitCode::SUCCESS)
}

/// Stops everything; a signal meanwhile stops it by force.
async fn stop(system: &mut System, signals: &mut Signals) {
    eprintln!("stopping");
    let hurry = system.hurry();
    let stopped = system.stop();
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            () = &mut stopped => return,
            () = signals.next() => hurry.cancel(),
        }
    }
}

fn report(args: &Args, setting: &Setting, results: &[Compared]) -> anyhow::Result<()> {
    std::fs::write(&args.out, page::page(setting, results)?)
        .with_context(|| format!("can't write {}", args.out.display()))?;
    if args.json {
        say(serde_json::to_string_pretty(results)?);
    } else {
        say(format_args!("{}\n", table::print(results)));
        words::verdict(results).iter().for_each(say);
    }
    eprintln!("{:.0} s; the page is {}", setting.seconds, args.out.display());
    Ok(())
}

/// Plays every scenario, and looks at the books after each.
async fn play(stage: &mut Stage, broker: &str, args: &Args) -> anyhow::Result<Vec<Compared>> {
    stage.system.all_ready().await?;
    eprintln!("warming up");
    stage.warm_up().await?;
    let broker = Broker::open(broker, Topology::default()).await?;
    let mut results = Vec::new();
    for group in Scenario::groups(&args.wanted(), args.quick) {
        results.extend(play_group(stage, &broker, &group).await?);
    }
    broker.close().await;
    Ok(results)
}

async fn play_group(
    stage: &mut Stage,
    broker: &Broker,
    group: &Group,
) -> anyhow::Result<Vec<Compared>> {
    let before = Before::now(stage, broker).await?;
    let runs = stage.play(group).await?;
    let books = audit::audit(stage, broker, &before, &runs).await?;
    let both: Vec<_> = runs.iter().zip(&books).collect();
    let of = |scenario: &Scenario| {
        let mut of: Vec<_> =
            both.iter().filter(|(run, _)| run.scenario == *scenario).copied().collect();
        of.sort_by_key(|(run, _)| run.style);
        Compared::new(*scenario, &of)
    };
    Ok(group.scenarios.iter().map(of).collect())
}

impl Args {
    /// Which scenarios, each once, in their order.
    fn wanted(&self) -> Vec<Scenario> {
        let all = self.scenario.is_empty();
        Scenario::ALL.into_iter().filter(|one| all || self.scenario.contains(one)).collect()
    }

    /// On what it runs, in words.
    fn setup(&self) -> String {
        let databases = if self.database.is_some() { "PostgreSQL" } else { "SQLite" };
        let broker = if self.broker.is_some() { "RabbitMQ" } else { "a jobs table as the broker" };
        format!("{databases} and {broker}")
    }

    /// Where the data are, apart from any shop's.
    fn place(&self, folder: &Temporary) -> Place {
        let namespaced = |url: &String| {
            let separator = if url.contains('?') { '&' } else { '?' };
            format!("{url}{separator}namespace={NAMESPACE}")
        };
        Place {
            data: folder.0.clone(),
            database: self.database.clone(),
            database_prefix: PREFIX.to_owned(),
            broker: self.broker.as_ref().map(namespaced),
        }
    }
}

/// A folder that is removed when this is dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn new(args: &Args) -> anyhow::Result<Self> {
        let beside = args.out.parent().filter(|path| !path.as_os_str().is_empty());
        let parent = args.data.as_deref().or(beside).unwrap_or(Path::new("."));
        let path = parent.join(format!(".shop-compare-{}", Uuid::now_v7().simple()));
        std::fs::create_dir_all(&path)
            .with_context(|| format!("can't make the folder {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} could not be removed: {error}", self.0.display());
        }
    }
}
