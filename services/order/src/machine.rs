//! An order as a state machine: pure, exhaustive, and indifferent to the order in which facts arrive.
//!
//! What is known of the payment and of the stock only ever grows. What follows from it depends on who coordinates: one file
//! for each.

mod choreography;
mod orchestration;
mod sync;

use contracts::{Cancellation, Coordination};

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Accepted; payment and inventory are at work.
    Placed,
    /// Paid and reserved.
    Confirmed,
    /// It will not be fulfilled.
    Cancelled(Cancellation),
}

/// What is known of the payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Payment {
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
pub enum Stock {
    /// Nothing yet.
    Unknown,
    /// All lines are put aside.
    Reserved,
    /// Something was missing: nothing is put aside, nothing will be.
    Rejected,
    /// Nothing is put aside, any more or ever, and nothing will be.
    Released,
}

/// An order's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    /// Who coordinates.
    pub coordination: Coordination,
    /// Where it stands.
    pub status: Status,
    /// What is known of the payment.
    pub payment: Payment,
    /// What is known of the goods.
    pub stock: Stock,
    /// A person has declared that what could not be undone is dealt with.
    pub resolved: bool,
}

/// Something that the order service has another service do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Inventory puts the goods aside.
    ReserveStock,
    /// Payment charges the card.
    ChargeCard,
    /// Payment gives back what was charged, if anything was.
    RefundPayment,
    /// Inventory puts the goods back, if they were put aside.
    ReleaseStock,
    /// Inventory takes the goods off its books. Only where nobody hears of the confirmation by an event.
    ShipStock,
}

/// What can happen to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fact {
    /// Payment says what became of the charge.
    Payment(Payment),
    /// Inventory says what became of the goods.
    Stock(Stock),
    /// The customer wants it cancelled.
    CancelRequested,
    /// Its time is up.
    DeadlinePassed,
    /// Whoever was asked to do something has not answered in time. It is possibly done.
    StepTimedOut,
    /// Every call that the order needs has succeeded.
    CallsDone,
    /// A call has failed, or was refused.
    CallFailed(Cancellation),
    /// A person has dealt with what could not be undone.
    Resolved,
}

/// What a fact leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// The state afterwards.
    pub state: State,
    /// What has just been decided, to be announced; none when nothing was.
    pub decided: Option<Status>,
    /// What another service is to be told to do now.
    pub ask: Option<Step>,
}

/// Why a fact is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The customer can't cancel what is confirmed.
    #[error("the order is confirmed, and can't be cancelled any more")]
    TooLate,
    /// The customer can't cancel what is still being answered.
    #[error("the order's checkout is still being answered")]
    InProgress,
    /// Only what is cancelled, and not undone yet, can be resolved.
    #[error("nothing of this order waits to be undone")]
    NothingToResolve,
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
    #[must_use]
    pub const fn placed(coordination: Coordination) -> Self {
        Self {
            coordination,
            status: Status::Placed,
            payment: Payment::Unknown,
            stock: Stock::Unknown,
            resolved: false,
        }
    }

    /// Whether nothing is left to happen: confirmed, or cancelled with everything undone.
    #[must_use]
    pub const fn is_settled(self) -> bool {
        match self.status {
            Status::Placed => false,
            Status::Confirmed => true,
            Status::Cancelled(_) => {
                self.resolved || (self.payment.is_undone() && self.stock.is_undone())
            }
        }
    }

    /// What a fact leads to.
    ///
    /// # Errors
    /// When the fact is refused; the state is then as it was.
    pub fn take(self, fact: Fact) -> Result<Transition, Refused> {
        if fact == Fact::Resolved {
            return self.resolve();
        }
        match self.coordination {
            Coordination::Choreography => choreography::take(self, fact),
            Coordination::Orchestration => orchestration::take(self, fact),
            Coordination::Sync => sync::take(self, fact),
        }
    }

    /// What others were told to do, and have not answered yet: what was last asked in a saga; in an order that was cancelled in the
    /// middle of its calls, what is not known to be undone.
    pub fn open(self) -> impl Iterator<Item = Step> {
        match self.coordination {
            Coordination::Choreography => [None, None],
            Coordination::Orchestration => [orchestration::awaited(self), None],
            Coordination::Sync => sync::not_undone(self),
        }
        .into_iter()
        .flatten()
    }

    const fn resolve(self) -> Result<Transition, Refused> {
        match self.status {
            Status::Cancelled(_) if !self.is_settled() => {
                Ok(Transition { state: Self { resolved: true, ..self }, decided: None, ask: None })
            }
            Status::Placed | Status::Confirmed | Status::Cancelled(_) => {
                Err(Refused::NothingToResolve)
            }
        }
    }

    /// What is known after a fact.
    fn learn(self, fact: Fact) -> Result<Self, Refused> {
        let contradiction = Refused::Contradiction { state: self, fact };
        match fact {
            Fact::Payment(news) => {
                let payment = self.payment.learn(news).ok_or(contradiction)?;
                Ok(Self { payment, ..self })
            }
            Fact::Stock(news) => {
                let stock = self.stock.learn(news).ok_or(contradiction)?;
                Ok(Self { stock, ..self })
            }
            Fact::CancelRequested
            | Fact::DeadlinePassed
            | Fact::StepTimedOut
            | Fact::CallsDone
            | Fact::CallFailed(_)
            | Fact::Resolved => Ok(self),
        }
    }

    /// What follows where the order is decided on by what the others announce, whoever told them to: what has just been decided.
    fn decide(self, known: Self, fact: Fact) -> Result<Option<Status>, Refused> {
        let contradiction = Refused::Contradiction { state: self, fact };
        match (known.status, fact) {
            (Status::Placed, Fact::CancelRequested) => {
                Ok(Some(Status::Cancelled(Cancellation::Customer)))
            }
            (Status::Placed, Fact::DeadlinePassed) => {
                Ok(Some(Status::Cancelled(Cancellation::Deadline)))
            }
            (Status::Placed, Fact::StepTimedOut) => {
                Ok(Some(Status::Cancelled(Cancellation::NoAnswer)))
            }
            (Status::Placed, Fact::Payment(_) | Fact::Stock(_)) => {
                known.conclude().ok_or(contradiction)
            }
            (Status::Confirmed, Fact::CancelRequested) => Err(Refused::TooLate),
            // Undone without a cancellation: nobody was told to.
            (Status::Confirmed, Fact::Payment(_) | Fact::Stock(_)) if known != self => {
                Err(contradiction)
            }
            // Nobody makes calls for these.
            (_, Fact::CallsDone | Fact::CallFailed(_)) => Err(contradiction),
            (Status::Placed, Fact::Resolved) | (Status::Confirmed | Status::Cancelled(_), _) => {
                Ok(None)
            }
        }
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
    /// Whether no money is kept, for certain.
    pub(crate) const fn is_undone(self) -> bool {
        matches!(self, Self::Declined | Self::Refunded | Self::Voided)
    }
}

impl Stock {
    /// Whether no goods are kept aside, for certain.
    pub(crate) const fn is_undone(self) -> bool {
        matches!(self, Self::Rejected | Self::Released)
    }
}

impl Step {
    /// Whether it undoes something. Then it is asked for again and again; what does something, only once.
    #[must_use]
    pub const fn is_compensation(self) -> bool {
        match self {
            Self::ReserveStock | Self::ChargeCard | Self::ShipStock => false,
            Self::RefundPayment | Self::ReleaseStock => true,
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
