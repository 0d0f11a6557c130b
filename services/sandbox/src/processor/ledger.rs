//! The ledger: what was charged under which key, declined, refunded and blocked. Pure: it decides and remembers;
//! [`Processor`](super::Processor) writes the decisions down.

use std::{collections::HashMap, sync::Arc};

use contracts::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    charge::{Charge, ChargeId, Key, Outcome, Reason, Receipt},
    statement::{Entry, Totals},
};

/// A change of the ledger, as it stands in the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    /// Money was taken.
    Charged { key: Key, id: ChargeId, charge: Charge, at: Timestamp },
    /// Money wasn't taken; the key is spent.
    Declined { key: Key, id: ChargeId, charge: Charge, reason: Reason, at: Timestamp },
    /// What was taken under the key was given back.
    Refunded { key: Key, at: Timestamp },
    /// The key was blocked before any charge; `id` is for the charges that come too late.
    Voided { key: Key, id: ChargeId, at: Timestamp },
}

/// What the ledger answers, and the change that has to be written down and applied before anybody hears it.
#[derive(Debug)]
pub(super) struct Decision<A> {
    pub(super) answer: A,
    /// None when the answer was given before.
    pub(super) change: Option<Change>,
}

impl<A> Decision<A> {
    fn again(answer: A) -> Self {
        Self { answer, change: None }
    }

    fn new(answer: A, change: Change) -> Self {
        Self { answer, change: Some(change) }
    }
}

/// The key was used for another charge.
#[derive(Debug, thiserror::Error)]
#[error("this Idempotency-Key was used for another charge; send the same body, or a new key")]
pub(super) struct KeyReused;

/// What a key stands for.
#[derive(Debug)]
enum Standing {
    /// The index of an entry.
    Charged(usize),
    Declined(Box<(Charge, Receipt)>),
    Voided(ChargeId),
}

/// The entries of one reference form a chain from the newest back.
#[derive(Debug, Default)]
struct Chain {
    newest: Option<usize>,
    /// How many of them are not refunded.
    open: u64,
}

/// A charge that was made.
#[derive(Debug)]
struct Account {
    key: Key,
    id: ChargeId,
    charge: Charge,
    at: Timestamp,
    refunded_at: Option<Timestamp>,
    /// The charge before it with the same reference.
    previous: Option<usize>,
}

/// Everything that was ever charged, declined and reversed.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    keys: HashMap<Key, Standing>,
    accounts: Vec<Account>,
    references: HashMap<Arc<str>, Chain>,
    totals: Totals,
}

impl Ledger {
    /// What a charge with this key comes to. `decline` is the reason to decline it, if it is new; `id` and `at` are
    /// for it then.
    pub(super) fn charge(
        &self,
        key: Key,
        charge: Charge,
        decline: Option<Reason>,
        id: Uuid,
        at: Timestamp,
    ) -> Result<Decision<Receipt>, KeyReused> {
        let id = ChargeId(id);
        let (known, receipt) = match self.keys.get(&key) {
            None => {
                return Ok(match decline {
                    None => Decision::new(
                        Receipt::succeeded(id),
                        Change::Charged { key, id, charge, at },
                    ),
                    Some(reason) => Decision::new(
                        Receipt::declined(id, reason),
                        Change::Declined { key, id, charge, reason, at },
                    ),
                });
            }
            Some(Standing::Voided(id)) => {
                return Ok(Decision::again(Receipt::declined(*id, Reason::Reversed)));
            }
            Some(Standing::Charged(index)) => {
                let account = &self.accounts[*index];
                (&account.charge, Receipt::succeeded(account.id))
            }
            Some(Standing::Declined(declined)) => (&declined.0, declined.1.clone()),
        };
        if *known == charge { Ok(Decision::again(receipt)) } else { Err(KeyReused) }
    }

    /// What undoing the charge with this key comes to. `id` is for a charge that may come later.
    pub(super) fn reverse(&self, key: Key, id: Uuid, at: Timestamp) -> Decision<Outcome> {
        match self.keys.get(&key) {
            None => Decision::new(Outcome::Voided, Change::Voided { key, id: ChargeId(id), at }),
            Some(Standing::Voided(_) | Standing::Declined(_)) => Decision::again(Outcome::Voided),
            Some(Standing::Charged(index)) if self.accounts[*index].refunded_at.is_some() => {
                Decision::again(Outcome::Refunded)
            }
            Some(Standing::Charged(_)) => {
                Decision::new(Outcome::Refunded, Change::Refunded { key, at })
            }
        }
    }

    /// Makes a decision true.
    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Charged { key, id, charge, at } => self.charged(key, id, charge, at),
            Change::Declined { key, id, charge, reason, .. } => {
                let receipt = Receipt::declined(id, reason);
                self.keys.insert(key, Standing::Declined(Box::new((charge, receipt))));
            }
            Change::Refunded { key, at } => self.refunded(&key, at),
            Change::Voided { key, id, .. } => {
                self.keys.insert(key, Standing::Voided(id));
            }
        }
    }

    fn charged(&mut self, key: Key, id: ChargeId, charge: Charge, at: Timestamp) {
        let index = self.accounts.len();
        let chain = self.references.entry(Arc::clone(&charge.reference)).or_default();
        let previous = chain.newest.replace(index);
        chain.open += 1;
        self.totals.charged_twice += u64::from(chain.open == 2);
        self.totals.charge(&charge);
        self.keys.insert(key.clone(), Standing::Charged(index));
        self.accounts.push(Account { key, id, charge, at, refunded_at: None, previous });
    }

    fn refunded(&mut self, key: &Key, at: Timestamp) {
        let Some(Standing::Charged(index)) = self.keys.get(key) else { return };
        let account = &mut self.accounts[*index];
        if account.refunded_at.replace(at).is_some() {
            return;
        }
        if let Some(chain) = self.references.get_mut(&account.charge.reference) {
            chain.open -= 1;
            self.totals.charged_twice -= u64::from(chain.open == 1);
        }
        self.totals.refund(&account.charge);
    }

    /// What all entries come to.
    pub(super) fn totals(&self) -> Totals {
        self.totals.clone()
    }

    /// Some of all entries, oldest first.
    pub(super) fn entries(&self, offset: usize, limit: usize) -> Vec<Entry> {
        self.accounts.iter().skip(offset).take(limit).map(Entry::from).collect()
    }

    /// All entries of one reference, oldest first, and what they come to.
    pub(super) fn of(&self, reference: &str) -> (Vec<Entry>, Totals) {
        let mut totals = Totals::default();
        let mut entries = Vec::new();
        let chain = self.references.get(reference);
        let mut next = chain.and_then(|chain| chain.newest);
        while let Some(account) = next.and_then(|index| self.accounts.get(index)) {
            entries.push(Entry::from(account));
            totals.charge(&account.charge);
            if account.refunded_at.is_some() {
                totals.refund(&account.charge);
            }
            next = account.previous;
        }
        totals.charged_twice = u64::from(chain.is_some_and(|chain| chain.open > 1));
        entries.reverse();
        (entries, totals)
    }
}

impl From<&Account> for Entry {
    fn from(account: &Account) -> Self {
        Self {
            key: account.key.clone(),
            charge_id: account.id,
            reference: Arc::clone(&account.charge.reference),
            amount: account.charge.amount,
            currency: account.charge.currency.clone(),
            at: account.at,
            refunded_at: account.refunded_at,
        }
    }
}

#[cfg(test)]
mod tests;
