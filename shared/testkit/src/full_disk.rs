//! A disk of a few megabytes that a test can fill.

use std::{fs::File, io::Write as _, path::PathBuf, process::Command};

use crate::servers::{skipped, temporary_folder};

/// A file system of a test's own, in memory; it goes when this is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    /// Where it is.
    pub folder: PathBuf,
}

impl SmallDisk {
    /// One of this size; none, and a line on stderr, without the permission to mount it.
    ///
    /// # Panics
    /// When there is no folder for it.
    #[must_use]
    pub fn new(mebibytes: u32) -> Option<Self> {
        let folder = temporary_folder();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "none"])
            .arg(&folder)
            .status();
        if !mount.is_ok_and(|status| status.success()) {
            skipped("a full disk (this user may not mount one)");
            drop(std::fs::remove_dir_all(&folder));
            return None;
        }
        Some(Self { folder })
    }

    /// Takes all the space that is left.
    ///
    /// # Panics
    /// When there is another error than that.
    pub fn fill(&self) {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(self.ballast())
            .expect("a file on the disk");
        for piece in [64 * 1024, 4 * 1024, 1] {
            while file.write_all(&vec![1; piece]).is_ok() {}
        }
    }

    /// Frees what [`fill`](Self::fill) took.
    ///
    /// # Panics
    /// When it took nothing.
    pub fn free(&self) {
        std::fs::remove_file(self.ballast()).expect("the disk was filled");
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: what a failed test has left open must not keep it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
