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
    /// An operator has dealt with the money: the shop no longer refunds it.
    Resolved,
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
    /// An operator has dealt with the goods: the shop no longer releases them.
    Resolved,
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
    /// Payment has charged an amount other than the order's total.
    WrongAmount,
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
    /// An operator has dealt with what this step could not undo.
    Resolved(Step),
}

/// What a fact leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// The state afterwards.
    pub state: State,
    /// What has just been decided, to be announced; none when nothing was.
    pub decided: Option<Status>,
    /// What another service is asked to do now.
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
    /// Only a step that waits to be done can be resolved.
    #[error("this step is not waiting to be done")]
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
        }
    }

    /// Whether nothing is left to happen: confirmed, or cancelled with everything undone.
    #[must_use]
    pub const fn is_settled(self) -> bool {
        match self.status {
            Status::Placed => false,
            Status::Confirmed => true,
            Status::Cancelled(_) => self.payment.is_undone() && self.stock.is_undone(),
        }
    }

    /// What a fact leads to.
    ///
    /// # Errors
    /// When the fact is refused; the state is then as it was.
    pub fn take(self, fact: Fact) -> Result<Transition, Refused> {
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
            Coordination::Sync => self.not_undone(),
        }
        .into_iter()
        .flatten()
    }

    /// What an operator can resolve: the compensations that are not known to be done. Those of a saga come one after the other.
    pub fn resolvable(self) -> impl Iterator<Item = Step> {
        match self.coordination {
            Coordination::Choreography | Coordination::Sync => self.not_undone(),
            Coordination::Orchestration => [orchestration::awaited(self), None],
        }
        .into_iter()
        .flatten()
        .filter(|step| step.is_repeated())
    }

    /// What is not known to be undone of a cancelled order, in the order in which it is undone.
    fn not_undone(self) -> [Option<Step>; 2] {
        if !matches!(self.status, Status::Cancelled(_)) {
            return [None, None];
        }
        [
            (!self.payment.is_undone()).then_some(Step::RefundPayment),
            (!self.stock.is_undone()).then_some(Step::ReleaseStock),
        ]
    }

    /// Whether the order service may have inferred that nothing was charged, since it never asked for a charge. A charge that payment
    /// announces all the same came from another caller, and is undone.
    const fn voided_may_be_inferred(self) -> bool {
        match self.coordination {
            Coordination::Choreography => false,
            Coordination::Orchestration | Coordination::Sync => {
                matches!((self.status, self.payment), (Status::Cancelled(_), Payment::Voided))
            }
        }
    }

    /// Whether anything is known of the payment, or of the goods, that the fact is about.
    pub(crate) const fn knows_of(self, fact: Fact) -> bool {
        match fact {
            Fact::Payment(_) => !matches!(self.payment, Payment::Unknown),
            Fact::Stock(_) => !matches!(self.stock, Stock::Unknown),
            _ => false,
        }
    }

    /// Whether something that an operator had resolved before is to be undone after all.
    pub(crate) const fn reopens(self, before: Self) -> bool {
        (matches!(before.payment, Payment::Resolved) && !self.payment.is_undone())
            || (matches!(before.stock, Stock::Resolved) && !self.stock.is_undone())
    }

    /// What counts as known once an operator has dealt with a step.
    fn resolve(self, step: Step) -> Result<Self, Refused> {
        if !self.resolvable().any(|resolvable| resolvable == step) {
            return Err(Refused::NothingToResolve);
        }
        match step {
            Step::RefundPayment => Ok(Self { payment: Payment::Resolved, ..self }),
            Step::ReleaseStock => Ok(Self { stock: Stock::Resolved, ..self }),
            Step::ReserveStock | Step::ChargeCard | Step::ShipStock => {
                Err(Refused::NothingToResolve)
            }
        }
    }

    /// What is known after a fact.
    fn learn(self, fact: Fact) -> Result<Self, Refused> {
        let contradiction = Refused::Contradiction { state: self, fact };
        match fact {
            Fact::Payment(_) | Fact::WrongAmount => {
                let news = match fact {
                    Fact::Payment(news) => news,
                    _ => Payment::Taken,
                };
                let charged = matches!(news, Payment::Taken | Payment::Refunded);
                let known = match self.payment {
                    _ if charged && self.voided_may_be_inferred() => Payment::Unknown,
                    known => known,
                };
                let payment = known.learn(news).ok_or(contradiction)?;
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
            | Fact::CallFailed(_) => Ok(self),
            Fact::Resolved(step) => self.resolve(step),
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
            (Status::Placed, Fact::WrongAmount) => {
                Ok(Some(Status::Cancelled(Cancellation::WrongAmount)))
            }
            (Status::Placed, Fact::Payment(_) | Fact::Stock(_)) => {
                known.conclude().ok_or(contradiction)
            }
            (Status::Confirmed, Fact::CancelRequested) => Err(Refused::TooLate),
            // Undone without a cancellation: nobody was told to.
            (Status::Confirmed, Fact::Payment(_) | Fact::Stock(_)) if known != self => {
                Err(contradiction)
            }
            // It was confirmed because the right amount was charged.
            (Status::Confirmed, Fact::WrongAmount) => Err(contradiction),
            // Nobody makes calls for these.
            (_, Fact::CallsDone | Fact::CallFailed(_)) => Err(contradiction),
            (Status::Placed, Fact::Resolved(_)) | (Status::Confirmed | Status::Cancelled(_), _) => {
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
            (Payment::Refunded | Payment::Voided | Payment::Resolved, _)
            | (_, Stock::Released | Stock::Resolved) => None,
            (Payment::Unknown, _) | (_, Stock::Unknown) => Some(None),
        }
    }
}

impl Payment {
    /// Whether the shop keeps no money: for certain, or by an operator's word.
    pub(crate) const fn is_undone(self) -> bool {
        matches!(self, Self::Declined | Self::Refunded | Self::Voided | Self::Resolved)
    }
}

impl Stock {
    /// Whether the shop keeps no goods aside: for certain, or by an operator's word.
    pub(crate) const fn is_undone(self) -> bool {
        matches!(self, Self::Rejected | Self::Released | Self::Resolved)
    }
}

impl Step {
    /// Whether it is asked for again until it is done. The others are given up when they are not answered in time.
    #[must_use]
    pub const fn is_repeated(self) -> bool {
        match self {
            Self::ReserveStock | Self::ChargeCard => false,
            Self::RefundPayment | Self::ReleaseStock | Self::ShipStock => true,
        }
    }
}

impl Payment {
    /// What is known after the news; none when both can't be true.
    const fn learn(self, news: Self) -> Option<Self> {
        use Payment::{Declined, Refunded, Resolved, Taken, Unknown, Voided};
        match (self, news) {
            (known, Unknown | Resolved) => Some(known),
            // What payment says counts for more than an operator's word: money that was taken after all is refunded.
            (Unknown | Resolved, news) => Some(news),
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
        use Stock::{Rejected, Released, Reserved, Resolved, Unknown};
        match (self, news) {
            (known, Unknown | Resolved) => Some(known),
            // What inventory says counts for more than an operator's word: goods that were reserved after all are released.
            (Unknown | Resolved, news) => Some(news),
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
