//! All services together: started at once, stopped in order.

use std::{path::PathBuf, time::Duration};

use tokio::{
    sync::mpsc::{Receiver, channel},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    Signals,
    child::{Event, Keeper},
    plan::Launch,
    report::Report,
};

/// How long a service may take to answer whether it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// What runs.
pub(crate) struct Supervisor {
    services: JoinSet<()>,
    sandbox: JoinSet<()>,
    stop_services: CancellationToken,
    stop_sandbox: CancellationToken,
    hurry: CancellationToken,
    events: Receiver<(&'static str, Event)>,
    report: Report,
}

impl Supervisor {
    /// Starts everything at once: each can wait for the others.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub(crate) fn start(
        program: PathBuf,
        plan: Vec<Launch>,
        report: Report,
    ) -> anyhow::Result<Self> {
        let (sender, events) = channel(64);
        let hurry = CancellationToken::new();
        let services = Keeper {
            program,
            client: crate::client::new("http:", READY_TIMEOUT)?,
            events: sender,
            stop: CancellationToken::new(),
            hurry: hurry.clone(),
        };
        let sandbox = Keeper { stop: CancellationToken::new(), ..services.clone() };
        let mut this = Self {
            services: JoinSet::new(),
            sandbox: JoinSet::new(),
            stop_services: services.stop.clone(),
            stop_sandbox: sandbox.stop.clone(),
            hurry,
            events,
            report,
        };
        for launch in plan {
            if launch.service == "sandbox" {
                this.sandbox.spawn(sandbox.clone().keep(launch));
            } else {
                this.services.spawn(services.clone().keep(launch));
            }
        }
        Ok(this)
    }

    /// Reports what happens until a signal comes, then stops everything; a second signal stops it by force.
    pub(crate) async fn run(mut self, signals: &mut Signals) {
        loop {
            tokio::select! {
                () = signals.next() => break,
                Some((service, event)) = self.events.recv() => self.report.tell(service, &event),
            }
        }
        self.report.stopping();
        self.stop_services.cancel();
        let stopped = async {
            while self.services.join_next().await.is_some() {}
            self.stop_sandbox.cancel();
            while self.sandbox.join_next().await.is_some() {}
        };
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                biased;
                Some((service, event)) = self.events.recv() => self.report.tell(service, &event),
                () = &mut stopped => break,
                () = signals.next() => self.hurry.cancel(),
            }
        }
        while let Ok((service, event)) = self.events.try_recv() {
            self.report.tell(service, &event);
        }
        self.report.stopped();
    }
}
