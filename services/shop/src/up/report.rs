//! What `shop up` prints, and writes to `shop.json`.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    time::Instant,
};

use super::{
    Args,
    child::Event,
    folder::{Folder, Running},
    plan::Launch,
};
use crate::{checkout, place::shown, terminal::say};

/// As much of a log's last line as is shown when its service dies.
const LAST_WORDS: usize = 400;

/// Tells the person at the terminal, and scripts, how things are.
#[derive(Debug)]
pub(crate) struct Report {
    began: Instant,
    started: bool,
    folder: Folder,
    services: BTreeMap<&'static str, (String, PathBuf)>,
    running: BTreeMap<&'static str, Running>,
}

impl Report {
    /// Nothing runs yet; `began` is when the program was started.
    pub(crate) fn new(began: Instant, plan: &[Launch], folder: Folder) -> Self {
        let services = plan
            .iter()
            .map(|launch| (launch.service, (launch.url.clone(), launch.log.clone())))
            .collect();
        Self { began, started: false, folder, services, running: BTreeMap::new() }
    }

    /// What it is going to run on.
    pub(crate) fn heading(&self, args: &Args) {
        let data = args.place.data.display();
        let databases = match &args.place.database {
            Some(url) => format!("PostgreSQL at {}", shown(url)),
            None => format!("SQLite in {data}"),
        };
        let broker = match &args.place.broker {
            Some(url) => shown(url),
            None => "a jobs table beside the databases".to_owned(),
        };
        say(format_args!("databases: {databases}\nbroker:    {broker}\nlogs:      {data}/logs\n"));
    }

    /// Tells what happened to a service.
    pub(crate) fn tell(&mut self, service: &'static str, event: &Event) {
        match event {
            Event::Ready { pid } => self.ready(service, *pid),
            Event::Slow => say(format_args!(
                "{service} isn't ready yet; its log: {}",
                self.log(service).display()
            )),
            Event::Died { how, by_itself, again_in } => {
                self.gone(service);
                say(format_args!("{service} {how}; starting it again in {again_in:?}"));
                if *by_itself && let Some(words) = last_words(self.log(service)) {
                    say(format_args!("  its last words: {words}"));
                }
            }
            Event::Stopped { complaint } => {
                self.gone(service);
                say(format_args!("{service} {}", complaint.as_deref().unwrap_or("stopped")));
            }
        }
    }

    /// A signal came.
    pub(crate) fn stopping(&self) {
        say("\nstopping; once more to kill");
    }

    /// Nothing runs any more.
    pub(crate) fn stopped(&self) {
        if let Err(error) = self.folder.forget() {
            say(format_args!("{error:#}"));
        }
        say("all stopped; the data stay");
    }

    fn ready(&mut self, service: &'static str, pid: u32) {
        let url = self.url(service).to_owned();
        say(format_args!("{service:<10} {url:<24} pid {pid}"));
        self.running.insert(service, Running { pid, url });
        self.write_down();
        if !self.started && self.running.len() == self.services.len() {
            self.started = true;
            self.welcome();
        }
    }

    fn welcome(&self) {
        say(format_args!("\nstarted in {:.2} s\n", self.began.elapsed().as_secs_f64()));
        let (order, sandbox) = (self.url("order"), self.url("sandbox"));
        let body = checkout::example();
        say(format_args!(
            "Place an order:\n  curl -i {order}/checkout -H 'Content-Type: application/json' -d '{body}'"
        ));
        let url = match order {
            checkout::DEFAULT_URL => String::new(),
            other => format!(" --url {other}"),
        };
        say(format_args!(
            "or watch one:\n  cargo run -- checkout{url}    (installed: shop checkout{url})"
        ));
        say(format_args!(
            "The API: {order}/docs   Money: {sandbox}/ledger   Mail: {sandbox}/mails"
        ));
        say("Ctrl-C stops everything; `kill -9` of any of them is survived.\n");
    }

    fn gone(&mut self, service: &str) {
        if self.running.remove(service).is_some() {
            self.write_down();
        }
    }

    fn write_down(&self) {
        if let Err(error) = self.folder.write_down(&self.running) {
            say(format_args!("shop.json could not be written: {error}"));
        }
    }

    fn url(&self, service: &str) -> &str {
        self.services.get(service).map_or("", |(url, _)| url)
    }

    fn log(&self, service: &str) -> &Path {
        self.services.get(service).map_or(Path::new(""), |(_, log)| log)
    }
}

/// The last line of a log.
pub(crate) fn last_words(log: &Path) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(8 * 1024))).ok()?;
    let mut end = Vec::new();
    file.read_to_end(&mut end).ok()?;
    let text = String::from_utf8_lossy(&end);
    let line = text.lines().rfind(|line| !line.trim().is_empty())?;
    Some(line.chars().take(LAST_WORDS).collect())
}
