//! The watchdog: notices a loop that makes no progress, from outside of all of them.
//!
//! Every wait has a limit of its own, so a loop that stands still is a bug, or something that no limit was thought of for. Then the
//! service isn't ready, and after longer its process ends, so that its supervisor starts it anew.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

/// Without progress for this long, the service isn't ready: three times what a statement may take.
pub(crate) const NOT_READY_AFTER: Duration = Duration::from_secs(30);
/// Without progress for this long, the process ends.
const END_AFTER: Duration = Duration::from_secs(90);
/// What a call to the broker may take: it may have to connect to each of several nodes, and to declare the topology there.
pub(crate) const BROKER_CALL: Duration = Duration::from_secs(180);
/// How often the watchdog looks.
const LOOK: Duration = Duration::from_secs(1);
/// A look that comes later than this tells of a process that was frozen, and thawed.
const LATE: Duration = Duration::from_secs(10);
/// How long the end may take that it has asked for, before it kills the process: a runtime whose threads all hang can't end.
const LAST_WORDS: Duration = Duration::from_secs(15);

/// The loops of a process, and when each made progress last. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Watchdog(Arc<Mutex<Vec<Arc<Watched>>>>);

#[derive(Debug)]
struct Watched {
    name: &'static str,
    progress: Mutex<Instant>,
}

/// How a loop reports its progress. It is watched until this is dropped.
#[derive(Debug)]
pub struct Pulse {
    watchdog: Watchdog,
    watched: Arc<Watched>,
}

/// A loop that stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the loop {name:?} has made no progress for {} s", .since.as_secs())]
pub struct Stuck {
    /// Which loop.
    pub name: &'static str,
    /// Since when.
    pub since: Duration,
}

impl Watchdog {
    /// Watches another loop, which has just made progress.
    #[must_use]
    pub fn pulse(&self, name: &'static str) -> Pulse {
        let watched = Arc::new(Watched { name, progress: Mutex::new(Instant::now()) });
        self.all().push(watched.clone());
        Pulse { watchdog: self.clone(), watched }
    }

    fn all(&self) -> MutexGuard<'_, Vec<Arc<Watched>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loop that has stood still longest, if that is longer than `limit`.
    #[must_use]
    pub fn stuck(&self, limit: Duration) -> Option<Stuck> {
        let since = |watched: &Watched| {
            watched.progress.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
        };
        let all = self.all();
        all.iter()
            .map(|watched| Stuck { name: watched.name, since: since(watched) })
            .filter(|stuck| stuck.since > limit)
            .max_by_key(|stuck| stuck.since)
    }

    /// After a pause that was far too long, not the loops stood still but the whole process: all of them start afresh.
    fn looked_after(&self, pause: Duration) {
        if pause > LATE {
            let now = Instant::now();
            self.all().iter().for_each(|watched| watched.set(now));
        }
    }

    /// Looks after the loops, on a thread of its own, until the sender's other end is dropped; what it receives is the loop for
    /// which the process must end.
    pub(crate) fn start(&self) -> std::io::Result<oneshot::Receiver<Stuck>> {
        let (sender, receiver) = oneshot::channel();
        let watchdog = self.clone();
        thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
            if watchdog.look(sender) {
                thread::park_timeout(LAST_WORDS);
                std::process::abort();
            }
        })?;
        Ok(receiver)
    }

    /// Looks after the loops until the sender's other end is dropped, or has received the loop for which the process must end: that it
    /// has.
    fn look(&self, ending: oneshot::Sender<Stuck>) -> bool {
        let (mut warned, mut looked) = (None, Instant::now());
        while !ending.is_closed() {
            self.looked_after(looked.elapsed());
            looked = Instant::now();
            let stuck = self.stuck(NOT_READY_AFTER);
            if let Some(stuck) = stuck.filter(|stuck| warned != Some(stuck.name)) {
                tracing::error!(error = %stuck, "not ready any more");
            }
            warned = stuck.map(|stuck| stuck.name);
            if let Some(stuck) = stuck.filter(|stuck| stuck.since > END_AFTER) {
                tracing::error!(error = %stuck, "the process ends, to be started anew");
                return ending.send(stuck).is_ok();
            }
            thread::park_timeout(LOOK);
        }
        false
    }
}

impl Pulse {
    /// Says that the loop has made progress.
    pub fn beat(&self) {
        self.watched.set(Instant::now());
    }

    /// Says that the loop has made progress, and that its next step may take this long.
    pub fn expect(&self, step: Duration) {
        self.watched.set(Instant::now() + step);
    }
}

impl Watched {
    fn set(&self, progress: Instant) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }
}

impl Default for Pulse {
    /// Of a loop that isn't watched.
    fn default() -> Self {
        Watchdog::default().pulse("unwatched")
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.watchdog.all().retain(|watched| !Arc::ptr_eq(watched, &self.watched));
    }
}

#[cfg(test)]
impl Watchdog {
    /// A watchdog over one loop that made progress so long ago.
    pub(crate) fn over_a_loop(name: &'static str, ago: Duration) -> (Self, Pulse) {
        let watchdog = Self::default();
        let pulse = watchdog.pulse(name);
        *pulse.watched.progress.lock().unwrap_or_else(PoisonError::into_inner) -= ago;
        (watchdog, pulse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_was_frozen_starts_afresh() {
        let (watchdog, _pulse) = Watchdog::over_a_loop("frozen", END_AFTER);
        watchdog.looked_after(LOOK);
        assert!(watchdog.stuck(NOT_READY_AFTER).is_some());
        watchdog.looked_after(END_AFTER);
        assert_eq!(watchdog.stuck(NOT_READY_AFTER), None);
    }

    #[test]
    fn a_step_may_take_what_it_was_expected_to() {
        let (watchdog, pulse) = Watchdog::over_a_loop("slow", NOT_READY_AFTER);
        pulse.expect(END_AFTER);
        assert_eq!(watchdog.stuck(Duration::ZERO), None);
    }

    #[test]
    fn the_process_ends_for_a_loop_that_stands_still_for_long() {
        let (watchdog, _pulse) = Watchdog::over_a_loop("hanging", END_AFTER);
        let (sender, mut receiver) = oneshot::channel();
        assert!(watchdog.look(sender));
        assert_eq!(receiver.try_recv().map(|stuck| stuck.name), Ok("hanging"));

        let (watchdog, _pulse) = Watchdog::over_a_loop("slow", NOT_READY_AFTER);
        let (sender, receiver) = oneshot::channel();
        drop(receiver);
        assert!(!watchdog.look(sender), "the service has ended already");
    }

    #[test]
    fn the_loop_that_stands_still_is_named() {
        let (watchdog, hanging) = Watchdog::over_a_loop("hanging", NOT_READY_AFTER);
        let lively = watchdog.pulse("lively");
        let stuck = || watchdog.stuck(NOT_READY_AFTER).map(|stuck| stuck.name);
        assert_eq!(stuck(), Some("hanging"));
        drop(hanging);
        assert_eq!(stuck(), None);
        drop(lively);
    }
}
