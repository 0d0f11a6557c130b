//! What stands around the service in these tests: the sandbox's mail server; and the service itself.

use std::{net::SocketAddr, time::Duration};

use clap::Parser as _;
use contracts::{OrderConfirmed, OrderId};
use email::Config;
use reqwest::{Method, StatusCode};
use runtime::client::Client;
use serde_json::{Value, json};
use testkit::TestDatabase;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{eventually, queue::Queue};

/// A mail server with a witness.
pub(crate) struct MailServer {
    pub(crate) smtp: String,
    client: Client,
    running: Running,
    _folder: TestDatabase,
}

/// A task that ends when this is dropped.
struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn client(address: SocketAddr) -> Client {
    Client::new(&format!("http://{address}"), Duration::from_secs(10)).unwrap()
}

impl MailServer {
    pub(crate) async fn start() -> Self {
        Self::start_on(listener().await.0).await
    }

    pub(crate) async fn start_on(smtp: TcpListener) -> Self {
        let (http, address) = listener().await;
        let smtp_address = smtp.local_addr().unwrap();
        let folder = testkit::sqlite_database();
        let path = folder.url.strip_prefix("sqlite://").unwrap();
        let data = std::path::Path::new(path).with_extension("sandbox");
        let config = sandbox::Config { listen: address, smtp_listen: smtp_address, data };
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(sandbox::run(config, http, smtp, shutdown.clone()));
        Self {
            smtp: format!("smtp://{smtp_address}"),
            client: client(address),
            running: Running { shutdown, task },
            _folder: folder,
        }
    }

    pub(crate) async fn misbehave(&self, faults: Value) {
        assert!(!self.running.task.is_finished(), "the sandbox has ended");
        let put =
            self.client.call(Method::PUT, "/faults/mail", &["faults", "mail"], |r| r.json(&faults));
        assert_eq!(put.await.unwrap().status(), 200);
    }

    /// Every mail that the server kept, with all that it says.
    pub(crate) async fn mails(&self) -> Vec<Value> {
        let list = self.client.call(Method::GET, "/mails", &["mails"], |r| r);
        let list: Value = list.await.unwrap().json().await.unwrap();
        let mut mails = Vec::new();
        for number in 1..=list["total"].as_u64().unwrap() {
            let path = ["mails", &number.to_string()];
            let mail = self.client.call(Method::GET, "/mails/{number}", &path, |r| r).await;
            mails.push(mail.unwrap().json().await.unwrap());
        }
        mails
    }

    pub(crate) async fn message_ids(&self) -> Vec<String> {
        let mails = self.mails().await;
        let mut ids: Vec<_> =
            mails.iter().map(|mail| mail["message_id"].as_str().unwrap().to_owned()).collect();
        ids.sort_unstable();
        ids
    }
}

/// The service, running.
pub(crate) struct Email {
    client: Client,
    running: Running,
}

/// Of a flag that is given twice, the last counts.
#[derive(Debug, clap::Parser)]
#[command(args_override_self = true)]
struct Program {
    #[command(flatten)]
    config: Config,
}

impl Email {
    /// Starts it on a database, with a queue and a mail server; `flags` may add to or change what it is told.
    pub(crate) async fn start(
        database: &TestDatabase,
        queue: &Queue,
        smtp: &str,
        flags: &[&str],
    ) -> Self {
        let mut arguments = vec![
            "email",
            "--database",
            &database.url,
            "--broker",
            &queue.database.url,
            "--smtp",
            smtp,
            "--smtp-timeout",
            "2s",
            "--retry-delays",
            RETRY_DELAYS,
        ];
        arguments.extend(flags);
        let config = Program::try_parse_from(arguments).unwrap().config;
        let (listener, address) = listener().await;
        let shutdown = CancellationToken::new();
        let running = email::run(config, listener, shutdown.clone());
        let task = tokio::spawn(async {
            running.await.inspect_err(|error| eprintln!("the service failed: {error:#}"))
        });
        Self { client: client(address), running: Running { shutdown, task } }
    }

    /// The mails of an order as the service tells them; none while it isn't up.
    pub(crate) async fn mails(&self, order_id: OrderId) -> Vec<Value> {
        assert!(!self.running.task.is_finished(), "the service has ended");
        let path = ["mails", &order_id.to_string()];
        let answer = self.client.call(Method::GET, "/mails/{order_id}", &path, |r| r).await;
        let Ok(answer) = answer else { return Vec::new() };
        let body: Value = answer.json().await.unwrap();
        body["mails"].as_array().unwrap().clone()
    }

    /// Waits until an order's mail of this kind is in a state.
    pub(crate) async fn becomes(&self, order_id: OrderId, kind: &str, state: &str) -> Value {
        eventually(&format!("the {kind} is {state}"), async || {
            let mails = self.mails(order_id).await;
            mails.into_iter().find(|mail| mail["kind"] == kind && mail["state"] == state)
        })
        .await
    }

    pub(crate) async fn get(&self, path: &[&str]) -> runtime::client::Answer {
        self.client.call(Method::GET, "/", path, |r| r).await.unwrap()
    }

    /// Asks by a call for the receipt of an order.
    pub(crate) async fn send_receipt(&self, key: Uuid, order: &OrderConfirmed) -> StatusCode {
        let asked = self.client.call(Method::POST, "/", &["mails", "receipt"], |request| {
            request.header("idempotency-key", key.to_string()).json(&json!({"order": order}))
        });
        asked.await.unwrap().status()
    }

    pub(crate) async fn stop(mut self) {
        self.running.shutdown.cancel();
        (&mut self.running.task).await.unwrap().unwrap();
    }
}

const RETRY_DELAYS: &str = "100ms,100ms,100ms,100ms,100ms";

pub(crate) fn healthy() -> Value {
    json!({})
}
