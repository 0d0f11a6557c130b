//! Every state × fact, and every order of arrival of what can happen to one order.

use super::*;
use proptest::prelude::*;

const PAYMENTS: [Payment; 5] =
    [Payment::Unknown, Payment::Taken, Payment::Declined, Payment::Refunded, Payment::Voided];
const RESOLVED: [Fact; 2] =
    [Fact::Resolved(Step::RefundPayment), Fact::Resolved(Step::ReleaseStock)];
const STOCKS: [Stock; 4] = [Stock::Unknown, Stock::Reserved, Stock::Rejected, Stock::Released];

fn facts() -> Vec<Fact> {
    let payments = PAYMENTS.into_iter().skip(1).map(Fact::Payment);
    let stocks = STOCKS.into_iter().skip(1).map(Fact::Stock);
    let others = [
        Fact::CancelRequested,
        Fact::DeadlinePassed,
        Fact::StepTimedOut,
        Fact::CallsDone,
        Fact::CallFailed(Cancellation::NoAnswer),
        Fact::WrongAmount,
    ];
    payments.chain(stocks).chain(others).chain(RESOLVED).collect()
}

const COORDINATIONS: [Coordination; 3] =
    [Coordination::Choreography, Coordination::Orchestration, Coordination::Sync];

/// Every state that can be reached from a new order.
fn reachable(coordination: Coordination) -> Vec<State> {
    let mut states = vec![State::placed(coordination)];
    let mut next = 0;
    while let Some(state) = states.get(next).copied() {
        next += 1;
        for fact in facts() {
            if let Ok(after) = state.take(fact)
                && !states.contains(&after.state)
            {
                states.push(after.state);
            }
        }
    }
    states
}

#[test]
fn every_state_takes_every_fact_or_refuses_it_with_a_reason() {
    for coordination in COORDINATIONS {
        let states = reachable(coordination);
        for state in &states {
            for fact in facts() {
                takes_or_refuses(*state, fact);
            }
        }
        println!("{}: {} states x {} facts", coordination.as_str(), states.len(), facts().len());
    }
}

fn takes_or_refuses(state: State, fact: Fact) {
    let after = match state.take(fact) {
        Ok(after) => after,
        Err(Refused::TooLate) => {
            return assert_eq!((state.status, fact), (Status::Confirmed, Fact::CancelRequested));
        }
        Err(Refused::InProgress) => {
            return assert_eq!((state.status, fact), (Status::Placed, Fact::CancelRequested));
        }
        Err(Refused::NothingToResolve) => return assert!(RESOLVED.contains(&fact), "{fact:?}"),
        Err(Refused::Contradiction { .. }) => {
            return assert!(
                !matches!(fact, Fact::CancelRequested | Fact::DeadlinePassed | Fact::Resolved(_)),
                "{state:?} {fact:?}"
            );
        }
    };
    let changed = after.state.status != state.status;
    assert_eq!(after.decided.is_some(), changed, "{state:?} {fact:?}");
    if changed {
        assert_eq!(state.status, Status::Placed, "{state:?} {fact:?}: decided twice");
    }
    if let Some(step) = after.ask {
        assert!(!state.open().any(|open| open == step), "{state:?} {fact:?}: {step:?} asked twice");
        assert!(after.state.open().any(|open| open == step), "{state:?} {fact:?}: {step:?}");
    }
    let by_an_operator = state.payment == Payment::Resolved || state.stock == Stock::Resolved;
    // Payment, which was never asked, says that it was charged all the same.
    let unasked = state.voided_may_be_inferred()
        && matches!(after.state.payment, Payment::Taken | Payment::Refunded);
    if state.is_settled() && !by_an_operator && !unasked {
        assert_eq!(after.state, state, "{fact:?} moved a settled order");
    }
    if fact == Fact::WrongAmount {
        assert!(!matches!(after.state.status, Status::Confirmed), "{state:?} {fact:?}");
    }
    assert!(
        after.state.is_settled()
            || !matches!(after.state.status, Status::Cancelled(_))
            || after.state.resolvable().next().is_some(),
        "{after:?} can't be resolved"
    );
    assert!(!after.state.is_settled() || after.state.open().next().is_none(), "{after:?}");
    if let Ok(again) = after.state.take(fact) {
        assert_eq!(again.state, after.state, "{state:?} {fact:?} twice");
        assert_eq!((again.decided, again.ask), (None, None), "{state:?} {fact:?} announced twice");
    }
}

