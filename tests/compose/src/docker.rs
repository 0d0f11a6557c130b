//! The `docker` program.

use std::{process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::{process::Command, time::timeout};

/// The folder of the compose file.
pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// No command may take longer, apart from building and pulling.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs `docker …`; what it printed.
///
/// # Errors
/// When it fails, with what it said.
pub(crate) async fn docker(words: &[&str]) -> Result<String> {
    docker_within(LIMIT, words).await
}

/// As [`docker`], with a limit of its own.
pub(crate) async fn docker_within(limit: Duration, words: &[&str]) -> Result<String> {
    let mut command = Command::new("docker");
    command.args(words).current_dir(ROOT).stdin(Stdio::null()).kill_on_drop(true);
    let shown = || format!("docker {}", words.join(" "));
    let output = timeout(limit, command.output())
        .await
        .with_context(|| format!("{} took longer than {limit:?}", shown()))?
        .with_context(shown)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let printed = String::from_utf8_lossy(&output.stdout);
        bail!(
            "{}: {}\n{}{}",
            shown(),
            output.status,
            last_lines(&said, 30),
            last_lines(&printed, 30)
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// What `docker …` says as JSON.
pub(crate) async fn docker_json(words: &[&str]) -> Result<Value> {
    let printed = docker(words).await?;
    serde_json::from_str(&printed).with_context(|| format!("docker {}: {printed}", words.join(" ")))
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
