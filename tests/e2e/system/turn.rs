//! Which tests run side by side: all but those that measure.

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

static MACHINE: RwLock<()> = RwLock::const_new(());

/// The machine, for as long as a test's system runs on it.
#[expect(dead_code, reason = "held, not read")]
pub(super) enum Turn {
    /// Beside other tests' systems.
    Beside(RwLockReadGuard<'static, ()>),
    /// With no other test's system: its load would be measured too.
    Alone(RwLockWriteGuard<'static, ()>),
}

impl Turn {
    /// Waits for the machine. A test that has it must not wait for it a second time.
    pub(super) async fn wait(alone: bool) -> Self {
        if alone { Self::Alone(MACHINE.write().await) } else { Self::Beside(MACHINE.read().await) }
    }
}
