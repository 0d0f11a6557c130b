//! Nobody conducts: payment and inventory react to the order's events, and the order to theirs.

use super::{Fact, Refused, State, Transition};

/// What a fact leads to.
///
/// # Errors
/// When the fact is refused; the state is then as it was.
pub(super) fn take(state: State, fact: Fact) -> Result<Transition, Refused> {
    // Nobody was asked for anything.
    if fact == Fact::StepTimedOut {
        return Err(Refused::Contradiction { state, fact });
    }
    let known = state.learn(fact)?;
    let decided = state.decide(known, fact)?;
    let state = State { status: decided.unwrap_or(known.status), ..known };
    Ok(Transition { state, decided, ask: None })
}
