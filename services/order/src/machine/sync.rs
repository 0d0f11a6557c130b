//! The order service calls the others while the customer waits, and decides by their answers. What they announce beside is
//! only taken note of.

use contracts::Cancellation;

use super::{Fact, Payment, Refused, State, Status, Stock, Transition};

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
        (Status::Placed, Fact::WrongAmount) => Some(Status::Cancelled(Cancellation::WrongAmount)),
        // The process that made the calls has ended.
        (Status::Placed, Fact::DeadlinePassed) => Some(Status::Cancelled(Cancellation::Deadline)),
        (Status::Placed, Fact::CancelRequested) => return Err(Refused::InProgress),
        (Status::Confirmed, Fact::CancelRequested) => return Err(Refused::TooLate),
        (Status::Confirmed, Fact::Payment(_) | Fact::Stock(_)) if known != state => {
            return Err(contradiction);
        }
        // Written down again, because the outcome of the first commit was unknown.
        (Status::Confirmed, Fact::CallsDone) => None,
        (Status::Placed, Fact::CallsDone)
        | (Status::Confirmed, Fact::CallFailed(_))
        // It was confirmed because the right amount was charged.
        | (Status::Confirmed, Fact::WrongAmount)
        | (_, Fact::StepTimedOut) => return Err(contradiction),
        // Of what is cancelled already, the deadline was faster than the calls.
        (Status::Placed, Fact::Payment(_) | Fact::Stock(_) | Fact::Resolved(_))
        | (Status::Confirmed | Status::Cancelled(_), _) => None,
    };
    let state = State { status: decided.unwrap_or(known.status), ..known };
    Ok(Transition { state, decided, ask: None })
}
