//! The rules: a state machine over the facts that become known about a payment, in any order and any number of times.

use serde::Serialize;
use utoipa::ToSchema;

/// Where the payment of an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The processor is asked for the money; what came of that is not known yet.
    Pending,
    /// The money is taken.
    Taken,
    /// The card was declined: no money was taken, and none will be.
    Declined,
    /// Certain: no money was taken, and none will be. Also what a cancellation leaves that comes before its order.
    Voided,
    /// Must be undone. Whether there is a charge is not known; the processor knows.
    Reversing,
    /// The money was given back.
    Refunded,
    /// A call asked for the refund of an order that was unknown, and nothing was announced of it: perhaps there is none. If it comes, it
    /// isn't charged.
    #[serde(skip)]
    Barred,
}

impl State {
    /// What tells somebody who asks how the payment stands; nothing while that isn't known.
    #[must_use]
    pub const fn answer(self) -> Option<Effect> {
        match self {
            Self::Pending | Self::Reversing | Self::Barred => None,
            Self::Taken => Some(Effect::AnnounceTaken),
            Self::Declined => Some(Effect::AnnounceDeclined),
            Self::Voided => Some(Effect::AnnounceVoided),
            Self::Refunded => Some(Effect::AnnounceRefunded),
        }
    }
}

/// Something that became known about a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fact {
    /// The order was placed.
    Placed,
    /// The order was cancelled.
    Cancelled,
    /// A call wants its money given back. Its caller has the answer.
    RefundCalled,
    /// The processor took the money.
    ChargeSucceeded,
    /// The processor didn't, and never will under this key.
    ChargeDeclined,
    /// The processor gave the money back.
    Refunded,
    /// The processor never took it, and now never will under this key.
    Voided,
}

/// What is to be done about a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Ask the processor for the money, again if need be: the key makes a repetition harmless.
    Charge,
    /// Undo it, whatever came of the charge.
    Reverse,
    /// Announce that the money is taken.
    AnnounceTaken,
    /// Announce that the card was declined.
    AnnounceDeclined,
    /// Announce that the money was given back.
    AnnounceRefunded,
    /// Announce that no money was taken, or ever will be.
    AnnounceVoided,
}

/// What a fact leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// The state after it.
    pub state: State,
    /// What is to be done; nothing for a fact that changes nothing.
    pub effect: Option<Effect>,
}

/// A fact that can't be true of a payment in this state: either our books or the processor's are wrong, and an operator must look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{fact:?} contradicts a payment that is {state:?}")]
pub struct Contradiction {
    /// The state; none for a payment that nobody has heard of.
    pub state: Option<State>,
    /// The fact.
    pub fact: Fact,
}

/// What a fact makes of a payment; `state` is none for one that nobody has heard of yet. Facts come in any order and any
/// number of times.
///
/// # Errors
/// When both can't be true.
pub const fn transition(state: Option<State>, fact: Fact) -> Result<Transition, Contradiction> {
    use Effect::{
        AnnounceDeclined, AnnounceRefunded, AnnounceTaken, AnnounceVoided, Charge, Reverse,
    };
    use Fact::{Cancelled, ChargeDeclined, ChargeSucceeded, Placed, RefundCalled};
    use State::{Barred, Declined, Pending, Refunded, Reversing, Taken, Voided};

    let (state, effect) = match (state, fact) {
        (None, Placed) => (Pending, Some(Charge)),
        // A tombstone: the order that comes late finds it, and charges nothing.
        (None | Some(Barred), Cancelled) => (Voided, Some(AnnounceVoided)),
        (None, RefundCalled) | (Some(Barred), Placed | RefundCalled) => (Barred, None),

        // Delivered again because the process died, or the processor didn't answer: ask again.
        (Some(Pending), Placed) => (Pending, Some(Charge)),
        (Some(Pending), ChargeSucceeded) => (Taken, Some(AnnounceTaken)),
        (Some(Pending), ChargeDeclined) => (Declined, Some(AnnounceDeclined)),
        (Some(Pending | Taken), Cancelled | RefundCalled) => (Reversing, Some(Reverse)),

        (Some(Taken), Placed | ChargeSucceeded) => (Taken, None),
        // There is nothing to undo, and the order knows it from PaymentDeclined.
        (Some(Declined), Placed | Cancelled | RefundCalled | ChargeDeclined) => (Declined, None),

        // The answer to a charge that was under way when the cancellation came: the reversal deals with it.
        (Some(Reversing), Placed | Cancelled | RefundCalled | ChargeSucceeded | ChargeDeclined) => {
            (Reversing, None)
        }
        (Some(Reversing), Fact::Refunded) => (Refunded, Some(AnnounceRefunded)),
        (Some(Reversing), Fact::Voided) => (Voided, Some(AnnounceVoided)),

        // A charge that arrives at the processor after the reversal is declined; one that was given back did succeed.
        (Some(Voided), Placed | Cancelled | RefundCalled | ChargeDeclined | Fact::Voided) => {
            (Voided, None)
        }
        (Some(Refunded), Placed | Cancelled | RefundCalled | ChargeSucceeded | Fact::Refunded) => {
            (Refunded, None)
        }

        (None | Some(Barred), ChargeSucceeded | ChargeDeclined | Fact::Refunded | Fact::Voided)
        | (Some(Pending), Fact::Refunded | Fact::Voided)
        | (Some(Taken), ChargeDeclined | Fact::Refunded | Fact::Voided)
        | (Some(Declined), ChargeSucceeded | Fact::Refunded | Fact::Voided)
        | (Some(Voided), ChargeSucceeded | Fact::Refunded)
        | (Some(Refunded), ChargeDeclined | Fact::Voided) => {
            return Err(Contradiction { state, fact });
        }
    };
    Ok(Transition { state, effect })
}
