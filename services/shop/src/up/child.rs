//! One service: its process, started again whenever it dies, until it is told to stop.

use std::{
    fs::OpenOptions,
    io,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::{Child, ChildStdin, Command},
    sync::mpsc::Sender,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::plan::Launch;
use crate::checkout;

/// The pause before a service is started again; it doubles with each death.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Who lived that long doesn't die of its start: the pauses begin anew.
const LONG_LIFE: Duration = Duration::from_secs(10);
/// How often a service is asked whether it is ready, while it is likely to be so any moment.
const QUICK_POLL: Duration = Duration::from_millis(5);
/// How long that is.
const BRISK: Duration = Duration::from_secs(2);
/// How often it is asked after that.
const SLOW_POLL: Duration = Duration::from_millis(100);
/// When it is worth saying that one isn't ready yet.
const SLOW_START: Duration = Duration::from_secs(5);
/// How long a service has to stop in an orderly way.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// What happens to a service.
#[derive(Debug)]
pub(crate) enum Event {
    /// It answers requests.
    Ready {
        /// Its process.
        pid: u32,
    },
    /// It has been starting for a while.
    Slow,
    /// It died by itself, or couldn't even be started.
    Died {
        /// How.
        how: String,
        /// Whether it gave up, and so may have said why.
        by_itself: bool,
        /// When it is started again.
        again_in: Duration,
    },
    /// It was told to stop, and is gone.
    Stopped {
        /// How, when it wasn't orderly.
        complaint: Option<String>,
    },
}

/// What a keeper needs beside its service.
#[derive(Debug, Clone)]
pub(crate) struct Keeper {
    /// This program, which is every service too.
    pub(crate) program: PathBuf,
    /// For asking whether a service is ready.
    pub(crate) client: reqwest::Client,
    /// Who is told.
    pub(crate) events: Sender<(&'static str, Event)>,
    /// Ends when the service is to stop.
    pub(crate) stop: CancellationToken,
    /// Ends when nobody wants to wait for an orderly end any more.
    pub(crate) hurry: CancellationToken,
}

impl Keeper {
    /// Keeps a service running until it is to stop.
    pub(crate) async fn keep(self, launch: Launch) {
        let mut pause = FIRST_PAUSE;
        let mut first = true;
        loop {
            let born = Instant::now();
            let (how, by_itself) = match self.spawn(&launch, first) {
                Ok(process) => match self.watch(process, &launch).await {
                    Ok(status) => (describe(status), status.code().is_some()),
                    Err(Stopped { complaint }) => {
                        return self.tell(&launch, Event::Stopped { complaint }).await;
                    }
                },
                Err(error) => (format!("could not be started: {error}"), false),
            };
            if born.elapsed() > LONG_LIFE {
                pause = FIRST_PAUSE;
            }
            first = false;
            self.tell(&launch, Event::Died { how, by_itself, again_in: pause }).await;
            if self.stop.run_until_cancelled(sleep(pause)).await.is_none() {
                return self.tell(&launch, Event::Stopped { complaint: None }).await;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn tell(&self, launch: &Launch, event: Event) {
        // Nobody listens only when this program ends.
        let _ = self.events.send((launch.service, event)).await;
    }

    /// Starts the process. It is in a process group of its own, so that Ctrl-C reaches only this program, and holds the
    /// reading end of a pipe, so that it notices when this program dies.
    fn spawn(&self, launch: &Launch, first: bool) -> io::Result<Process> {
        let log = OpenOptions::new().create(true).append(true).open(&launch.log)?;
        let mut command = Command::new(&self.program);
        command
            .args(["run", "--parent-pipe", launch.service])
            .args(&launch.flags)
            .envs(launch.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        if !first {
            // It is meant to crash once, not for ever.
            command.env_remove("CRASH_AT");
        }
        let mut child = command.spawn()?;
        let pid = child.id().ok_or_else(|| io::Error::other("it ended at once"))?;
        // Waiting for a child closes the pipe that it still has.
        let pipe = child.stdin.take();
        Ok(Process { child, pid, _pipe: pipe })
    }

    /// Stays with a process until it ends by itself, or is to stop.
    async fn watch(&self, mut process: Process, launch: &Launch) -> Result<ExitStatus, Stopped> {
        tokio::select! {
            status = process.child.wait() => return Ok(status.unwrap_or_default()),
            () = self.stop.cancelled() => return Err(self.stop(process).await),
            () = self.until_ready(launch) => {}
        }
        self.tell(launch, Event::Ready { pid: process.pid }).await;
        tokio::select! {
            status = process.child.wait() => Ok(status.unwrap_or_default()),
            () = self.stop.cancelled() => Err(self.stop(process).await),
        }
    }

    async fn until_ready(&self, launch: &Launch) {
        let ready = async {
            let born = Instant::now();
            while !self.is_ready(launch).await {
                sleep(if born.elapsed() < BRISK { QUICK_POLL } else { SLOW_POLL }).await;
            }
        };
        tokio::pin!(ready);
        if timeout(SLOW_START, &mut ready).await.is_err() {
            self.tell(launch, Event::Slow).await;
            ready.await;
        }
    }

    async fn is_ready(&self, launch: &Launch) -> bool {
        let answer = self.client.get(format!("{}/readyz", launch.url)).send().await;
        // The first time, the order service has to hear of the products before it can sell any.
        answer.is_ok_and(|answer| answer.status().is_success())
            && (launch.service != "order" || checkout::is_open(&self.client, &launch.url).await)
    }

    async fn stop(&self, mut process: Process) -> Stopped {
        process.signal(Signal::SIGTERM);
        let orderly = tokio::select! {
            status = process.child.wait() => status.ok(),
            () = sleep(STOP_TIMEOUT) => None,
            () = self.hurry.cancelled() => None,
        };
        let complaint = match orderly {
            // It may not have come so far yet that it handles the signal.
            Some(status) if status.success() || status.signal() == Some(Signal::SIGTERM as i32) => {
                None
            }
            Some(status) => Some(describe(status)),
            None => {
                process.signal(Signal::SIGKILL);
                let _ = process.child.wait().await;
                Some("killed, because it didn't stop in time".to_owned())
            }
        };
        Stopped { complaint }
    }
}

/// A running process. Dropping it closes the pipe by which it knows that this program lives.
struct Process {
    child: Child,
    pid: u32,
    _pipe: Option<ChildStdin>,
}

impl Process {
    fn signal(&self, signal: Signal) {
        // Without an id it has ended, and its number may be another's.
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

struct Stopped {
    complaint: Option<String>,
}

fn describe(status: ExitStatus) -> String {
    match (status.signal().map(Signal::try_from), status.code()) {
        (Some(Ok(signal)), _) => format!("was ended by {signal}"),
        (_, Some(code)) => format!("ended with exit code {code}"),
        _ => format!("ended: {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_put_in_words() {
        assert_eq!(describe(ExitStatus::from_raw(9)), "was ended by SIGKILL");
        assert_eq!(describe(ExitStatus::from_raw(1 << 8)), "ended with exit code 1");
    }
}
