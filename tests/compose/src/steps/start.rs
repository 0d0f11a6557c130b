//! `docker compose up`: how long it takes, how much there is of it, and what it may do on the machine.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use testkit::wait::within;

use crate::{
    container::Container,
    docker::docker,
    stack::Stack,
    world::{OURS, World},
};

/// From `up` to the first confirmed order: what is aimed at, and what is a failure on the slowest machine.
const AIM: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_secs(90);
/// How long `docker stats` may take, which now and then answers nothing.
const STATS_LIMIT: Duration = Duration::from_secs(60);
/// All containers together.
const MAX_CONTAINERS: usize = 10;
const MAX_MEMORY: f64 = 1.5 * GIB;
const MIB: f64 = 1024.0 * 1024.0;
const GIB: f64 = 1024.0 * MIB;

/// Builds what is missing, and starts it.
pub(crate) async fn start() -> Result<World> {
    let stack = Stack::Single;
    let began = Instant::now();
    stack.images().await?;
    println!("  images: {:.0} s", began.elapsed().as_secs_f64());
    let (world, took) = World::start(stack).await?;
    let verdict = if took <= AIM { "within" } else { "ABOVE" };
    let took_secs = took.as_secs_f64();
    println!(
        "  from up to the first confirmed order: {took_secs:.1} s, {verdict} the aim of {AIM:?}"
    );
    ensure!(took <= LIMIT, "more than {LIMIT:?}");
    Ok(world)
}

/// Everything is healthy, has a limit for its memory, is started again when it ends, and stays on this machine.
pub(crate) async fn budget(world: &mut World) -> Result<()> {
    let containers = world.stack.containers().await?;
    for container in &containers {
        check(container).with_context(|| container.name())?;
    }
    let limits: f64 = containers.iter().filter_map(memory_limit).sum();
    let used = memory_used(&containers).await?;
    let count = containers.len();
    println!(
        "  {count} containers; memory: {:.0} MiB in use, {:.0} MiB at most",
        used / MIB,
        limits / MIB
    );
    ensure!(count <= MAX_CONTAINERS, "more than {MAX_CONTAINERS} containers");
    ensure!(used <= limits && limits <= MAX_MEMORY, "more than {:.0} MiB", MAX_MEMORY / MIB);
    Ok(())
}

fn check(container: &Container) -> Result<()> {
    ensure!(container.is_healthy(), "isn't healthy: {}", container.inspected["State"]);
    ensure!(container.restarts() == 0, "was restarted: it doesn't wait for what it needs");
    let host = &container.inspected["HostConfig"];
    ensure!(memory_limit(container).is_some(), "has no limit for its memory");
    let policy = &host["RestartPolicy"]["Name"];
    ensure!(*policy == "unless-stopped", "has the restart policy {policy}");
    let ports = host["PortBindings"].as_object().into_iter().flatten();
    for bound in ports.flat_map(|(_, bound)| bound.as_array().into_iter().flatten()) {
        ensure!(bound["HostIp"] == "127.0.0.1", "listens to the world: {bound}");
    }
    Ok(())
}

fn memory_limit(container: &Container) -> Option<f64> {
    container.inspected["HostConfig"]["Memory"].as_f64().filter(|bytes| *bytes > 0.0)
}

/// What the containers use together, in bytes.
async fn memory_used(containers: &[Container]) -> Result<f64> {
    let mut words = vec!["stats", "--no-stream", "--format", "{{.MemUsage}}"];
    words.extend(containers.iter().map(Container::id));
    // A container's figures may be missed when many are asked for.
    let printed =
        within(STATS_LIMIT, "docker stats answers", || async { docker(&words).await.ok() }).await;
    let used = printed.lines().map(|line| {
        let (used, _) = line.split_once(" / ").context("used / limit")?;
        bytes(used.trim()).with_context(|| format!("{used} is no amount"))
    });
    used.sum()
}

/// `12.5MiB` in bytes.
fn bytes(text: &str) -> Option<f64> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let factor = match &text[unit..] {
        "B" => 1.0,
        "KiB" => 1024.0,
        "MiB" => MIB,
        "GiB" => GIB,
        _ => return None,
    };
    Some(text[..unit].parse::<f64>().ok()? * factor)
}

/// Our own programs are nobody in particular, and may change nothing.
pub(crate) async fn hardening(world: &mut World) -> Result<()> {
    for (service, _) in OURS {
        let container = world.stack.container(service).await?;
        is_hardened(&container.inspected).with_context(|| service)?;
    }
    println!("  {} programs: no root, no capabilities, nothing to write to", OURS.len());
    Ok(())
}

fn is_hardened(inspected: &Value) -> Result<()> {
    let user = inspected["Config"]["User"].as_str().unwrap_or_default();
    let number = user.split(':').next().unwrap_or_default();
    ensure!(!["", "0", "root"].contains(&number), "runs as {user:?}");
    let host = &inspected["HostConfig"];
    ensure!(host["ReadonlyRootfs"] == true, "its root file system can be written to");
    ensure!(host["Privileged"] == false, "is privileged");
    ensure!(host["CapDrop"] == json!(["ALL"]), "keeps capabilities: {}", host["CapDrop"]);
    ensure!(host["CapAdd"].is_null() || host["CapAdd"] == json!([]), "has {}", host["CapAdd"]);
    let options = host["SecurityOpt"].as_array().into_iter().flatten();
    let mut options = options.filter_map(Value::as_str);
    let fixed =
        options.any(|option| option.starts_with("no-new-privileges") && !option.ends_with("false"));
    ensure!(fixed, "can gain privileges: {}", host["SecurityOpt"]);
    Ok(())
}
