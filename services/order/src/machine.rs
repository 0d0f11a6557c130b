//! The choreographed order as a state machine: pure, exhaustive, and indifferent to the order in which facts arrive.
//!
//! What is known of the payment and of the stock only ever grows; the order's status follows from it.

use contracts::Cancellation;

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Status {
    /// Accepted; payment and inventory are at work.
    Placed,
    /// Paid and reserved.
    Confirmed,
    /// It will not be fulfilled.
    Cancelled(Cancellation),
}

/// What is known of the payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Payment {
    /// Nothing yet.
    Unknown,
    /// The card was charged.
    Taken,
    /// The card was declined: nothing was charged, nothing will be.
    Declined,
    /// What was charged was given back.
    Refunded,
    /// Certainly nothing was charged, and nothing will be.
    Voided,
}

/// What is known of the goods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Stock {
    /// Nothing yet.
    Unknown,
    /// All lines are put aside.
    Reserved,
    /// Something was missing: nothing is put aside, nothing will be.
    Rejected,
    /// Nothing is put aside any more, nothing will be.
    Released,
}

/// An order's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// Where it stands.
    pub(crate) status: Status,
    /// What is known of the payment.
    pub(crate) payment: Payment,
    /// What is known of the goods.
    pub(crate) stock: Stock,
}

/// What can happen to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fact {
    /// Payment says what became of the charge.
    Payment(Payment),
    /// Inventory says what became of the goods.
    Stock(Stock),
    /// The customer wants it cancelled.
    CancelRequested,
    /// Its time is up.
    DeadlinePassed,
}

/// What a fact leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// The state afterwards.
    pub(crate) state: State,
    /// What has just been decided, to be announced; none when nothing was.
    pub(crate) decided: Option<Status>,
}

/// Why a fact is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// The customer can't cancel what is confirmed.
    #[error("the order is confirmed, and can't be cancelled any more")]
    TooLate,
    /// It can't be true together with what is known: somebody's books are wrong, and a person must look.
    #[error("{fact:?} contradicts {state:?}")]
    Contradiction {
        /// What is known.
        state: State,
        /// What was said.
        fact: Fact,
    },
}

impl State {
    /// A new order.
    pub(crate) const PLACED: Self =
        Self { status: Status::Placed, payment: Payment::Unknown, stock: Stock::Unknown };

    /// Whether nothing is left to happen: confirmed, or cancelled with everything undone.
    #[must_use]
    pub(crate) const fn is_settled(self) -> bool {
        match self.status {
            Status::Placed => false,
            Status::Confirmed => true,
            Status::Cancelled(_) => {
                matches!(self.payment, Payment::Declined | Payment::Refunded | Payment::Voided)
                    && matches!(self.stock, Stock::Rejected | Stock::Released)
            }
        }
    }

    /// What a fact leads to.
    ///
    /// # Errors
    /// When the fact is refused; the state is then as it was.
    pub(crate) fn step(self, fact: Fact) -> Result<Step, Refused> {
        let contradiction = Refused::Contradiction { state: self, fact };
        let known = match fact {
            Fact::Payment(news) => {
                Self { payment: self.payment.learn(news).ok_or(contradiction)?, ..self }
            }
            Fact::Stock(news) => {
                Self { stock: self.stock.learn(news).ok_or(contradiction)?, ..self }
            }
            Fact::CancelRequested | Fact::DeadlinePassed => self,
        };
        let decided = match (known.status, fact) {
            (Status::Placed, Fact::CancelRequested) => {
                Some(Status::Cancelled(Cancellation::Customer))
            }
            (Status::Placed, Fact::DeadlinePassed) => {
                Some(Status::Cancelled(Cancellation::Deadline))
            }
            (Status::Placed, Fact::Payment(_) | Fact::Stock(_)) => {
                known.conclude().ok_or(contradiction)?
            }
            (Status::Confirmed, Fact::CancelRequested) => return Err(Refused::TooLate),
            // Undone without a cancellation: nobody was told to.
            (Status::Confirmed, Fact::Payment(_) | Fact::Stock(_)) if known != self => {
                return Err(contradiction);
            }
            (Status::Confirmed, _) | (Status::Cancelled(_), _) => None,
        };
        let state = Self { status: decided.unwrap_or(known.status), ..known };
        Ok(Step { state, decided })
    }

    /// What a placed order comes to, now that this is known: `Some(None)` while it is open, none when it can't be.
    const fn conclude(self) -> Option<Option<Status>> {
        match (self.payment, self.stock) {
            (Payment::Declined, _) => Some(Some(Status::Cancelled(Cancellation::PaymentDeclined))),
            (_, Stock::Rejected) => Some(Some(Status::Cancelled(Cancellation::StockRejected))),
            (Payment::Taken, Stock::Reserved) => Some(Some(Status::Confirmed)),
            // Undone before it was cancelled: nobody was told to.
            (Payment::Refunded | Payment::Voided, _) | (_, Stock::Released) => None,
            (Payment::Unknown, _) | (_, Stock::Unknown) => Some(None),
        }
    }
}

impl Payment {
    /// What is known after the news; none when both can't be true.
    const fn learn(self, news: Self) -> Option<Self> {
        use Payment::{Declined, Refunded, Taken, Unknown, Voided};
        match (self, news) {
            (known, Unknown) => Some(known),
            (Unknown, news) => Some(news),
            (Taken, Taken) => Some(Taken),
            // `PaymentTaken` may arrive after `PaymentRefunded`: it is older news.
            (Taken | Refunded, Refunded) | (Refunded, Taken) => Some(Refunded),
            // Declined and voided agree: nothing was charged. The first word stands.
            (Declined, Declined | Voided) => Some(Declined),
            (Voided, Voided | Declined) => Some(Voided),
            (Taken | Refunded, Declined | Voided) | (Declined | Voided, Taken | Refunded) => None,
        }
    }
}

impl Stock {
    /// What is known after the news; none when both can't be true.
    const fn learn(self, news: Self) -> Option<Self> {
        use Stock::{Rejected, Released, Reserved, Unknown};
        match (self, news) {
            (known, Unknown) => Some(known),
            (Unknown, news) => Some(news),
            (Reserved, Reserved) => Some(Reserved),
            // `StockReserved` may arrive after `StockReleased`: it is older news.
            (Reserved | Released, Released) | (Released, Reserved) => Some(Released),
            // Rejected and released agree: nothing is put aside. The first word stands.
            (Rejected, Rejected | Released) => Some(Rejected),
            (Released, Rejected) => Some(Released),
            (Reserved, Rejected) | (Rejected, Reserved) => None,
        }
    }
}

#[cfg(test)]
mod tests;
