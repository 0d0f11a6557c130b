//! The journal: an append-only file of JSON lines, the durable half of a state that is kept in memory.
//!
//! Each entry is one `write` before its effect is visible to anybody. It isn't synced: what was written
//! survives the death of the process (the page cache is the kernel's), not the loss of power. For a sandbox
//! that is the right price: it shares its machine with the benchmarks that it serves.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Serialize, de::DeserializeOwned};

/// Why a journal can't be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The journal.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Another process writes to it.
    #[error("{} is in use by another process; choose another folder with --data", .0.display())]
    InUse(PathBuf),
    /// A whole line that is no entry: the file was changed by somebody else.
    #[error("{}, line {line}: {source}; move the file away to start empty", path.display())]
    Corrupt {
        /// The journal.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// An entry that can't be written as JSON.
    #[error("can't write the entry as JSON")]
    Encode(#[from] serde_json::Error),
    /// An earlier write failed halfway and couldn't be taken back.
    #[error("{} is damaged by an earlier failure to write; restart the sandbox", .0.display())]
    Damaged(PathBuf),
}

/// Where an entry lies in its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Bytes from the start of the file.
    pub(crate) offset: u64,
    /// Bytes, without the newline.
    pub(crate) length: u32,
}

/// The writing end. There is one per file, across all processes.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: Arc<File>,
    /// The length of the file in bytes: all whole entries.
    end: u64,
    damaged: bool,
}

/// The reading end: works beside the writer, and goes on to see the old entries after [`Journal::clear`].
#[derive(Debug, Clone)]
pub(crate) struct Reader(Arc<File>);

/// An entry as the line that [`Journal::append`] takes; made apart, so that it costs no time under a lock.
///
/// # Errors
/// When the entry can't be written as JSON.
pub(crate) fn line(entry: &impl Serialize) -> Result<Vec<u8>, JournalError> {
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    Ok(line)
}

impl Journal {
    /// Opens or creates the file, hands every entry to `replay` in the order of writing, and cuts off a last line
    /// that a killed process left unfinished.
    ///
    /// # Errors
    /// When the file can't be read, is in use, or holds a whole line that is no entry.
    pub(crate) fn open<E: DeserializeOwned>(
        path: &Path,
        replay: impl FnMut(E, Span),
    ) -> Result<Self, JournalError> {
        let file = open_locked(path)?;
        let end = replay_entries(path, &file, replay)?;
        let failed = |source| JournalError::Io { path: path.to_owned(), source };
        if file.metadata().map_err(failed)?.len() > end {
            tracing::warn!(journal = %path.display(), "cut off an unfinished last line");
            file.set_len(end).map_err(failed)?;
        }
        Ok(Self { path: path.to_owned(), file: Arc::new(file), end, damaged: false })
    }

    /// Writes one entry, made by [`line`]: all of it, or nothing.
    ///
    /// # Errors
    /// When the disk is full or gone.
    pub(crate) fn append(&mut self, line: &[u8]) -> Result<Span, JournalError> {
        if self.damaged {
            return Err(JournalError::Damaged(self.path.clone()));
        }
        if let Err(source) = (&*self.file).write_all(line) {
            // Half a line would spoil the next one.
            self.damaged = self.file.set_len(self.end).is_err();
            return Err(JournalError::Io { path: self.path.clone(), source });
        }
        let length = u32::try_from(line.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let span = Span { offset: self.end, length };
        self.end += line.len() as u64;
        Ok(span)
    }

    /// Starts again with an empty file.
    ///
    /// # Errors
    /// When the file system refuses; the journal is as before, or empty and only then lost.
    pub(crate) fn clear(&mut self) -> Result<(), JournalError> {
        // A new file instead of a shorter one: readers of the old one see whole entries to the end.
        std::fs::remove_file(&self.path)
            .map_err(|source| JournalError::Io { path: self.path.clone(), source })?;
        self.damaged = true;
        self.file = Arc::new(open_locked(&self.path)?);
        self.end = 0;
        self.damaged = false;
        Ok(())
    }

    /// A reading end of the present file.
    pub(crate) fn reader(&self) -> Reader {
        Reader(Arc::clone(&self.file))
    }
}

impl Reader {
    /// The bytes of one entry.
    ///
    /// # Errors
    /// When the file can't be read there.
    pub(crate) fn read(&self, span: Span) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; span.length as usize];
        self.0.read_exact_at(&mut bytes, span.offset)?;
        Ok(bytes)
    }
}

