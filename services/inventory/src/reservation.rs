//! The domain of reservations: what becomes of an order's goods, as a pure state machine keyed by the order's id.
//!
//! Facts arrive late, twice and in any order. Every pair of state and fact is handled, ignored or refused on purpose.

use std::collections::BTreeMap;

use contracts::{Line, OrderId, Shortage};
use serde::{Deserialize, Serialize};

use crate::catalogue::Stock;

mod shelf;

pub use shelf::Shelf;

/// What has become of an order's goods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing is known of the order yet. No transaction leaves a reservation in this state.
    New,
    /// All lines are put aside.
    Reserved,
    /// Something was missing; nothing is put aside.
    Rejected,
    /// Nothing is put aside any more and never will be; also for an order whose cancellation came before its placement.
    Released,
    /// The goods have left.
    Shipped,
    /// A call asked for the release of an order that was unknown, and nothing was announced of it: perhaps there is none. If it comes,
    /// nothing is reserved for it.
    Barred,
}

impl State {
    /// The name as it is in the database and in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Reserved => "reserved",
            Self::Rejected => "rejected",
            Self::Released => "released",
            Self::Shipped => "shipped",
            Self::Barred => "barred",
        }
    }
}

/// A stored state that is none.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no state of a reservation")]
pub struct UnknownState(String);

impl TryFrom<String> for State {
    type Error = UnknownState;

    fn try_from(text: String) -> Result<Self, UnknownState> {
        [Self::New, Self::Reserved, Self::Rejected, Self::Released, Self::Shipped, Self::Barred]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(UnknownState(text))
    }
}

/// How many of which SKU; each SKU once, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lines(pub BTreeMap<String, u32>);

impl From<&[Line]> for Lines {
    /// The lines of a message. It should name no SKU twice; if it does, what counts is the sum.
    fn from(lines: &[Line]) -> Self {
        let mut sums = BTreeMap::new();
        for line in lines {
            let sum: &mut u32 = sums.entry(line.sku.clone()).or_default();
            *sum = sum.saturating_add(line.quantity);
        }
        Self(sums)
    }
}

impl TryFrom<String> for Lines {
    type Error = serde_json::Error;

    fn try_from(text: String) -> Result<Self, serde_json::Error> {
        serde_json::from_str(&text)
    }
}

/// What becomes of one order's goods.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Reservation {
    /// The order.
    pub order_id: OrderId,
    /// How far it is.
    #[sqlx(try_from = "String")]
    pub state: State,
    /// What was ordered; empty for an order that was cancelled before it was placed.
    #[sqlx(try_from = "String")]
    pub lines: Lines,
}

/// What happened to an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// It was placed, with these lines.
    Placed(Lines),
    /// It was paid, and its goods are reserved: they leave.
    Confirmed,
    /// It will not be fulfilled.
    Cancelled,
    /// A call wants its goods put back. Its caller has the answer.
    ReleaseCalled,
}

/// What is to be told to the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Announcement {
    /// All lines are put aside.
    Reserved,
    /// Something was missing, so nothing is put aside.
    Rejected(Vec<Shortage>),
    /// Nothing is put aside any more, and never will be.
    Released,
}

/// A fact that can't be true, given what happened before. It needs a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The order service said something that doesn't follow from what this one told it.
    #[error("order {order_id} can't be {fact}: its goods are {}", state.as_str())]
    Contradiction {
        /// The order.
        order_id: OrderId,
        /// How far its goods are.
        state: State,
        /// What was said.
        fact: &'static str,
    },
    /// The stock has fewer reserved than this reservation has put aside: the books are wrong.
    #[error("order {order_id} has put aside more of {sku} than is reserved")]
    Books {
        /// The order.
        order_id: OrderId,
        /// The product.
        sku: String,
    },
}

/// Applies a fact to an order's reservation and to the stock.
///
/// The shelf must hold the stock of every SKU in the reservation and in the fact; one that it doesn't hold counts as
/// unknown, so it can't be had. Returns what is to be announced; nothing when the fact changes nothing.
///
/// # Errors
/// When the fact contradicts the state. Nothing has changed then.
pub fn apply(
    reservation: &mut Reservation,
    fact: &Fact,
    shelf: &mut Shelf,
) -> Result<Option<Announcement>, Refusal> {
    let (order_id, state) = (reservation.order_id, reservation.state);
    let contradiction = |fact| Err(Refusal::Contradiction { order_id, state, fact });
    let books = |sku: String| Refusal::Books { order_id, sku };
    let (next, announcement) = match (state, fact) {
        (State::New, Fact::Placed(lines)) => {
            reservation.lines = lines.clone();
            match shelf.reserve(lines) {
                Ok(()) => (State::Reserved, Announcement::Reserved),
                Err(shortages) => (State::Rejected, Announcement::Rejected(shortages)),
            }
        }
        // The tombstone: the placement that comes after it reserves nothing.
        (State::New | State::Barred, Fact::Cancelled) => (State::Released, Announcement::Released),
        (State::New, Fact::ReleaseCalled) => {
            reservation.state = State::Barred;
            return Ok(None);
        }
        (State::Reserved, Fact::Cancelled | Fact::ReleaseCalled) => {
            shelf.release(&reservation.lines).map_err(books)?;
            (State::Released, Announcement::Released)
        }
        (State::Reserved, Fact::Confirmed) => {
            shelf.ship(&reservation.lines).map_err(books)?;
            reservation.state = State::Shipped;
            return Ok(None);
        }
        // Whoever cancels a rejected order knows that nothing is put aside.
        (State::Rejected, Fact::Cancelled | Fact::ReleaseCalled)
        // Repetitions, and the placement that comes after the cancellation.
        | (
            State::Reserved | State::Rejected | State::Released | State::Shipped | State::Barred,
            Fact::Placed(_),
        )
        | (State::Released, Fact::Cancelled | Fact::ReleaseCalled)
        | (State::Barred, Fact::ReleaseCalled)
        | (State::Shipped, Fact::Confirmed) => return Ok(None),
        // An order is confirmed after its goods are reserved, and never cancelled after that.
        (State::New | State::Rejected | State::Released | State::Barred, Fact::Confirmed) => {
            return contradiction("confirmed");
        }
        (State::Shipped, Fact::Cancelled | Fact::ReleaseCalled) => {
            return contradiction("cancelled");
        }
    };
    reservation.state = next;
    Ok(Some(announcement))
}

#[cfg(test)]
mod tests;
