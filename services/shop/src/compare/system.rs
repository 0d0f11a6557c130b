//! A shop of its own, whose services can be stopped and killed one by one.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use anyhow::{Context as _, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    place::Place,
    up::{
        self, Ports,
        child::{Event, Keeper},
        folder::Folder,
        plan::{Launch, SERVICES},
    },
};

/// How long starting may take.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a service may take to answer whether it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(2);
/// Who dies so often while it starts won't get up by itself.
const DEATHS: usize = 3;
/// How long a failed message waits: short, so that everything settles while somebody looks on.
pub(super) const RETRY_DELAYS: &str = "200ms,400ms,800ms,1500ms,2s,3s,4s,5s";

/// What each service is told beside what `shop up` tells it.
const SETTINGS: [(&str, &[(&str, &str)]); 3] = [
    ("order", &[("COMPENSATION_RETRY", "1s"), ("COMPENSATION_RETRY_MAX", "4s")]),
    ("payment", &[("REVERSAL_BACKOFF", "200ms"), ("REVERSAL_BACKOFF_MAX", "2s")]),
    // As many mails at a time as there are customers: what is measured is the mail server's latency, not a queue for it.
    ("email", &[("SMTP_CONNECTIONS", "256")]),
];

/// What is known of the services: the process of each that is ready, and how often one has died.
#[derive(Debug, Default)]
struct Known {
    ready: BTreeMap<&'static str, u32>,
    deaths: BTreeMap<&'static str, usize>,
}

/// A running shop. Its processes end with this one.
pub(super) struct System {
    launches: BTreeMap<&'static str, Launch>,
    keeper: Keeper,
    kept: BTreeMap<&'static str, (CancellationToken, JoinHandle<()>)>,
    known: watch::Receiver<Known>,
    _folder: Folder,
}

impl System {
    /// Starts it; it is open when [`all_ready`](Self::all_ready) says so.
    ///
    /// # Errors
    /// When something doesn't start.
    pub(super) async fn start(place: Place) -> anyhow::Result<Self> {
        let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let args = up::Args {
            place,
            fresh: true,
            host,
            ports: Ports::free(host)?,
            retry_delays: Some(RETRY_DELAYS.to_owned()),
            deadline: None,
        };
        let (folder, mut plan) = up::prepare(&args).await?;
        for (service, settings) in SETTINGS {
            for launch in plan.iter_mut().filter(|launch| launch.service == service) {
                let settings = settings.iter().map(|(name, value)| (*name, (*value).to_owned()));
                launch.environment.extend(settings);
            }
        }
        let (events, heard) = mpsc::channel(64);
        let (tell, known) = watch::channel(Known::default());
        tokio::spawn(listen(heard, tell));
        let mut this = Self {
            launches: plan.into_iter().map(|launch| (launch.service, launch)).collect(),
            keeper: Keeper {
                program: std::env::current_exe().context("can't find this program's file")?,
                client: crate::client::new("http:", READY_TIMEOUT)?,
                events,
                stop: CancellationToken::new(),
                hurry: CancellationToken::new(),
            },
            kept: BTreeMap::new(),
            known,
            _folder: folder,
        };
        for service in SERVICES {
            this.start_service(service)?;
        }
        Ok(this)
    }

    /// Where a service serves HTTP.
    pub(super) fn url(&self, service: &str) -> &str {
        self.launches.get(service).map_or("", |launch| &launch.url)
    }

    /// Starts a service, which is then kept running.
    ///
    /// # Errors
    /// When there is no such service.
    pub(super) fn start_service(&mut self, service: &'static str) -> anyhow::Result<()> {
        let launch = self.launches.get(service).context("no such service")?.clone();
        let stop = CancellationToken::new();
        let keeper = Keeper { stop: stop.clone(), ..self.keeper.clone() };
        self.kept.insert(service, (stop, tokio::spawn(keeper.keep(launch))));
        Ok(())
    }

    /// Stops a service in an orderly way, and leaves it so.
    pub(super) async fn stop_service(&mut self, service: &'static str) {
        if let Some((stop, keeping)) = self.kept.get_mut(service) {
            stop.cancel();
            // It fails only when this program ends.
            let _ = keeping.await;
            // Only now: whoever gives up waiting leaves it to be waited for.
            self.kept.remove(service);
        }
    }

    /// Kills a service; it is started again at once.
    ///
    /// # Errors
    /// When it doesn't run.
    pub(super) fn kill(&self, service: &str) -> anyhow::Result<()> {
        let pid = self.known.borrow().ready.get(service).copied();
        let pid = pid.with_context(|| format!("{service} doesn't run"))?;
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL)
            .with_context(|| format!("can't kill {service}"))
    }

    /// Waits until every service answers.
    ///
    /// # Errors
    /// When one doesn't; its last words are in the message.
    pub(super) async fn all_ready(&self) -> anyhow::Result<()> {
        let mut known = self.known.clone();
        let mut began: Option<BTreeMap<&str, usize>> = None;
        let waiting = async {
            loop {
                {
                    let now = known.borrow_and_update();
                    if SERVICES.iter().all(|service| now.ready.contains_key(service)) {
                        return Ok(());
                    }
                    let began = began.get_or_insert_with(|| now.deaths.clone());
                    for (service, deaths) in &now.deaths {
                        if deaths - began.get(service).unwrap_or(&0) >= DEATHS {
                            bail!("{service} doesn't start: {}", self.last_words(service));
                        }
                    }
                }
                known.changed().await?;
            }
        };
        match timeout(START_LIMIT, waiting).await {
            Ok(ready) => ready,
            Err(_) => {
                bail!("not all services are ready after {START_LIMIT:?}; see {}", self.logs())
            }
        }
    }

    /// Stops everything, the sandbox last.
    pub(super) async fn stop(&mut self) {
        let services: Vec<_> =
            self.kept.keys().copied().filter(|service| *service != "sandbox").collect();
        for (stop, _) in self.kept.iter().filter(|(name, _)| **name != "sandbox").map(|(_, k)| k) {
            stop.cancel();
        }
        for service in services.into_iter().chain(["sandbox"]) {
            self.stop_service(service).await;
        }
    }

    /// Ends when nobody wants to wait for an orderly end any more.
    pub(super) fn hurry(&self) -> CancellationToken {
        self.keeper.hurry.clone()
    }

    fn last_words(&self, service: &str) -> String {
        let log = self.launches.get(service).map(|launch| &launch.log);
        log.and_then(|log| up::last_words(log)).unwrap_or_default()
    }

    fn logs(&self) -> String {
        let log = self.launches.get("order").and_then(|launch| launch.log.parent());
        log.map_or_else(String::new, |folder| folder.display().to_string())
    }
}

/// Takes note of what happens to the services.
async fn listen(mut heard: mpsc::Receiver<(&'static str, Event)>, tell: watch::Sender<Known>) {
    while let Some((service, event)) = heard.recv().await {
        tell.send_modify(|known| match event {
            Event::Ready { pid } => {
                known.ready.insert(service, pid);
            }
            Event::Slow => {}
            Event::Died { .. } => {
                known.ready.remove(service);
                *known.deaths.entry(service).or_default() += 1;
            }
            Event::Stopped { .. } => {
                known.ready.remove(service);
            }
        });
    }
}
