//! `shop up` as a process, and its services over HTTP.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::{Client, StatusCode, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use super::Args;
use crate::process::Processes;

/// What is ordered: what `shop checkout` orders when it is told nothing.
const SKU: &str = "mug-blue";
/// How long starting may take.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long stopping may take.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// The pause between two tries while it starts.
const SOON: Duration = Duration::from_millis(2);
const PORTS: [&str; 6] = ["order", "payment", "inventory", "email", "sandbox", "smtp"];

/// A running system. It ends with this.
#[derive(Debug)]
pub(crate) struct Running {
    up: Child,
    pid: u32,
    http: Client,
    services: BTreeMap<String, Service>,
    servers: [(&'static str, Option<u32>); 2],
}

/// A service as `shop.json` knows it.
#[derive(Debug, Deserialize)]
struct Service {
    pid: u32,
    url: String,
}

impl Running {
    /// Starts it, and waits until a first order is confirmed; how long that took.
    pub(super) async fn start(args: &Args, data: PathBuf) -> anyhow::Result<(Self, Duration)> {
        let http = client()?;
        let ports = free_ports()?;
        let mut command = Command::new(&args.shop);
        command.arg("up").arg("--data").arg(&data).stdin(Stdio::null()).kill_on_drop(true);
        for (name, port) in PORTS.iter().zip(&ports) {
            command.arg(format!("--{name}-port")).arg(port.to_string());
        }
        for (name, url) in
            [("SHOP_DATABASE_URL", &args.database), ("SHOP_BROKER_URL", &args.broker)]
        {
            match url {
                Some(url) => command.env(name, url),
                None => command.env_remove(name),
            };
        }
        std::fs::create_dir_all(&data)?;
        let log = std::fs::File::create(data.join("up.log"))?;
        command.stdout(log.try_clone()?).stderr(log);
        let began = Instant::now();
        let mut up = command.spawn().with_context(|| format!("{}", args.shop.display()))?;
        let order = format!("http://127.0.0.1:{}", ports[0]);
        let first = tokio::select! {
            first = timeout(START_LIMIT, first_order(&http, &order)) => first,
            ended = up.wait() => bail!("`shop up` ended: {}; see {}/up.log", ended?, data.display()),
        };
        first.with_context(|| format!("no order was confirmed within {START_LIMIT:?}"))??;
        let took = began.elapsed();
        let pid = up.id().context("`shop up` is gone")?;
        let services = timeout(START_LIMIT, services(&data)).await??;
        let servers = [("postgres", args.postgres), ("rabbitmq", args.rabbitmq)];
        Ok((Self { up, pid, http, services, servers }, took))
    }

    /// Stops it in an orderly way.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        kill(Pid::from_raw(self.pid.cast_signed()), Signal::SIGTERM)?;
        let ended =
            timeout(STOP_LIMIT, self.up.wait()).await.context("`shop up` doesn't stop")??;
        ensure!(ended.success(), "`shop up` ended with {ended}");
        Ok(())
    }

    /// Its processes, the servers, and this one, which makes the load.
    pub(super) fn processes(&self) -> anyhow::Result<Processes> {
        let mut processes = Processes::default();
        for (name, service) in &self.services {
            processes.one(name, service.pid);
        }
        processes.one("shop up", self.pid);
        processes.one("load", std::process::id());
        for (name, pid) in self.servers {
            if let Some(pid) = pid {
                processes.family(name, pid);
            }
        }
        // Whoever has died and was started again would be somebody else.
        processes.cpu()?;
        Ok(processes)
    }

    /// Sends a checkout.
    ///
    /// # Errors
    /// When it isn't accepted.
    pub(super) async fn checkout(&self, body: &str) -> anyhow::Result<()> {
        let answer = checkout(&self.http, self.url("order")?, body).await?;
        let status = answer.status();
        // To the end, so that the connection can be used again.
        let text = answer.text().await?;
        ensure!(status == StatusCode::ACCEPTED, "a checkout was answered with {status}: {text}");
        Ok(())
    }

    /// Puts more on the shelf than can be sold.
    pub(super) async fn restock(&self) -> anyhow::Result<()> {
        let url = format!("{}/products/{SKU}", self.url("inventory")?);
        let price = json!({"amount": 1_250, "currency": "EUR"});
        let listing = json!({"name": "Mug, blue", "unit_price": price, "on_hand": 1_000_000_000});
        let answer = self
            .http
            .put(url)
            .header(CONTENT_TYPE, "application/json")
            .body(listing.to_string())
            .send()
            .await?;
        let status = answer.status();
        ensure!(status.is_success(), "restocking: {status}: {}", answer.text().await?);
        Ok(())
    }

    /// A service's metric: the sum of its series that have this label.
    pub(super) async fn metric(
        &self,
        service: &str,
        name: &str,
        label: &str,
    ) -> anyhow::Result<usize> {
        let url = format!("{}/metrics", self.url(service)?);
        let text = self.http.get(url).send().await?.error_for_status()?.text().await?;
        Ok(sum(&text, name, label) as usize)
    }

    /// What the card processor's ledger comes to.
    pub(super) async fn ledger(&self) -> anyhow::Result<Ledger> {
        let url = format!("{}/ledger/summary", self.url("sandbox")?);
        Ok(self.http.get(url).send().await?.error_for_status()?.json().await?)
    }

    fn url(&self, service: &str) -> anyhow::Result<&str> {
        let service = self.services.get(service);
        Ok(&service.context("a service that doesn't run")?.url)
    }
}

/// What the card processor's ledger comes to.
#[derive(Debug, Deserialize)]
pub(super) struct Ledger {
    /// Charges that were made.
    pub(super) charges: usize,
    /// Orders that have more than one.
    pub(super) charged_twice: usize,
}

/// The body of a checkout.
pub(super) fn body() -> String {
    json!({
        "customer": {"email": "ada@example.com"},
        "items": [{"sku": SKU, "quantity": 1}],
        "card_token": "tok_visa",
    })
    .to_string()
}

fn client() -> reqwest::Result<Client> {
    let builder = Client::builder().timeout(Duration::from_secs(30)).http1_only().no_proxy();
    // Nothing here needs the platform's certificates, and reading them takes a while.
    builder.tcp_nodelay(true).pool_max_idle_per_host(usize::MAX).tls_certs_only([]).build()
}

async fn checkout(http: &Client, order: &str, body: &str) -> reqwest::Result<reqwest::Response> {
    let request = http.post(format!("{order}/checkout")).header(CONTENT_TYPE, "application/json");
    request.body(body.to_owned()).send().await
}

/// Orders again and again, until an order is accepted; then waits until it is confirmed.
async fn first_order(http: &Client, order: &str) -> anyhow::Result<()> {
    let body = body();
    let id = loop {
        // It isn't there yet, or knows no products yet.
        if let Ok(answer) = checkout(http, order, &body).await
            && answer.status() == StatusCode::ACCEPTED
        {
            let placed: Value = answer.json().await?;
            break placed["id"].as_str().context("an answer without an id")?.to_owned();
        }
        sleep(SOON).await;
    };
    let request = http.get(format!("{order}/orders/{id}")).header("prefer", "wait=20");
    let placed: Value = request.send().await?.error_for_status()?.json().await?;
    ensure!(placed["status"] == "confirmed", "the first order was not confirmed: {placed}");
    Ok(())
}

/// What runs, once all of it does.
async fn services(data: &Path) -> anyhow::Result<BTreeMap<String, Service>> {
    loop {
        if let Ok(text) = std::fs::read(data.join("shop.json")) {
            let services: BTreeMap<String, Service> = serde_json::from_slice(&text)?;
            if services.len() == PORTS.len() - 1 {
                return Ok(services);
            }
        }
        sleep(SOON).await;
    }
}

fn free_ports() -> std::io::Result<Vec<u16>> {
    let listen = |_| TcpListener::bind("127.0.0.1:0");
    let listeners = (0..PORTS.len()).map(listen).collect::<std::io::Result<Vec<_>>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

/// The sum of a metric's series that have this label, in Prometheus's text format.
fn sum(text: &str, name: &str, label: &str) -> f64 {
    let series = |line: &&str| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && line.contains(label)
    };
    let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
    text.lines().filter(series).filter_map(value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_series_with_the_label_count() {
        let text = "# TYPE a counter\na_total{x=\"1\",y=\"2\"} 5\na_total{x=\"1\",y=\"3\"} 7\n\
                    a_total{x=\"4\"} 1\na_total_more{x=\"1\"} 100\nb 3\n";
        assert_eq!(sum(text, "a_total", "x=\"1\""), 12.0);
        assert_eq!(sum(text, "b", ""), 3.0);
        assert_eq!(sum(text, "c", ""), 0.0);
    }
}
