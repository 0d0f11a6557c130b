//! What every program's `main` does around its service.

use std::{net::SocketAddr, process::ExitCode};

use anyhow::Context as _;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::telemetry;

/// glibc's allocator took an eighth of a service's time under load.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs a service as a process: telemetry, the listener, and an orderly end on SIGTERM or Ctrl-C. Prints why when it fails.
pub fn program<F>(
    name: &'static str,
    listen: SocketAddr,
    run: impl FnOnce(TcpListener, CancellationToken) -> F,
) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    match start(name, listen, run) {
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
        let listener = bind(listen).await?;
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
/// When the port is taken; the message names it, and says how to choose another.
pub async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen).await.with_context(|| {
        format!("can't listen on {listen}: is the port taken? Choose another with --listen")
    })
}