fn open_locked(path: &Path) -> Result<File, JournalError> {
    let file = OpenOptions::new().read(true).append(true).create(true).open(path);
    let file = file.map_err(|source| JournalError::Io { path: path.to_owned(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(JournalError::InUse(path.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => {
            Err(JournalError::Io { path: path.to_owned(), source })
        }
    }
}

/// Returns where the last whole line ends.
fn replay_entries<E: DeserializeOwned>(
    path: &Path,
    file: &File,
    mut replay: impl FnMut(E, Span),
) -> Result<u64, JournalError> {
    let mut lines = BufReader::with_capacity(64 * 1024, file);
    let mut line = Vec::new();
    let mut end = 0;
    for number in 1.. {
        line.clear();
        let read = lines.read_until(b'\n', &mut line);
        read.map_err(|source| JournalError::Io { path: path.to_owned(), source })?;
        let Some(json) = line.strip_suffix(b"\n") else { break };
        let entry = serde_json::from_slice(json);
        let entry = entry.map_err(|source| JournalError::Corrupt {
            path: path.to_owned(),
            line: number,
            source,
        })?;
        let length = u32::try_from(json.len()).unwrap_or(u32::MAX);
        replay(entry, Span { offset: end, length });
        end += line.len() as u64;
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> PathBuf {
        std::env::temp_dir().join(format!("sandbox-journal-{}.jsonl", uuid::Uuid::now_v7()))
    }

    fn open(path: &Path) -> Result<(Journal, Vec<String>), JournalError> {
        let mut entries = Vec::new();
        let journal = Journal::open(path, |entry: String, _| entries.push(entry))?;
        Ok((journal, entries))
    }

    fn append(journal: &mut Journal, entry: &str) -> Span {
        journal.append(&line(&entry).unwrap()).unwrap()
    }

    #[test]
    fn entries_come_back_in_order_and_by_their_span() {
        let path = path();
        let (mut journal, _) = open(&path).unwrap();
        append(&mut journal, "one");
        let span = append(&mut journal, "two\nlines");
        assert_eq!(journal.reader().read(span).unwrap(), br#""two\nlines""#);
        drop(journal);

        let (mut journal, entries) = open(&path).unwrap();
        assert_eq!(entries, ["one", "two\nlines"]);
        let span = append(&mut journal, "three");
        assert_eq!(journal.reader().read(span).unwrap(), br#""three""#);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn an_unfinished_last_line_is_cut_off() {
        let path = path();
        std::fs::write(&path, "\"one\"\n\"tw").unwrap();
        let (mut journal, entries) = open(&path).unwrap();
        assert_eq!(entries, ["one"]);
        append(&mut journal, "two");
        drop(journal);
        assert_eq!(open(&path).unwrap().1, ["one", "two"]);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_whole_line_that_is_no_entry_is_named_not_skipped() {
        let path = path();
        std::fs::write(&path, "\"one\"\nnonsense\n\"three\"\n").unwrap();
        assert!(matches!(open(&path).unwrap_err(), JournalError::Corrupt { line: 2, .. }));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_second_writer_is_refused() {
        let path = path();
        let first = open(&path).unwrap();
        assert!(matches!(open(&path).unwrap_err(), JournalError::InUse(_)));
        drop(first);
        open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn readers_see_the_old_entries_after_clear() {
        let path = path();
        let (mut journal, _) = open(&path).unwrap();
        let span = append(&mut journal, "old");
        let reader = journal.reader();
        journal.clear().unwrap();
        append(&mut journal, "new");
        assert_eq!(reader.read(span).unwrap(), br#""old""#);
        drop(journal);
        assert_eq!(open(&path).unwrap().1, ["new"]);
        std::fs::remove_file(path).unwrap();
    }
}