#[test]
fn confirmed_means_taken_and_reserved() {
    for state in COORDINATIONS.into_iter().flat_map(reachable) {
        if state.status == Status::Confirmed {
            assert_eq!((state.payment, state.stock), (Payment::Taken, Stock::Reserved));
        }
    }
}

#[test]
fn an_undoing_that_nobody_asked_for_is_a_contradiction() {
    for coordination in [Coordination::Choreography, Coordination::Orchestration] {
        let placed = State::placed(coordination);
        let confirmed = State {
            status: Status::Confirmed,
            payment: Payment::Taken,
            stock: Stock::Reserved,
            ..placed
        };
        for (state, fact) in [
            (placed, Fact::Payment(Payment::Refunded)),
            (placed, Fact::Payment(Payment::Voided)),
            (placed, Fact::Stock(Stock::Released)),
            (confirmed, Fact::Payment(Payment::Refunded)),
            (confirmed, Fact::Stock(Stock::Released)),
        ] {
            assert_eq!(state.take(fact), Err(Refused::Contradiction { state, fact }));
        }
    }
}

#[test]
fn a_saga_charges_only_what_is_reserved_and_undoes_in_reverse() {
    let placed = State::placed(Coordination::Orchestration);
    assert_eq!(placed.open().collect::<Vec<_>>(), [Step::ReserveStock]);
    let paid_unasked = placed.take(Fact::Payment(Payment::Taken));
    assert!(matches!(paid_unasked, Err(Refused::Contradiction { .. })));
    let reserved = placed.take(Fact::Stock(Stock::Reserved)).unwrap();
    assert_eq!(reserved.ask, Some(Step::ChargeCard));
    // Whether the card was charged isn't known, so it counts as charged.
    let given_up = reserved.state.take(Fact::StepTimedOut).unwrap();
    assert_eq!(given_up.ask, Some(Step::RefundPayment));
    assert_eq!(given_up.decided, Some(Status::Cancelled(Cancellation::NoAnswer)));
    let late = given_up.state.take(Fact::Payment(Payment::Taken)).unwrap();
    assert_eq!((late.decided, late.ask), (None, None));
    let refunded = late.state.take(Fact::Payment(Payment::Refunded)).unwrap();
    assert_eq!(refunded.ask, Some(Step::ReleaseStock));
    let released = refunded.state.take(Fact::Stock(Stock::Released)).unwrap();
    assert!(released.state.is_settled());
}

#[test]
fn a_resolved_step_is_all_that_is_resolved() {
    let cancelled = |coordination| {
        let placed = State::placed(coordination);
        let reserved = placed.take(Fact::Stock(Stock::Reserved)).unwrap().state;
        reserved.take(Fact::WrongAmount).unwrap().state
    };
    for coordination in COORDINATIONS {
        let order = cancelled(coordination);
        assert_eq!(order.status, Status::Cancelled(Cancellation::WrongAmount));
        let refunded = order.take(Fact::Resolved(Step::RefundPayment)).unwrap();
        assert!(!refunded.state.is_settled(), "the goods are still reserved: {refunded:?}");
        let again = refunded.state.take(Fact::Resolved(Step::RefundPayment));
        assert_eq!(again, Err(Refused::NothingToResolve));
        let released = refunded.state.take(Fact::Stock(Stock::Released)).unwrap();
        assert!(released.state.is_settled(), "{released:?}");
        // Money that was taken after all is refunded.
        let taken = released.state.take(Fact::Payment(Payment::Taken)).unwrap();
        assert!(!taken.state.is_settled(), "{taken:?}");
    }
    let saga = cancelled(Coordination::Orchestration);
    let too_early = saga.take(Fact::Resolved(Step::ReleaseStock));
    assert_eq!(too_early, Err(Refused::NothingToResolve), "it was not asked for yet");
    let refunded = saga.take(Fact::Resolved(Step::RefundPayment)).unwrap();
    assert_eq!(refunded.ask, Some(Step::ReleaseStock));
}

