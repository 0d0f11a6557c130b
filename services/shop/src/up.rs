//! `shop up`: starts every service as a process of its own, and keeps them running until Ctrl-C.

pub(crate) mod child;
mod databases;
pub(crate) mod folder;
pub(crate) mod plan;
mod ports;
mod report;
mod supervisor;

use std::{net::IpAddr, process::ExitCode, time::Instant};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::place::Place;
use folder::Folder;
use plan::Launch;
use report::Report;
use supervisor::Supervisor;

pub(crate) use databases::{Server, names, prefix};
pub(crate) use ports::Ports;
pub(crate) use report::last_words;

/// `shop up`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) place: Place,

    /// Start empty: without the orders, stock, mails and logs of before
    #[arg(long)]
    pub(crate) fresh: bool,

    /// Where the services listen
    #[arg(long, env = "SHOP_HOST", default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub(crate) host: IpAddr,

    #[command(flatten)]
    pub(crate) ports: Ports,

    /// How long a failed message waits before each further attempt [default: 1s,5s,30s,2m,10m]
    #[arg(long, value_name = "TIMES", value_parser = times)]
    pub(crate) retry_delays: Option<String>,

    /// When an order that isn't settled is cancelled [default: as `shop run order --help` says]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) deadline: Option<String>,
}

/// Checks what is only handed on: a time like `200ms`.
fn time(text: &str) -> Result<String, humantime::DurationError> {
    humantime::parse_duration(text).map(|_| text.to_owned())
}

/// Checks what is only handed on: times like `200ms,1s`.
fn times(text: &str) -> Result<String, humantime::DurationError> {
    text.split(',').try_for_each(|part| time(part).map(drop)).map(|()| text.to_owned())
}

/// Starts everything and stays until it is told to stop.
///
/// # Errors
/// When something can't be started: a port is taken, the database server is away. Nothing runs then.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let mut signals = Signals::listen()?;
    let (folder, plan) = tokio::select! {
        prepared = prepare(&args) => prepared?,
        () = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    let report = Report::new(began, &plan, folder);
    report.heading(&args);
    let program = std::env::current_exe().context("can't find this program's file")?;
    Supervisor::start(program, plan, report)?.run(&mut signals).await;
    Ok(ExitCode::SUCCESS)
}

/// Sees to it that everything can be started, and how.
///
/// # Errors
/// When something is missing or in use: a port, the folder, the database server, the broker that is to be emptied.
pub(crate) async fn prepare(args: &Args) -> anyhow::Result<(Folder, Vec<Launch>)> {
    args.ports.check(args.host)?;
    let folder = Folder::lock(&args.place.data)?;
    let server = args.place.server()?;
    if args.fresh {
        folder.empty()?;
    }
    if let Some(server) = &server {
        server.make(databases::names(args.place.broker.is_none()), args.fresh).await?;
    }
    if let (true, Some(broker)) = (args.fresh, &args.place.broker) {
        erase(broker, args.retry_delays.as_deref()).await?;
    }
    let plan = plan::plan(args, &folder)?;
    Ok((folder, plan))
}

/// Empties the queues of a broker that outlives the program.
async fn erase(url: &str, retry_delays: Option<&str>) -> anyhow::Result<()> {
    let retry_delays = retry_delays.unwrap_or(runtime::RETRY_DELAYS).split(',');
    let topology = broker::Topology {
        subscriptions: contracts::SUBSCRIPTIONS.to_vec(),
        retry_delays: retry_delays.map(humantime::parse_duration).collect::<Result<_, _>>()?,
        history: true,
    };
    let broker = broker::Broker::open(url, topology).await?;
    broker.erase().await.context("emptying the broker's queues")?;
    broker.close().await;
    Ok(())
}

/// The signals that say: stop.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::times;

    #[test]
    fn times_are_checked_before_anything_starts() {
        assert_eq!(times("200ms,1s").unwrap(), "200ms,1s");
        for wrong in ["", "1", "1s,", "soon"] {
            assert!(times(wrong).is_err(), "{wrong:?}");
        }
    }
}
