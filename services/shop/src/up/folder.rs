//! The data folder: what this program puts there, and that it belongs to one `shop up` at a time.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::plan::SERVICES;
use crate::place::BROKER;

/// The sandbox's files, in its own folder.
const JOURNALS: [&str; 2] = ["ledger.jsonl", "mails.jsonl"];

/// A data folder that nobody else uses for as long as this lives.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    _lock: File,
}

/// What `shop.json` says of a service.
#[derive(Debug, Serialize)]
pub(crate) struct Running {
    /// The id of its process.
    pub(crate) pid: u32,
    /// Where it serves HTTP.
    pub(crate) url: String,
}

impl Folder {
    /// Makes the folder if it is missing, and takes it.
    ///
    /// # Errors
    /// When it can't be written, or another `shop up` uses it.
    pub(crate) fn lock(path: &Path) -> anyhow::Result<Self> {
        let make = || -> io::Result<File> {
            std::fs::create_dir_all(path.join("logs"))?;
            OpenOptions::new().create(true).append(true).open(path.join("shop.lock"))
        };
        let lock = make().with_context(|| format!("can't use the folder {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "another `shop up` uses the folder {}; choose another with --data",
                    path.display()
                )
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("can't lock {}", path.display()));
            }
        }
        let folder = Self { path: path.to_owned(), _lock: lock };
        folder.forget()?;
        Ok(folder)
    }

    /// A file in the folder.
    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Where the output of a service goes.
    pub(crate) fn log(&self, service: &str) -> PathBuf {
        self.path.join("logs").join(format!("{service}.log"))
    }

    /// Removes the data and logs of before: the files that this program makes, and no other.
    ///
    /// # Errors
    /// When one can't be removed.
    pub(crate) fn empty(&self) -> anyhow::Result<()> {
        for name in SERVICES.into_iter().chain([BROKER]) {
            for ending in ["db", "db-wal", "db-shm", "db-journal"] {
                remove(&self.path.join(format!("{name}.{ending}")))?;
            }
            remove(&self.log(name))?;
        }
        for name in JOURNALS {
            remove(&self.path.join("sandbox").join(name))?;
        }
        Ok(())
    }

    /// Writes down what runs, for scripts: `{"order": {"pid": 4711, "url": "http://…"}, …}`.
    ///
    /// # Errors
    /// When the file can't be written.
    pub(crate) fn write_down(&self, running: &BTreeMap<&str, Running>) -> io::Result<()> {
        let new = self.join("shop.json.new");
        std::fs::write(&new, serde_json::to_vec_pretty(running)?)?;
        std::fs::rename(new, self.join("shop.json"))
    }

    /// Removes what [`write_down`](Self::write_down) wrote.
    ///
    /// # Errors
    /// When it can't be removed.
    pub(crate) fn forget(&self) -> anyhow::Result<()> {
        remove(&self.join("shop.json"))
    }
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("can't remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
