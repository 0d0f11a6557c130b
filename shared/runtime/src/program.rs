//! What every program's `main` does around its service.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use clap::{Args, CommandFactory as _, FromArgMatches as _};
use reqwest::Method;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{client::Client, telemetry};

/// glibc's allocator took an eighth of a service's time under load.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the answer about its health may take.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);

/// A service's configuration, and how to run the service with it.
pub trait Program: Args {
    /// The service's name, in its command line and in telemetry.
    const NAME: &'static str;
    /// What it is for, in its `--help`.
    const ABOUT: &'static str;

    /// Where it listens.
    fn listen(&self) -> SocketAddr;

    /// Runs the service as this process, by [`program`]. (The service's crate thereby compiles all of it, once for
    /// all programs that run it.)
    fn start(self) -> ExitCode;
}

/// The command line of a service's own program.
#[derive(clap::Parser)]
#[command(version)]
struct CommandLine<P: Program> {
    #[command(flatten)]
    program: P,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Ask the service that listens there whether it is ready: exit code 0 when it is (for a container's health check)
    Health,
}

/// The `main` of a service's own program: runs it, or asks the one that runs for its health.
#[must_use]
pub fn main<P: Program>() -> ExitCode {
    let command = CommandLine::<P>::command().name(P::NAME).about(P::ABOUT);
    let parsed = command
        .try_get_matches()
        .and_then(|mut matches| CommandLine::<P>::from_arg_matches_mut(&mut matches));
    match parsed {
        Ok(CommandLine { program, command: None }) => program.start(),
        Ok(CommandLine { program, command: Some(Command::Health) }) => {
            exit_code(P::NAME, health(program.listen()))
        }
        Err(error) => error.exit(),
    }
}

/// Runs a service as this process: telemetry, the listener, and an orderly end on SIGTERM or Ctrl-C. Prints why when it fails.
pub fn program<F>(
    name: &'static str,
    listen: SocketAddr,
    run: impl FnOnce(TcpListener, CancellationToken) -> F,
) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    exit_code(name, start(name, listen, run))
}

fn exit_code(name: &str, result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start<F>(
    name: &'static str,
    listen: SocketAddr,
    run: impl FnOnce(TcpListener, CancellationToken) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let _telemetry = telemetry::init(name)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = bind(listen, "--listen").await?;
        let shutdown = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let told = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("stopping");
            told.cancel();
        });
        tracing::info!(address = %listener.local_addr()?, "listening");
        run(listener, shutdown).await
    })
}

/// Listens on an address.
///
/// # Errors
/// When the port is taken; the message names it, and the flag that chooses another.
pub async fn bind(listen: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen).await.with_context(|| {
        format!("can't listen on {listen}: is the port taken? Choose another with {flag}")
    })
}

/// Asks the service that listens on this address whether it is ready.
fn health(listen: SocketAddr) -> anyhow::Result<()> {
    let base = format!("http://{}", reachable(listen));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = Client::new(&base, HEALTH_TIMEOUT)?;
        let answer = client.call(Method::GET, "/readyz", &["readyz"], |request| request).await?;
        ensure!(answer.status().is_success(), "not ready: {}", answer.text().await?);
        Ok(())
    })
}

/// The address at which this machine reaches what listens on all of its addresses.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_are_reached_at_the_loopback() {
        let reached = |listen: &str| reachable(listen.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:80"), "127.0.0.1:80");
        assert_eq!(reached("[::]:80"), "[::1]:80");
        assert_eq!(reached("10.0.0.1:80"), "10.0.0.1:80");
    }
}
