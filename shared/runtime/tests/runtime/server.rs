//! Clients that take what they can get: the server goes on serving the others.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, body::Body, routing::get};
use futures_util::stream;
use reqwest::Method;
use runtime::{
    client::{Client, Unreadable},
    http::{Limits, serve_within},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

const LIMITS: Limits = Limits { connections: 2, patience: Duration::from_millis(500) };
/// Within this, a client that has to wait isn't answered.
const AT_ONCE: Duration = Duration::from_millis(100);
/// Within this, what a client may hold up goes on.
const SOON: Duration = Duration::from_secs(10);

struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        Self::start_within(LIMITS).await
    }

    async fn start_within(limits: Limits) -> Self {
        let endless = || async {
            Body::from_stream(stream::repeat_with(|| Ok::<_, std::io::Error>("[".repeat(4096))))
        };
        let app = Router::new().route("/", get(async || "1")).route("/endless", get(endless));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(serve_within(limits, listener, app, shutdown.clone()));
        Self { address, shutdown, running }
    }

    /// A connection on which `text` was sent.
    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// What another client gets.
    async fn answer(&self, path: &str) -> Result<Value, Unreadable> {
        let client = Client::new(&format!("http://{}", self.address), SOON).unwrap();
        let path = path.trim_start_matches('/');
        client.call(Method::GET, "/", &[path], |request| request).await.unwrap().json().await
    }

    /// Checks that another client isn't answered at once, but after a while.
    async fn is_full_for_a_while(&self) {
        assert!(timeout(AT_ONCE, self.answer("/")).await.is_err(), "all places are taken");
        assert_eq!(self.answer("/").await.unwrap(), 1);
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap();
    }
}

#[tokio::test]
async fn heads_that_never_end_hold_a_place_for_a_while() {
    let server = Server::start().await;
    let half = [server.send("GET / HTTP/1.1\r\nHost:").await, server.send("").await];
    server.is_full_for_a_while().await;
    for mut stream in half {
        let mut rest = Vec::new();
        let closed = timeout(SOON, stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "it is still open");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = Server::start().await;
    let mut stream = server.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut answer = Vec::new();
    timeout(SOON, stream.read_to_end(&mut answer)).await.expect("it is closed").unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
    server.stop().await;
}

#[tokio::test]
async fn idle_connections_give_way() {
    let server = Server::start_within(Limits { patience: SOON * 10, ..LIMITS }).await;
    let mut idle = Vec::new();
    for _ in 0..LIMITS.connections {
        let mut stream = server.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        idle.push(stream);
    }
    assert_eq!(timeout(SOON, server.answer("/")).await.unwrap().unwrap(), 1);
    drop(idle);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_holds_a_place_for_a_while() {
    let server = Server::start().await;
    let request = "GET /endless HTTP/1.1\r\nHost: a\r\n\r\n";
    let unread = [server.send(request).await, server.send(request).await];
    server.is_full_for_a_while().await;
    drop(unread);
    server.stop().await;
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let server = Server::start().await;
    let unreadable = server.answer("/endless").await.unwrap_err();
    assert!(matches!(unreadable, Unreadable::TooLarge), "{unreadable:?}");
    server.stop().await;
}
