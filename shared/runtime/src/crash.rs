//! Places at which a process can be told to kill itself, to show that a crash there loses nothing.

use std::{
    convert::Infallible,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

/// A named point, and how often it is passed before the process dies there.
#[derive(Debug, Clone, Default)]
pub struct CrashPoint {
    name: String,
    passes: Arc<AtomicU32>,
}

impl CrashPoint {
    /// Kills this process by SIGKILL, with no chance to tidy up, when this is the point and its turn.
    pub fn pass(&self, point: &str) {
        if self.name == point && self.passes.fetch_sub(1, Ordering::Relaxed) == 1 {
            tracing::error!(point, "crashing, as told by --crash-at");
            if nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::SIGKILL).is_err()
            {
                std::process::abort();
            }
        }
    }
}

impl FromStr for CrashPoint {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let (name, passes) = text
            .split_once(':')
            .and_then(|(name, passes)| Some((name, passes.parse().ok()?)))
            .unwrap_or((text, 1));
        Ok(Self { name: name.to_owned(), passes: Arc::new(AtomicU32::new(passes)) })
    }
}
