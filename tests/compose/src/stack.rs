//! The compose file, unmodified, under a project name of the tests' own.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use testkit::wait::within;
use tokio::time::sleep;

use crate::{
    container::Container,
    docker::{ROOT, docker, docker_json, docker_within},
};

/// The project's name.
pub(crate) const PROJECT: &str = "shop-test";
/// How long a container may take to be healthy, on a slow machine.
pub(crate) const UP_LIMIT: Duration = Duration::from_secs(180);
/// How long building the images may take when nothing is cached.
const BUILD_LIMIT: Duration = Duration::from_secs(60 * 60);

/// The stack: with one RabbitMQ, or with three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stack {
    Single,
    Cluster,
}

impl Stack {
    /// `docker compose` with the project's name and files.
    fn words<'w>(self, words: &[&'w str]) -> Vec<&'w str> {
        let files: &[&str] = match self {
            Self::Single => &[],
            Self::Cluster => &["-f", "docker-compose.yml", "-f", "docker-compose.cluster.yml"],
        };
        [&["compose", "-p", PROJECT], files, words].concat()
    }

    /// Runs `docker compose …`; what it printed.
    pub(crate) async fn compose(self, words: &[&str]) -> Result<String> {
        docker(&self.words(words)).await
    }

    /// `docker compose up -d --wait …`, without building.
    pub(crate) async fn up(self, words: &[&str]) -> Result<()> {
        self.compose(&[words, &["up", "-d", "--wait", "--no-build"]].concat()).await.map(drop)
    }

    /// The configuration that the files come to, all profiles included.
    pub(crate) async fn config(self) -> Result<Value> {
        let words = ["--profile", "*", "config", "--format", "json"];
        docker_json(&self.words(&words)).await
    }

    /// The image of a service.
    pub(crate) async fn image(self, service: &str) -> Result<String> {
        let config = self.config().await?;
        let image = config["services"][service]["image"].as_str();
        Ok(image.with_context(|| format!("{service} has no image"))?.to_owned())
    }

    /// Builds the images that are ours, and gets those of the others that aren't here yet.
    pub(crate) async fn images(self) -> Result<()> {
        let build = self.words(&["--profile", "*", "build"]);
        docker_within(BUILD_LIMIT, &build).await?;
        let config = self.config().await?;
        for (name, service) in config["services"].as_object().context("services")? {
            let image =
                service["image"].as_str().with_context(|| format!("{name} has an image"))?;
            if docker(&["image", "inspect", image]).await.is_err() {
                docker_within(BUILD_LIMIT, &["pull", "--quiet", image]).await?;
            }
        }
        Ok(())
    }

    /// The addresses on this machine that are taken, of those that the files want.
    pub(crate) async fn taken_addresses(self) -> Result<Vec<String>> {
        let config = self.config().await?;
        let services = config["services"].as_object().context("services")?;
        let ports = services.iter().flat_map(|(name, service)| {
            let ports = service["ports"].as_array().into_iter().flatten();
            ports.map(move |port| (name, port))
        });
        let mut taken = Vec::new();
        for (name, port) in ports {
            let host = port["host_ip"].as_str().unwrap_or("0.0.0.0");
            // None is a free one, whichever that is.
            let Some(number) = port["published"].as_str().filter(|port| *port != "0") else {
                continue;
            };
            let address = format!("{host}:{number}");
            if TcpListener::bind(&address).is_err() {
                taken.push(format!("{address} ({name})"));
            }
        }
        Ok(taken)
    }

    /// Every container of the project, also those that have ended.
    pub(crate) async fn containers(self) -> Result<Vec<Container>> {
        let ids = of_project("container").await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids = ids.iter().map(String::as_str);
        let words: Vec<&str> = ["container", "inspect"].into_iter().chain(ids).collect();
        let Value::Array(inspected) = docker_json(&words).await? else { bail!("no list") };
        let containers = inspected.into_iter().map(|inspected| Container { inspected });
        Ok(containers.filter(|container| !container.is_of_a_command()).collect())
    }

    /// A container by its name, `payment` or `payment.2`.
    pub(crate) async fn container(self, name: &str) -> Result<Container> {
        let mut containers = self.containers().await?.into_iter();
        containers.find(|container| container.name() == name).with_context(|| format!("no {name}"))
    }

    /// Waits until a container is healthy and was started after this moment of another one's; how long that took.
    pub(crate) async fn back(self, before: &Container) -> Result<Duration> {
        let (name, since) = (before.name(), Instant::now());
        loop {
            let now = self.container(&name).await?;
            if now.started_at() != before.started_at() && now.is_healthy() {
                return Ok(since.elapsed());
            }
            ensure!(since.elapsed() < UP_LIMIT, "{name} is not back: {}", now.inspected["State"]);
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Removes everything.
    pub(crate) async fn down(self) -> Result<()> {
        self.compose(&["--profile", "*", "down", "-v", "--remove-orphans"]).await.map(drop)
    }

    /// Waits until a service listens where it should, while the stack comes up.
    pub(crate) async fn appears(self, name: &str, port: u16) -> String {
        within(UP_LIMIT, &format!("{name} is started"), || async {
            let found = self.container(name).await.and_then(|c| c.published(port)).ok();
            if found.is_none() {
                sleep(Duration::from_millis(300)).await; // asking costs the machine more than waiting
            }
            found
        })
        .await
    }
}

/// What there is of the project, `container`s, `volume`s or `network`s, by id.
pub(crate) async fn of_project(kind: &str) -> Result<Vec<String>> {
    let label = format!("label=com.docker.compose.project={PROJECT}");
    let all: &[&str] = if kind == "container" { &["-a"] } else { &[] };
    let words = [&[kind, "ls", "-q", "--filter", &label], all].concat();
    Ok(docker(&words).await?.split_whitespace().map(str::to_owned).collect())
}

/// The passwords of the `.env` file.
pub(crate) fn passwords() -> Result<BTreeMap<String, String>> {
    let path = format!("{ROOT}/.env");
    let text = std::fs::read_to_string(&path).with_context(|| path)?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('='));
    Ok(pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect())
}
