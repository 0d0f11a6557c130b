//! The HTTP server: bounded in its connections, and in what a client may make it wait for.

use std::{io, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use nix::sys::resource::{Resource, getrlimit};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long requests that are under way may take to end after the signal to stop.
pub const GRACE: Duration = Duration::from_secs(5);
/// The largest head that a request may have, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// The pause after a connection could not be accepted: when the process has no file descriptor left, for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// The pause between two log lines about the same.
const NOTICE_PAUSE: Duration = Duration::from_secs(60);

/// What clients may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time. When all are in use, those that are idle are closed, and the others after their answer; the next ones
    /// wait for that.
    pub connections: usize,
    /// How long a client may take to send the head of a request, the next one on an idle connection included, and how long a write may
    /// make no progress.
    pub patience: Duration,
}

impl Default for Limits {
    /// Half of the files that the process may open: the database, the broker and calls need some too.
    fn default() -> Self {
        let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
        let connections = usize::try_from(files / 2).unwrap_or(usize::MAX).clamp(2, 256);
        Self { connections, patience: Duration::from_secs(30) }
    }
}

/// Serves until told to stop, then finishes the requests that are under way.
pub async fn serve(listener: TcpListener, app: Router, shutdown: CancellationToken) {
    serve_within(Limits::default(), listener, app, shutdown).await;
}

/// As [`serve`], with other limits.
pub async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    app: Router,
    shutdown: CancellationToken,
) {
    let connections = TaskTracker::new();
    let mut acceptor = Acceptor {
        listener,
        permits: Arc::new(Semaphore::new(limits.connections)),
        crowded: Arc::default(),
        failing: Notice::default(),
        full: Notice::default(),
    };
    while let Some((stream, permit)) = shutdown.run_until_cancelled(acceptor.accept()).await {
        let crowded = acceptor.crowded.clone();
        let serving = serve_connection(limits, stream, app.clone(), crowded, shutdown.clone());
        connections.spawn(async move {
            serving.await;
            drop(permit);
        });
    }
    drop(acceptor);
    connections.close();
    // An idle connection that its client keeps open must not keep the process.
    let _ = timeout(GRACE, connections.wait()).await;
}

/// Where connections come in.
struct Acceptor {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    /// Tells the connections that others wait.
    crowded: Arc<Notify>,
    failing: Notice,
    full: Notice,
}

/// Something to log, but not as often as clients can make it happen.
#[derive(Default)]
struct Notice(Option<Instant>);

impl Notice {
    fn is_due(&mut self) -> bool {
        let due = self.0.is_none_or(|last| last.elapsed() >= NOTICE_PAUSE);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}

impl Acceptor {
    /// The next connection, once there are few enough.
    async fn accept(&mut self) -> (TcpStream, OwnedSemaphorePermit) {
        let permit = self.permit().await;
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return (stream, permit),
                // The client reset the connection before it was accepted.
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if self.failing.is_due() {
                        tracing::warn!(%error, "connections can't be accepted; trying again");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn permit(&mut self) -> OwnedSemaphorePermit {
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return permit;
        }
        if self.full.is_due() {
            tracing::warn!("all HTTP connections are in use; further ones wait");
        }
        self.crowded.notify_waiters();
        match self.permits.clone().acquire_owned().await {
            Ok(permit) => permit,
            // It is never closed.
            Err(_) => std::future::pending().await,
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Serves one connection to its end.
async fn serve_connection(
    limits: Limits,
    stream: TcpStream,
    app: Router,
    crowded: Arc<Notify>,
    shutdown: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.patience));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.patience)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(app))
    );
    let no_next_request = async {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = crowded.notified() => {}
        }
    };
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = no_next_request => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
