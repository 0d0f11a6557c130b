//! Where mails are kept: their content in the journal, an index of it in memory.

use std::{
    io,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use contracts::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    index::{Index, Summary, Wanted},
    letter::{Body, Clerk, Heading},
    session::Envelope,
};
use crate::{
    journal::{self, Journal, JournalError, Span},
    page::Page,
};

/// The mails that were taken.
#[derive(Debug)]
pub(crate) struct Mailbox {
    clerk: Clerk,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    index: Index,
    journal: Journal,
}

/// A mail in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Listed {
    /// Its place in the order of arrival, from 1; for `GET /mails/{n}`.
    number: usize,
    #[serde(flatten)]
    heading: Heading,
}

/// A whole mail.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Mail {
    #[serde(flatten)]
    listed: Listed,
    #[serde(flatten)]
    body: Body,
}

impl Mailbox {
    /// Opens the mailbox in the data folder.
    ///
    /// # Errors
    /// When the journal can't be opened or read.
    pub(crate) fn open(data: &Path) -> Result<Self, JournalError> {
        let mut index = Index::default();
        let journal = Journal::open(&data.join("mails.jsonl"), |heading, span| {
            index.push(&heading, span);
        })?;
        Ok(Self { clerk: Clerk::default(), kept: Mutex::new(Kept { index, journal }) })
    }

    /// Keeps a mail that just came.
    ///
    /// # Errors
    /// When the journal can't be written.
    pub(super) fn store(&self, envelope: Envelope, mail: Vec<u8>) -> Result<(), JournalError> {
        let letter = self.clerk.letter(envelope, mail, Timestamp::now());
        let line = journal::line(&letter)?;
        let mut kept = self.kept();
        let span = kept.journal.append(&line)?;
        kept.index.push(&letter.heading, span);
        Ok(())
    }

    /// How many of the wanted mails there are, and one page of them. Reads the disk.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub(super) fn list(&self, wanted: &Wanted, page: Page) -> io::Result<(usize, Vec<Listed>)> {
        let (total, places, reader) = {
            let kept = self.kept();
            let places: Vec<_> = page.of(kept.index.find(wanted)).collect();
            (kept.index.find(wanted).count(), places, kept.journal.reader())
        };
        let listed = places.into_iter().map(|(number, span)| {
            let heading = serde_json::from_slice(&reader.read(span)?)?;
            Ok(Listed { number, heading })
        });
        Ok((total, listed.collect::<io::Result<_>>()?))
    }

    /// The mail with this number. Reads the disk.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub(super) fn mail(&self, number: usize) -> io::Result<Option<Mail>> {
        let place: Option<(Span, journal::Reader)> = {
            let kept = self.kept();
            kept.index.get(number).map(|span| (span, kept.journal.reader()))
        };
        let Some((span, reader)) = place else { return Ok(None) };
        let line = reader.read(span)?;
        let listed = Listed { number, heading: serde_json::from_slice(&line)? };
        Ok(Some(Mail { listed, body: Body::read(&line)? }))
    }

    /// How many there are.
    pub(super) fn summary(&self) -> Summary {
        self.kept().index.summary()
    }

    /// Throws all mails away.
    ///
    /// # Errors
    /// When the journal can't be made anew.
    pub(super) fn clear(&self) -> Result<(), JournalError> {
        let mut kept = self.kept();
        kept.journal.clear()?;
        kept.index = Index::default();
        Ok(())
    }

    // Held for microseconds and never across an await; content is parsed, written as JSON, and read back outside of it.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
