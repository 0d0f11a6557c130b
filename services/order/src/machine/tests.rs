//! Every state × fact, and every order of arrival of what can happen to one order.

use super::*;
use proptest::prelude::*;

const PAYMENTS: [Payment; 5] =
    [Payment::Unknown, Payment::Taken, Payment::Declined, Payment::Refunded, Payment::Voided];
const STOCKS: [Stock; 4] = [Stock::Unknown, Stock::Reserved, Stock::Rejected, Stock::Released];

fn facts() -> Vec<Fact> {
    let payments = PAYMENTS.into_iter().skip(1).map(Fact::Payment);
    let stocks = STOCKS.into_iter().skip(1).map(Fact::Stock);
    payments.chain(stocks).chain([Fact::CancelRequested, Fact::DeadlinePassed]).collect()
}

/// Every state that can be reached from a new order.
fn reachable() -> Vec<State> {
    let mut states = vec![State::PLACED];
    let mut next = 0;
    while let Some(state) = states.get(next).copied() {
        next += 1;
        for fact in facts() {
            if let Ok(step) = state.step(fact)
                && !states.contains(&step.state)
            {
                states.push(step.state);
            }
        }
    }
    states
}

#[test]
fn every_state_takes_every_fact_or_refuses_it_with_a_reason() {
    let states = reachable();
    for state in &states {
        for fact in facts() {
            match state.step(fact) {
                Ok(step) => {
                    let changed = step.state.status != state.status;
                    assert_eq!(step.decided.is_some(), changed, "{state:?} {fact:?}");
                    if changed {
                        assert_eq!(
                            state.status,
                            Status::Placed,
                            "{state:?} {fact:?}: decided twice"
                        );
                    }
                    if state.is_settled() {
                        assert_eq!(step.state, *state, "{fact:?} moved a settled order");
                    }
                    let again = step.state.step(fact);
                    if let Ok(again) = again {
                        assert_eq!(again.state, step.state, "{state:?} {fact:?} twice");
                        assert_eq!(again.decided, None, "{state:?} {fact:?} announced twice");
                    }
                }
                Err(Refused::TooLate) => {
                    assert_eq!((state.status, fact), (Status::Confirmed, Fact::CancelRequested));
                }
                Err(Refused::Contradiction { .. }) => {
                    assert!(
                        matches!(fact, Fact::Payment(_) | Fact::Stock(_)),
                        "{state:?} {fact:?}"
                    );
                }
            }
        }
    }
    println!("{} states x {} facts", states.len(), facts().len());
}

#[test]
fn confirmed_means_taken_and_reserved() {
    for state in reachable() {
        if state.status == Status::Confirmed {
            assert_eq!((state.payment, state.stock), (Payment::Taken, Stock::Reserved));
        }
    }
}

#[test]
fn an_undoing_that_nobody_asked_for_is_a_contradiction() {
    let confirmed =
        State { status: Status::Confirmed, payment: Payment::Taken, stock: Stock::Reserved };
    for (state, fact) in [
        (State::PLACED, Fact::Payment(Payment::Refunded)),
        (State::PLACED, Fact::Payment(Payment::Voided)),
        (State::PLACED, Fact::Stock(Stock::Released)),
        (confirmed, Fact::Payment(Payment::Refunded)),
        (confirmed, Fact::Stock(Stock::Released)),
    ] {
        assert_eq!(state.step(fact), Err(Refused::Contradiction { state, fact }));
    }
}

/// What payment and inventory do for an order that is placed, and for one that is cancelled: the facts of one whole story, of
/// which the later ones exist only once the order was cancelled.
#[derive(Debug, Clone)]
struct Story {
    charge: Payment,
    goods: Stock,
    /// A cancellation by the customer or the deadline, or none.
    interruption: Option<Fact>,
}

fn story() -> impl Strategy<Value = Story> {
    let charge = prop_oneof![Just(Payment::Taken), Just(Payment::Declined)];
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
        let mut known = State::PLACED;
        let mut decisions = Vec::new();
        let mut waiting = vec![Fact::Payment(story.charge), Fact::Stock(story.goods)];
        waiting.extend(story.interruption);
        // Each three times.
        waiting = waiting.iter().flat_map(|fact| [*fact; 3]).collect();
        let mut picks = order.iter().cycle();
        let mut undone = false;
        while !waiting.is_empty() {
            let fact = waiting.swap_remove(picks.next().unwrap() % waiting.len());
            match known.step(fact) {
                Ok(step) => {
                    decisions.extend(step.decided);
                    known = step.state;
                }
                Err(Refused::TooLate) => prop_assert_eq!(known.status, Status::Confirmed),
                Err(refused) => prop_assert!(false, "{}", refused),
            }
            // The others undo what they did, once they are told of the cancellation; these facts may overtake the first ones.
            if !undone && matches!(known.status, Status::Cancelled(_)) {
                undone = true;
                if story.charge == Payment::Taken {
                    waiting.extend([Fact::Payment(Payment::Refunded); 2]);
                }
                if story.goods == Stock::Reserved {
                    waiting.extend([Fact::Stock(Stock::Released); 2]);
                }
            }
        }
        prop_assert_eq!(decisions.len(), 1, "{:?}", decisions);
        prop_assert!(known.is_settled(), "{:?} after {:?}", known, story);
        let happy = story.charge == Payment::Taken && story.goods == Stock::Reserved;
        if story.interruption.is_none() {
            prop_assert_eq!(known.status == Status::Confirmed, happy);
        }
        if !happy {
            prop_assert!(matches!(known.status, Status::Cancelled(_)));
        }
    }
}
