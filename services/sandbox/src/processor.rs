//! The card processor: takes charges, declines them, gives them back, and keeps the truth about money.

mod charge;
mod http;
mod ledger;
mod ledger_http;
mod statement;
mod turn;

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use contracts::Timestamp;
use uuid::Uuid;

use crate::{
    faults::ProcessorFaults,
    journal::{self, Journal, JournalError},
};
use charge::{Charge, Key, Outcome, Reason, Receipt};
use ledger::{Decision, KeyReused, Ledger};

/// All routes of the card processor.
pub(crate) fn routes() -> utoipa_axum::router::OpenApiRouter<crate::Sandbox> {
    http::routes().merge(ledger_http::routes())
}

/// Tokens of test cards that are always declined.
const DECLINED: [(&str, Reason); 2] =
    [("tok_declined", Reason::CardDeclined), ("tok_insufficient_funds", Reason::InsufficientFunds)];

/// The card processor's books: the ledger in memory, and the journal that it is rebuilt from.
#[derive(Debug)]
pub(crate) struct Processor(Mutex<Books>);

#[derive(Debug)]
struct Books {
    ledger: Ledger,
    journal: Journal,
}

/// Why a charge got no receipt.
#[derive(Debug, thiserror::Error)]
enum ChargeError {
    /// The caller's mistake.
    #[error(transparent)]
    KeyReused(#[from] KeyReused),
    /// Ours.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Processor {
    /// Opens the books in the data folder.
    ///
    /// # Errors
    /// When the journal can't be opened or read.
    pub(crate) fn open(data: &Path) -> Result<Self, JournalError> {
        let mut ledger = Ledger::default();
        let journal = Journal::open(&data.join("ledger.jsonl"), |change, _| ledger.apply(change))?;
        Ok(Self(Mutex::new(Books { ledger, journal })))
    }

    /// Charges the card, or says again what came of it the first time. Two calls with one key, however close,
    /// charge once: decision, journal and ledger change under one lock.
    fn charge(
        &self,
        key: Key,
        charge: Charge,
        faults: &ProcessorFaults,
    ) -> Result<Receipt, ChargeError> {
        let mut books = self.books();
        let decline = decline(&charge.card_token, faults);
        let (id, at) = (Uuid::now_v7(), Timestamp::now());
        let decision = books.ledger.charge(key, charge, decline, id, at)?;
        Ok(books.carry_out(decision)?)
    }

    /// Undoes the charge with this key, whether it was made, declined, or is still to come.
    fn reverse(&self, key: Key) -> Result<Outcome, JournalError> {
        let mut books = self.books();
        let decision = books.ledger.reverse(key, Uuid::now_v7(), Timestamp::now());
        books.carry_out(decision)
    }

    // The lock is held for microseconds and never across an await. A panic under it (there is none) would leave
    // either the old or the new state, both whole.
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn carry_out<A>(&mut self, decision: Decision<A>) -> Result<A, JournalError> {
        if let Some(change) = decision.change {
            self.journal.append(&journal::line(&change)?)?;
            self.ledger.apply(change);
        }
        Ok(decision.answer)
    }
}

fn decline(card_token: &str, faults: &ProcessorFaults) -> Option<Reason> {
    let always = DECLINED.iter().find(|(token, _)| *token == card_token);
    always
        .map(|(_, reason)| *reason)
        .or_else(|| faults.declines(card_token).then_some(Reason::CardDeclined))
}
