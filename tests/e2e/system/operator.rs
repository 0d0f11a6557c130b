//! What an operator does: reads logs, stops everything, and looks after the dead letters from a terminal.

use std::process::{Output, Stdio};

use futures_util::future::join_all;
use serde_json::Value;
use tokio::process::Command;

use super::System;

impl System {
    /// All that a process has logged so far.
    pub(crate) fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(format!("{name}.log"))).unwrap()
    }

    /// Limits how many files a process may have open.
    pub(crate) async fn limit_files(&self, name: &str, files: u32) {
        let (pid, limit) = (self.processes[name].id(), format!("--nofile={files}:{files}"));
        let limited = Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]).status();
        assert!(limited.await.unwrap().success());
    }

    /// Tells all processes to stop, and waits until they have, in order: what they had to say by then is said.
    pub(crate) async fn stop(&mut self) {
        let processes = std::mem::take(&mut self.processes);
        join_all(processes.into_iter().map(async |(name, process)| process.terminate(&name).await))
            .await;
    }

    /// Runs `shop dead …` against this system's broker.
    pub(crate) async fn dead(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_shop-under-test"))
            .arg("dead")
            .args(words)
            .args(["--broker", &self.broker_url()])
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap()
    }

    /// Runs `shop saga …` against this system's order service; what it prints as JSON.
    pub(crate) async fn saga(&self, words: &[&str]) -> Value {
        let output = Command::new(env!("CARGO_BIN_EXE_shop-under-test"))
            .arg("saga")
            .args(words)
            .args(["--json", "--url", self.url("order")])
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "shop saga {words:?}: {errors}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What `shop dead …` prints; it must succeed.
    pub(crate) async fn dead_prints(&self, words: &[&str]) -> String {
        let output = self.dead(words).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "shop dead {words:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What `shop dead list --json` prints of a queue.
    pub(crate) async fn dead_list(&self, queue: &str) -> Vec<Value> {
        let printed = self.dead_prints(&["list", "--json", "--queue", queue]).await;
        serde_json::from_str(&printed).unwrap()
    }
}
