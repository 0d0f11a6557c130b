//! The order's saga conducts: goods are put aside, then the card is charged; and all of it is undone in reverse.
//!
//! What it waits for follows from what is known, so there is no step to be remembered beside: see [`awaited`].

use super::{Fact, Payment, Refused, State, Status, Step, Stock, Transition};

/// What the saga has asked for and waits to be answered. A step whose outcome isn't known counts as possibly done.
pub(super) const fn awaited(state: State) -> Option<Step> {
    use Payment::{Declined, Refunded, Resolved, Taken, Unknown, Voided};
    if state.is_settled() {
        return None;
    }
    match (state.status, state.payment, state.stock) {
        (Status::Placed, _, Stock::Unknown) => Some(Step::ReserveStock),
        (
            Status::Placed,
            _,
            Stock::Reserved | Stock::Rejected | Stock::Released | Stock::Resolved,
        ) => Some(Step::ChargeCard),
        (Status::Confirmed, _, _) => None,
        (Status::Cancelled(_), Unknown | Taken, _) => Some(Step::RefundPayment),
        (Status::Cancelled(_), Declined | Refunded | Voided | Resolved, _) => {
            Some(Step::ReleaseStock)
        }
    }
}

/// What a fact leads to.
///
/// # Errors
/// When the fact is refused; the state is then as it was.
pub(super) fn take(state: State, fact: Fact) -> Result<Transition, Refused> {
    let before = awaited(state);
    let contradiction = Refused::Contradiction { state, fact };
    // The card is charged only after the goods were put aside.
    if before == Some(Step::ReserveStock) && matches!(fact, Fact::Payment(_)) {
        return Err(contradiction);
    }
    let known = state.learn(fact)?;
    let decided = state.decide(known, fact)?;
    let mut state = State { status: decided.unwrap_or(known.status), ..known };
    // Payment was not asked to charge the card, and never will be.
    if before == Some(Step::ReserveStock)
        && matches!(decided, Some(Status::Cancelled(_)))
        && state.payment == Payment::Unknown
    {
        state.payment = Payment::Voided;
    }
    let ask = awaited(state).filter(|step| before != Some(*step));
    Ok(Transition { state, decided, ask })
}
