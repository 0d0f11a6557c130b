//! The whole system, from outside: as whoever types `shop up` and then orders gets it.

mod load;
mod running;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::Context as _;
use tokio::time::{Instant, sleep};

use crate::{
    measured::{Idle, Measured, Memory, Start},
    process::used,
};
use running::Running;

/// How long the system is left alone before its idling is measured: threads end, files are tidied up.
const REST: Duration = Duration::from_secs(3);

/// `bench system`. Without a database and a broker it measures the embedded set-up.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The `shop` program
    #[arg(long, value_name = "FILE")]
    shop: PathBuf,

    /// A folder for the data; what is in it is not touched
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,

    /// A PostgreSQL server
    #[arg(
        long,
        env = "BENCH_DATABASE_URL",
        value_name = "URL",
        hide_env_values = true,
        requires = "broker"
    )]
    database: Option<String>,

    /// A RabbitMQ without any of the shop's queues
    #[arg(
        long,
        env = "BENCH_BROKER_URL",
        value_name = "URL",
        hide_env_values = true,
        requires = "database"
    )]
    broker: Option<String>,

    /// PostgreSQL's first process, for the CPU time of it and its children
    #[arg(long, value_name = "PID")]
    postgres: Option<u32>,

    /// RabbitMQ's
    #[arg(long, value_name = "PID")]
    rabbitmq: Option<u32>,

    /// How many clients order at a time, for each measurement
    #[arg(long, value_delimiter = ',', default_value = "1,8,64", value_name = "N")]
    clients: Vec<usize>,

    /// About how long each measurement is to take
    #[arg(long, default_value_t = 12.0, value_name = "SECONDS")]
    seconds: f64,

    /// How long the idle system is watched
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    idle: f64,

    /// How often starting is measured
    #[arg(long, default_value_t = 3, value_name = "N")]
    starts: usize,
}

impl Args {
    fn setup(&self) -> String {
        if self.database.is_some() { "PostgreSQL + RabbitMQ" } else { "embedded" }.to_owned()
    }
}

/// Measures everything.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let system = start(&args).await?;
    sleep(REST).await;
    let before = system.processes()?.memory(&BTreeMap::new())?;
    idle(&args, &system).await?;
    system.restock().await?;
    for clients in &args.clients {
        load::measure(&args, &system, *clients).await?;
    }
    let processes = system.processes()?.memory(&before)?;
    Measured::Memory(Memory { setup: args.setup(), processes }).print()?;
    system.stop().await
}

/// Starts it several times, and leaves it running.
async fn start(args: &Args) -> anyhow::Result<Running> {
    let mut start = Start { setup: args.setup(), empty: Vec::new(), again: Vec::new() };
    let mut running = None;
    for n in 0..args.starts.max(1) {
        // The servers stay, so only the first start on them finds nothing.
        let (again, folder) = if args.database.is_some() { (n > 0, 0) } else { (false, n) };
        let folder = args.data.join(format!("shop-{folder}"));
        if let Some(running) = running.take() {
            Running::stop(running).await?;
        }
        let (system, took) = Running::start(args, folder).await.context("starting the system")?;
        eprintln!("{}: first order confirmed after {took:.2?}", start.setup);
        if again { &mut start.again } else { &mut start.empty }.push(took.as_secs_f64());
        running = Some(system);
    }
    Measured::Start(start).print()?;
    running.context("nothing was started")
}

async fn idle(args: &Args, system: &Running) -> anyhow::Result<()> {
    let processes = system.processes()?;
    let (began, before) = (Instant::now(), processes.cpu()?);
    sleep(Duration::from_secs_f64(args.idle)).await;
    let (seconds, after) = (began.elapsed().as_secs_f64(), processes.cpu()?);
    let cpu = used(&before, &after);
    eprintln!("{}: idle for {seconds:.0} s: {cpu:.2?}", args.setup());
    Ok(Measured::Idle(Idle { setup: args.setup(), seconds, cpu }).print()?)
}
