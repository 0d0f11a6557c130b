//! A TCP proxy that breaks lines the way networks do: silently.

use std::{
    future::pending,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    task::JoinHandle,
};

/// Passes connections on to a server, until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    /// How often the open connections were silenced.
    silenced: Arc<AtomicU64>,
    accepted: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

/// What is put in the place of other bytes, of the same length, on their way to the server.
type Replacement = Option<(&'static [u8], &'static [u8])>;

impl Proxy {
    /// Before the server at `host:port`.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(server: &str) -> Self {
        Self::with(server, None).await
    }

    /// Puts other bytes in the place of some, of the same length, that go to the server: what a client library refuses to send. They
    /// must come in one piece.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn replacing(server: &str, from: &'static [u8], to: &'static [u8]) -> Self {
        Self::with(server, Some((from, to))).await
    }

    async fn with(server: &str, replacement: Replacement) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let silenced = Arc::<AtomicU64>::default();
        let accepted = Arc::new(AtomicUsize::new(0));
        let (server, silence, count) = (server.to_owned(), silenced.clone(), accepted.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let line = Line { silenced: silence.clone(), at: silence.load(Ordering::SeqCst) };
                tokio::spawn(pass(client, server.clone(), line, replacement));
            }
        });
        Self { address, silenced, accepted, accepting }
    }

    /// A URL's server replaced by this proxy: of `scheme://user:password@host:port/path`.
    ///
    /// # Panics
    /// When the URL isn't like that.
    #[must_use]
    pub fn before(&self, url: &str) -> String {
        let server = server_of(url);
        url.replacen(server, &self.address.to_string(), 1)
    }

    /// Stops forwarding on the connections that are open, in both directions, without closing them. New ones work.
    pub fn silence(&self) {
        self.silenced.fetch_add(1, Ordering::SeqCst);
    }

    /// How many connections were made.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// `host:port` of a URL.
///
/// # Panics
/// When it has none.
#[must_use]
pub fn server_of(url: &str) -> &str {
    let (_, rest) = url.split_once("://").expect("a URL");
    let rest = rest.split(['/', '?']).next().unwrap_or(rest);
    rest.rsplit('@').next().unwrap_or(rest)
}

/// A connection that is passed on.
#[derive(Clone)]
struct Line {
    silenced: Arc<AtomicU64>,
    /// What `silenced` was when the connection was made.
    at: u64,
}

impl Line {
    fn is_silent(&self) -> bool {
        self.silenced.load(Ordering::SeqCst) != self.at
    }
}

async fn pass(client: TcpStream, server: String, line: Line, replacement: Replacement) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = copy(from_client, to_server, line.clone(), replacement) => {}
        () = copy(from_server, to_client, line, None) => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    line: Line,
    replacement: Replacement,
) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut bytes).await;
        // After the read: of what is sent once the line is silent, nothing may arrive. Both connections stay open.
        if line.is_silent() {
            pending::<()>().await;
        }
        let Ok(read @ 1..) = read else { return };
        let bytes = &mut bytes[..read];
        if let Some((from, to)) = replacement {
            while let Some(at) = bytes.windows(from.len()).position(|part| part == from) {
                bytes[at..at + from.len()].copy_from_slice(to);
            }
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// How long something has to arrive that mustn't; through a line that isn't silent it takes microseconds.
    const ARRIVES: Duration = Duration::from_millis(10);

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_what_is_sent_to_a_silent_line_nothing_arrives() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(&server.local_addr().unwrap().to_string()).await;
        for _ in 0..50 {
            let mut client = TcpStream::connect(proxy.address).await.unwrap();
            let (mut line, _) = server.accept().await.unwrap();
            client.write_all(b"before").await.unwrap();
            let mut bytes = [0; 6];
            line.read_exact(&mut bytes).await.unwrap();
            proxy.silence();
            client.write_all(b"after").await.unwrap();
            assert!(timeout(ARRIVES, line.read(&mut bytes)).await.is_err(), "{bytes:?}");
        }
    }
}
