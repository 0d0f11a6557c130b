//! One process of the system.

use std::{
    fs::OpenOptions, os::unix::process::ExitStatusExt as _, path::PathBuf, process::Stdio,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

/// How long a process may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process; killed when it is dropped.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(service: &str, env: &[(String, String)], log: PathBuf) -> Self {
        let log = OpenOptions::new().create(true).append(true).open(log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_shop-under-test"))
            .args(["run", service])
            .envs(env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("the shop program starts");
        Self(child)
    }

    pub(crate) fn assert_running(&mut self, name: &str) {
        let ended = self.0.try_wait().unwrap();
        assert!(ended.is_none(), "{name} has ended: {ended:?}");
    }

    pub(crate) async fn kill(mut self) {
        self.0.kill().await.unwrap();
    }

    pub(crate) async fn wait_for_crash(mut self, name: &str) {
        let ended = timeout(PATIENCE, self.0.wait()).await;
        let status = ended.unwrap_or_else(|_| panic!("{name} did not crash")).unwrap();
        assert_eq!(
            status.signal(),
            Some(Signal::SIGKILL as i32),
            "{name} ended otherwise: {status}"
        );
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id().expect("it runs")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.id()).unwrap()), signal).unwrap();
    }

    pub(crate) async fn terminate(mut self, name: &str) {
        self.signal(Signal::SIGTERM);
        let ended = timeout(PATIENCE, self.0.wait()).await;
        let status = ended.unwrap_or_else(|_| panic!("{name} did not stop")).unwrap();
        assert!(status.success(), "{name} stopped with {status}");
    }
}
