//! The program, a place to run it in, and patience.

use std::{
    fmt::Debug,
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};
use uuid::Uuid;

/// Longer than anything here takes on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// The flags of the ports, in the order of their numbers here.
pub(crate) const PORTS: [&str; 6] = [
    "--order-port",
    "--payment-port",
    "--inventory-port",
    "--email-port",
    "--sandbox-port",
    "--smtp-port",
];

/// An empty folder, deleted when this is dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(Uuid::now_v7().to_string());
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// The program, to be run in a folder, with nothing in its environment that would change what it does.
pub(crate) fn program(folder: &Path) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_shop"));
    program
        .current_dir(folder)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    program
}

/// Runs it to its end.
pub(crate) async fn run(folder: &Path, arguments: &[&str]) -> Output {
    timeout(PATIENCE, program(folder).args(arguments).output()).await.expect("it ends").unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Asks again and again until there is an answer.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// A port for each of [`PORTS`].
pub(crate) fn free_ports() -> [u16; 6] {
    std::array::from_fn(|_| testkit::free_port())
}

/// `shop up`; killed when it is dropped.
pub(crate) struct Up {
    child: Child,
    folder: PathBuf,
    pub(crate) url: String,
}

impl Up {
    /// Starts it and waits until everything is ready.
    pub(crate) async fn start(folder: &Path, ports: [u16; 6], arguments: &[&str]) -> Self {
        let mut program = program(folder);
        program.arg("up").args(arguments);
        for (flag, port) in PORTS.iter().zip(ports) {
            program.arg(flag).arg(port.to_string());
        }
        let log = fs::File::create(folder.join("up.log")).unwrap();
        program.stdout(log.try_clone().unwrap()).stderr(log);
        let url = format!("http://127.0.0.1:{}", ports[0]);
        let mut this = Self { child: program.spawn().unwrap(), folder: folder.to_owned(), url };
        until("everything is ready", async || {
            if let Ok(Some(status)) = this.child.try_wait() {
                panic!("shop up {status}: {}", this.output());
            }
            this.output().contains("started in").then_some(())
        })
        .await;
        this
    }

    /// What it printed so far.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(self.folder.join("up.log")).unwrap_or_default()
    }

    /// The process of a service by `shop.json`; none while it doesn't run.
    pub(crate) fn pid(&self, service: &str) -> Option<i32> {
        let text = fs::read(self.folder.join("data/shop.json")).ok()?;
        let running: Value = serde_json::from_slice(&text).unwrap();
        Some(i32::try_from(running.get(service)?["pid"].as_i64().unwrap()).unwrap())
    }

    /// The processes of all services.
    pub(crate) fn pids(&self) -> Vec<i32> {
        let pids = ["order", "payment", "inventory", "email", "sandbox"].map(|name| self.pid(name));
        pids.into_iter().map(|pid| pid.expect("it runs")).collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(i32::try_from(self.child.id().unwrap()).unwrap(), signal);
    }

    /// Stops it as Ctrl-C does.
    pub(crate) async fn stop(mut self) -> String {
        let pids = self.pids();
        self.signal(Signal::SIGINT);
        let status = timeout(PATIENCE, self.child.wait()).await.expect("it ends").unwrap();
        assert!(status.success(), "{status}: {}", self.output());
        assert_eq!(pids.into_iter().find(|pid| lives(*pid)), None, "{}", self.output());
        self.output()
    }

    /// Places an order; its id and the program's exit code.
    pub(crate) async fn checkout(&self, arguments: &[&str]) -> (String, i32) {
        let all = [&["checkout", "--json", "--url", &self.url], arguments].concat();
        let output = run(&self.folder, &all).await;
        let order: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
        (order["id"].as_str().unwrap().to_owned(), output.status.code().unwrap())
    }

    /// The answer to `GET /orders/{id}`.
    pub(crate) async fn look(&self, order: &str) -> (u16, Value) {
        let answer = client().get(format!("{}/orders/{order}", self.url)).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

pub(crate) fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(PATIENCE).build().unwrap()
}

pub(crate) fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

/// Whether a process runs. In a container nobody may bury the dead, so zombies don't count.
pub(crate) fn lives(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = status.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
    state.is_some_and(|state| state != "Z" && state != "X")
}

/// Fails unless a text contains each of these.
#[track_caller]
pub(crate) fn assert_contains(text: &str, parts: &[impl AsRef<str> + Debug]) {
    for part in parts {
        assert!(text.contains(part.as_ref()), "{part:?} is missing in: {text}");
    }
}
