//! The payment of an order: what is known of it, and what each fact makes of it. No I/O.
//!
//! [`transition`] is the whole of the rules; [`Payment::after`] applies them to a payment with its details.

mod rules;
#[cfg(test)]
mod tests;

use contracts::{Cause, Money, OrderId, Timestamp};
use uuid::Uuid;

pub use rules::{Contradiction, Effect, Fact, State, Transition, transition};

/// Why something can't have happened to a payment: the books of a service are wrong, and an operator must look.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not to a payment in this state.
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    /// The one charge of the order is of a different amount.
    #[error("the order is already charged {charged}, so it can't be charged {asked}")]
    OtherTotal {
        /// What the books say.
        charged: Money,
        /// What was asked for.
        asked: Money,
    },
}

/// A fact with its details.
#[derive(Debug, Clone)]
pub enum Happened {
    /// See [`Fact::Placed`].
    Placed {
        /// The message that said so: it is the key of the charge.
        key: Uuid,
        /// What is to be charged.
        total: Money,
    },
    /// See [`Fact::Cancelled`].
    Cancelled {
        /// What would have been charged.
        total: Money,
        /// The message that said so, for what the reversal announces later.
        cause: Cause,
    },
    /// See [`Fact::RefundCalled`].
    RefundCalled {
        /// What would have been charged.
        total: Money,
        /// The call, for what the reversal announces later.
        cause: Cause,
    },
    /// See [`Fact::ChargeSucceeded`].
    ChargeSucceeded {
        /// The processor's name for the charge.
        charge_id: String,
    },
    /// See [`Fact::ChargeDeclined`].
    ChargeDeclined {
        /// The processor's word for it.
        reason: String,
    },
    /// See [`Fact::Refunded`].
    Refunded,
    /// See [`Fact::Voided`].
    Voided,
}

impl Happened {
    /// The fact without its details.
    #[must_use]
    pub const fn fact(&self) -> Fact {
        match self {
            Self::Placed { .. } => Fact::Placed,
            Self::Cancelled { .. } => Fact::Cancelled,
            Self::RefundCalled { .. } => Fact::RefundCalled,
            Self::ChargeSucceeded { .. } => Fact::ChargeSucceeded,
            Self::ChargeDeclined { .. } => Fact::ChargeDeclined,
            Self::Refunded => Fact::Refunded,
            Self::Voided => Fact::Voided,
        }
    }
}

/// The payment of an order, as it stands in the books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// The order.
    pub order_id: OrderId,
    /// Where it stands.
    pub state: State,
    /// What the order costs.
    pub amount: Money,
    /// The idempotency key of its one charge; none when it was cancelled before it was placed.
    pub charge_key: Option<Uuid>,
    /// The processor's name for the charge, once it is known.
    pub charge_id: Option<String>,
    /// Why the card was declined.
    pub decline_reason: Option<String>,
    /// How often undoing it failed so far.
    pub failed_reversals: u32,
    /// When it is to be undone, or that is to be tried again; only while it is [reversing](State::Reversing).
    pub due_at: Option<Timestamp>,
    /// The cancellation that made it so.
    pub cause: Cause,
    /// When it was first heard of.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Payment {
    /// The payment after something happened to it, and what is to be done about that.
    ///
    /// # Errors
    /// When it can't have happened.
    pub fn after(
        before: Option<Self>,
        order_id: OrderId,
        happened: &Happened,
        now: Timestamp,
    ) -> Result<(Self, Option<Effect>), Refused> {
        if let (Happened::Placed { total, .. }, Some(payment)) = (happened, &before)
            && payment.charge_key.is_some()
            && payment.amount != *total
        {
            let (charged, asked) = (payment.amount.clone(), total.clone());
            return Err(Refused::OtherTotal { charged, asked });
        }
        let fact = happened.fact();
        let state = before.as_ref().map(|payment| payment.state);
        let Transition { state: next, effect } = transition(state, fact)?;
        let Some(mut payment) = before.or_else(|| Self::opened(order_id, next, happened, now))
        else {
            return Err(Contradiction { state, fact }.into());
        };
        if let Happened::ChargeSucceeded { charge_id } = happened {
            payment.charge_id = Some(charge_id.clone());
        }
        if state == Some(next) {
            return Ok((payment, effect));
        }
        payment.state = next;
        payment.updated_at = now;
        payment.due_at = (next == State::Reversing).then_some(now);
        match happened {
            Happened::Cancelled { cause, .. } | Happened::RefundCalled { cause, .. } => {
                payment.cause = cause.clone();
            }
            Happened::ChargeDeclined { reason } => payment.decline_reason = Some(reason.clone()),
            Happened::Placed { .. }
            | Happened::ChargeSucceeded { .. }
            | Happened::Refunded
            | Happened::Voided => {}
        }
        Ok((payment, effect))
    }

    /// The payment after another failure to undo it: that is tried again at `due_at`.
    #[must_use]
    pub fn put_off(self, due_at: Timestamp) -> Self {
        let failed_reversals = self.failed_reversals.saturating_add(1);
        Self { failed_reversals, due_at: Some(due_at), ..self }
    }

    /// A payment that is heard of for the first time; none for a fact that can't be the first.
    fn opened(
        order_id: OrderId,
        state: State,
        happened: &Happened,
        now: Timestamp,
    ) -> Option<Self> {
        let (amount, charge_key) = match happened {
            Happened::Placed { key, total } => (total.clone(), Some(*key)),
            Happened::Cancelled { total, .. } | Happened::RefundCalled { total, .. } => {
                (total.clone(), None)
            }
            Happened::ChargeSucceeded { .. }
            | Happened::ChargeDeclined { .. }
            | Happened::Refunded
            | Happened::Voided => return None,
        };
        Some(Self {
            order_id,
            state,
            amount,
            charge_key,
            charge_id: None,
            decline_reason: None,
            failed_reversals: 0,
            due_at: None,
            cause: Cause::default(),
            created_at: now,
            updated_at: now,
        })
    }
}
