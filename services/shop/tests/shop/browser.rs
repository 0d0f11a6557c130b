//! A headless Chromium, by the DevTools protocol over a pipe.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// Longer than anything here takes on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);
/// The protocol is spoken over the descriptors 3 and 4.
const ON_A_PIPE: &str = r#"exec "$@" 3<&0 4>&1 </dev/null >/dev/null"#;
const FLAGS: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A browser with one page; killed when it is dropped.
pub(crate) struct Browser {
    _process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    last_id: u64,
    /// What the page did that nobody asked it for: the console, exceptions, requests.
    pub(crate) events: Vec<Value>,
}

/// The browser's program, if it is installed.
pub(crate) fn installed() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    let folders = ["/usr/bin", "/usr/local/bin", "/snap/bin", "/opt/google/chrome"];
    let mut all = folders.iter().flat_map(|folder| names.map(|name| Path::new(folder).join(name)));
    all.find(|path| path.exists())
}

impl Browser {
    /// Starts it, with an empty page.
    pub(crate) async fn start(program: &Path, folder: &Path) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", ON_A_PIPE, "sh"]).arg(program).args(FLAGS);
        command.args(["--remote-debugging-pipe", "about:blank"]);
        command.arg(format!("--user-data-dir={}", folder.join("browser").display()));
        command.env("HOME", folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        let (to, from) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let mut this = Self {
            _process: process,
            to,
            from: BufReader::new(from),
            session: None,
            last_id: 0,
            events: Vec::new(),
        };
        let target = this.call("Target.createTarget", json!({"url": "about:blank"})).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = this.call("Target.attachToTarget", attach).await;
        this.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            this.call(&format!("{domain}.enable"), json!({})).await;
        }
        this
    }

    /// Calls a method and returns its result.
    pub(crate) async fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let mut bytes = serde_json::to_vec(&message).unwrap();
        bytes.push(0);
        self.to.write_all(&bytes).await.unwrap();
        loop {
            let mut bytes = Vec::new();
            let reading = self.from.read_until(0, &mut bytes);
            let read = timeout(PATIENCE, reading).await.expect("the browser answers").unwrap();
            assert!(read > 0, "the browser is gone, asked for {method}");
            let answer: Value = serde_json::from_slice(&bytes[..read - 1]).unwrap();
            if answer["id"] == id {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    /// What an expression is worth.
    pub(crate) async fn evaluate(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true});
        self.call("Runtime.evaluate", asked).await["result"]["value"].clone()
    }

    /// Opens a page in a window so wide, in the light or in the dark, and waits until it is loaded.
    pub(crate) async fn open(&mut self, url: &str, width: u32, scheme: &str) {
        let metrics =
            json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", metrics).await;
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", media).await;
        // A page of its own before: the one of before is loaded too.
        self.call("Page.navigate", json!({"url": "about:blank"})).await;
        self.call("Page.navigate", json!({"url": url})).await;
        let loaded = "document.URL !== 'about:blank' && document.readyState === 'complete'";
        let began = std::time::Instant::now();
        while self.evaluate(loaded).await != true {
            assert!(began.elapsed() < PATIENCE, "{url} is not loaded");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