#[test]
fn a_wrong_amount_never_confirms() {
    for coordination in COORDINATIONS {
        let placed = State::placed(coordination);
        let reserved = placed.take(Fact::Stock(Stock::Reserved)).unwrap().state;
        let charged = reserved.take(Fact::WrongAmount).unwrap();
        let cancelled = Status::Cancelled(Cancellation::WrongAmount);
        assert_eq!(charged.decided, Some(cancelled), "{coordination:?}");
        if coordination == Coordination::Sync {
            // The calls that were under way don't confirm it either.
            assert_eq!(charged.state.take(Fact::CallsDone).unwrap().state, charged.state);
        }
        let confirmed = State {
            status: Status::Confirmed,
            payment: Payment::Taken,
            stock: Stock::Reserved,
            ..placed
        };
        let fact = Fact::WrongAmount;
        assert_eq!(
            confirmed.take(fact),
            Err(Refused::Contradiction { state: confirmed, fact }),
            "it was confirmed because the right one was charged"
        );
    }
    // A saga that has not asked for the charge undoes it all the same.
    let early = State::placed(Coordination::Orchestration).take(Fact::WrongAmount).unwrap();
    assert_eq!(early.decided, Some(Status::Cancelled(Cancellation::WrongAmount)));
    assert_eq!(early.ask, Some(Step::RefundPayment));
}

#[test]
fn a_charge_that_was_never_asked_for_is_undone() {
    let placed = State::placed(Coordination::Orchestration);
    let settled = placed.take(Fact::Stock(Stock::Rejected)).unwrap().state;
    assert!(settled.is_settled(), "payment was not asked");
    let charged = settled.take(Fact::WrongAmount).unwrap();
    assert_eq!(charged.ask, Some(Step::RefundPayment));
    let refunded = charged.state.take(Fact::Payment(Payment::Refunded)).unwrap();
    assert!(refunded.state.is_settled(), "{refunded:?}");
    // Where payment decides by itself, both can't be true.
    let voided = State {
        status: Status::Cancelled(Cancellation::Customer),
        payment: Payment::Voided,
        ..State::placed(Coordination::Choreography)
    };
    assert!(matches!(voided.take(Fact::WrongAmount), Err(Refused::Contradiction { .. })));
}

#[test]
fn what_was_never_asked_for_need_not_be_undone() {
    let placed = State::placed(Coordination::Orchestration);
    let rejected = placed.take(Fact::Stock(Stock::Rejected)).unwrap();
    assert!(rejected.state.is_settled() && rejected.ask.is_none());
    let cancelled = placed.take(Fact::CancelRequested).unwrap();
    assert_eq!(cancelled.ask, Some(Step::ReleaseStock));
    assert_eq!(cancelled.state.payment, Payment::Voided);
}

#[test]
fn what_calls_came_to_can_be_written_down_twice() {
    let facts = [Fact::Stock(Stock::Reserved), Fact::Payment(Payment::Taken), Fact::CallsDone];
    let mut state = State::placed(Coordination::Sync);
    let mut decided = Vec::new();
    for fact in facts.into_iter().chain(facts) {
        let after = state.take(fact).unwrap();
        state = after.state;
        decided.extend(after.decided);
    }
    assert_eq!((state.status, &decided[..]), (Status::Confirmed, &[Status::Confirmed][..]));
}

