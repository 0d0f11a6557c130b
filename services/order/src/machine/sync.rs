//! The order service calls the others while the customer waits, and decides by their answers. What they announce beside is
//! only taken note of.

use contracts::Cancellation;

use super::{Fact, Payment, Refused, State, Status, Step, Stock, Transition};

/// What is not known to be undone of a cancelled order, in the order in which it is undone.
pub(super) fn not_undone(state: State) -> [Option<Step>; 2] {
    if !matches!(state.status, Status::Cancelled(_)) || state.is_settled() {
        return [None, None];
    }
    [
        (!state.payment.is_undone()).then_some(Step::RefundPayment),
        (!state.stock.is_undone()).then_some(Step::ReleaseStock),
    ]
}

/// What a fact leads to.
///
/// # Errors
/// When the fact is refused; the state is then as it was.
pub(super) fn take(state: State, fact: Fact) -> Result<Transition, Refused> {
    let contradiction = Refused::Contradiction { state, fact };
    let known = state.learn(fact)?;
    let decided = match (state.status, fact) {
        (Status::Placed, Fact::CallsDone)
            if (known.payment, known.stock) == (Payment::Taken, Stock::Reserved) =>
        {
            Some(Status::Confirmed)
        }
        (Status::Placed, Fact::CallFailed(reason)) => Some(Status::Cancelled(reason)),
        // Whoever made the calls is gone.
        (Status::Placed, Fact::DeadlinePassed) => Some(Status::Cancelled(Cancellation::Deadline)),
        (Status::Placed, Fact::CancelRequested) => return Err(Refused::InProgress),
        (Status::Confirmed, Fact::CancelRequested) => return Err(Refused::TooLate),
        (Status::Confirmed, Fact::Payment(_) | Fact::Stock(_)) if known != state => {
            return Err(contradiction);
        }
        (Status::Placed | Status::Confirmed, Fact::CallsDone | Fact::CallFailed(_))
        | (_, Fact::StepTimedOut) => return Err(contradiction),
        // Of what is cancelled already, the deadline was faster than the calls.
        (Status::Placed, Fact::Payment(_) | Fact::Stock(_) | Fact::Resolved)
        | (Status::Confirmed | Status::Cancelled(_), _) => None,
    };
    let state = State { status: decided.unwrap_or(known.status), ..known };
    Ok(Transition { state, decided, ask: None })
}
