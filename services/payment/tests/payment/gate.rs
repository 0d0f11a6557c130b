//! A gate on the way to the card processor, which can hold charges back: so that a test can do something meanwhile.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
};
use runtime::client::Client;
use tokio::{net::TcpListener, sync::watch};

#[derive(Clone)]
pub(crate) struct Gate {
    closed: Arc<watch::Sender<bool>>,
    held: Arc<watch::Sender<usize>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { closed: Arc::new(watch::Sender::new(false)), held: Arc::default() }
    }
}

impl Gate {
    /// Holds back every charge from now on.
    pub(crate) fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Lets them go on.
    pub(crate) fn open(&self) {
        self.closed.send_replace(false);
    }

    /// Whether a charge is being held back.
    pub(crate) fn holds(&self) -> bool {
        *self.held.borrow() > 0
    }

    /// Puts the gate before a processor; its URL.
    pub(crate) async fn stand_before(&self, processor: &str) -> String {
        let client = Client::new(processor, Duration::from_secs(60)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(pass).with_state((self.clone(), client));
        tokio::spawn(axum::serve(listener, router).into_future());
        url
    }
}

async fn pass(
    State((gate, client)): State<(Gate, Client)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    if uri.path() == "/charges" {
        gate.held.send_modify(|held| *held += 1);
        gate.closed.subscribe().wait_for(|closed| !closed).await.unwrap();
        gate.held.send_modify(|held| *held -= 1);
    }
    let path: Vec<&str> = uri.path().trim_start_matches('/').split('/').collect();
    let answer = client.call(method, "", &path, |call| call.headers(headers).body(body)).await;
    let answer = answer.unwrap();
    (answer.status(), answer.text().await.unwrap())
}