#[test]
fn a_checkout_by_calls_that_asked_nobody_leaves_nothing_open() {
    let unasked = [
        Fact::Stock(Stock::Released),
        Fact::Payment(Payment::Voided),
        Fact::CallFailed(Cancellation::NoAnswer),
    ];
    // The deadline may have been faster than whoever writes that down.
    for before in [None, Some(Fact::DeadlinePassed)] {
        let mut state = State::placed(Coordination::Sync);
        let mut decided = 0;
        for fact in before.into_iter().chain(unasked) {
            let after = state.take(fact).unwrap();
            (state, decided) = (after.state, decided + usize::from(after.decided.is_some()));
        }
        assert!(state.is_settled() && state.open().next().is_none(), "{state:?}");
        assert_eq!(decided, 1, "{state:?}");
    }
}

/// What payment and inventory do for an order that is placed, and for one that is cancelled: the facts of one whole story, of
/// which the later ones exist only once the order was cancelled.
#[derive(Debug, Clone)]
struct Story {
    charge: Fact,
    goods: Stock,
    /// A cancellation by the customer or the deadline, or none.
    interruption: Option<Fact>,
}

fn story() -> impl Strategy<Value = Story> {
    let charge = prop_oneof![
        Just(Fact::Payment(Payment::Taken)),
        Just(Fact::WrongAmount),
        Just(Fact::Payment(Payment::Declined))
    ];
    let goods = prop_oneof![Just(Stock::Reserved), Just(Stock::Rejected)];
    let interruption = prop_oneof![
        Just(None),
        Just(Some(Fact::CancelRequested)),
        Just(Some(Fact::DeadlinePassed))
    ];
    (charge, goods, interruption).prop_map(|(charge, goods, interruption)| Story {
        charge,
        goods,
        interruption,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever the order of arrival, and however often each fact arrives: the order is settled in the end, decided once.
    #[test]
    fn every_arrival_comes_to_an_end(story in story(), order in Just((0..16_usize).collect::<Vec<_>>()).prop_shuffle()) {
        let mut known = State::placed(Coordination::Choreography);
        let mut decisions = Vec::new();
        let mut waiting = vec![story.charge, Fact::Stock(story.goods)];
        waiting.extend(story.interruption);
        // Each three times.
        waiting = waiting.iter().flat_map(|fact| [*fact; 3]).collect();
        let mut picks = order.iter().cycle();
        let mut undone = false;
        while !waiting.is_empty() {
            let fact = waiting.swap_remove(picks.next().unwrap() % waiting.len());
            match known.take(fact) {
                Ok(after) => {
                    decisions.extend(after.decided);
                    known = after.state;
                }
                Err(Refused::TooLate) => prop_assert_eq!(known.status, Status::Confirmed),
                Err(refused) => prop_assert!(false, "{}", refused),
            }
            // The others undo what they did, once they are told of the cancellation; these facts may overtake the first ones.
            if !undone && matches!(known.status, Status::Cancelled(_)) {
                undone = true;
                if story.charge != Fact::Payment(Payment::Declined) {
                    waiting.extend([Fact::Payment(Payment::Refunded); 2]);
                }
                if story.goods == Stock::Reserved {
                    waiting.extend([Fact::Stock(Stock::Released); 2]);
                }
            }
        }
        prop_assert_eq!(decisions.len(), 1, "{:?}", decisions);
        prop_assert!(known.is_settled(), "{:?} after {:?}", known, story);
        let happy = story.charge == Fact::Payment(Payment::Taken) && story.goods == Stock::Reserved;
        if story.interruption.is_none() {
            prop_assert_eq!(known.status == Status::Confirmed, happy);
        }
        if !happy {
            prop_assert!(matches!(known.status, Status::Cancelled(_)));
        }
    }
}
