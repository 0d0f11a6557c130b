//! The state machine: every state with every fact, and whatever order facts arrive in.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn lines(quantities: &[(&str, u32)]) -> Lines {
    Lines(quantities.iter().map(|(sku, quantity)| ((*sku).to_owned(), *quantity)).collect())
}

fn reservation(state: State, quantities: &[(&str, u32)]) -> Reservation {
    Reservation { order_id: Uuid::nil(), state, lines: lines(quantities) }
}

fn shelf(on_hand: u32, reserved: u32) -> Shelf {
    Shelf(BTreeMap::from([("mug".to_owned(), Stock { on_hand, reserved })]))
}

/// What a fact does to an order of two mugs, with five on hand, of which those of this order are reserved.
#[derive(Debug, PartialEq)]
enum Effect {
    /// Nothing at all.
    Nothing,
    /// A new state, an announcement, and then so many on hand and reserved.
    Change(State, Option<Announcement>, u32, u32),
    /// Refused; nothing at all.
    Refused,
}

#[test]
fn every_state_with_every_fact() {
    use Effect::{Change, Nothing, Refused};
    use State::{Barred, New, Rejected, Released, Reserved, Shipped};
    let placed = || Fact::Placed(lines(&[("mug", 2)]));
    let too_many = || Fact::Placed(lines(&[("mug", 6)]));
    let shortage = Shortage { sku: "mug".to_owned(), wanted: 6, available: 5 };
    let table = [
        (New, placed(), Change(Reserved, Some(Announcement::Reserved), 5, 2)),
        (New, too_many(), Change(Rejected, Some(Announcement::Rejected(vec![shortage])), 5, 0)),
        (New, Fact::Confirmed, Refused),
        (New, Fact::Cancelled, Change(Released, Some(Announcement::Released), 5, 0)),
        (Reserved, placed(), Nothing),
        (Reserved, too_many(), Nothing),
        (Reserved, Fact::Confirmed, Change(Shipped, None, 3, 0)),
        (Reserved, Fact::Cancelled, Change(Released, Some(Announcement::Released), 5, 0)),
        (Rejected, placed(), Nothing),
        (Rejected, too_many(), Nothing),
        (Rejected, Fact::Confirmed, Refused),
        (Rejected, Fact::Cancelled, Nothing),
        (Released, placed(), Nothing),
        (Released, too_many(), Nothing),
        (Released, Fact::Confirmed, Refused),
        (Released, Fact::Cancelled, Nothing),
        (Shipped, placed(), Nothing),
        (Shipped, too_many(), Nothing),
        (Shipped, Fact::Confirmed, Nothing),
        (Shipped, Fact::Cancelled, Refused),
        (New, Fact::ReleaseCalled, Change(Barred, None, 5, 0)),
        (Reserved, Fact::ReleaseCalled, Change(Released, Some(Announcement::Released), 5, 0)),
        (Rejected, Fact::ReleaseCalled, Nothing),
        (Released, Fact::ReleaseCalled, Nothing),
        (Shipped, Fact::ReleaseCalled, Refused),
        (Barred, placed(), Nothing),
        (Barred, too_many(), Nothing),
        (Barred, Fact::Confirmed, Refused),
        (Barred, Fact::Cancelled, Change(Released, Some(Announcement::Released), 5, 0)),
        (Barred, Fact::ReleaseCalled, Nothing),
    ];
    for (state, fact, expected) in table {
        let ordered: &[_] = if state == New { &[] } else { &[("mug", 2)] };
        let (before, stock) =
            (reservation(state, ordered), shelf(5, if state == Reserved { 2 } else { 0 }));
        let (mut after, mut stock_after) = (before.clone(), stock.clone());
        let outcome = apply(&mut after, &fact, &mut stock_after);
        let effect = match outcome {
            Err(_) => Refused,
            Ok(None) if after == before => Nothing,
            Ok(announcement) => {
                let mugs = stock_after.0["mug"];
                Change(after.state, announcement, mugs.on_hand, mugs.reserved)
            }
        };
        assert_eq!(effect, expected, "{state:?} with {fact:?}");
        if matches!(expected, Nothing | Refused) {
            assert_eq!((after, stock_after), (before, stock), "{state:?} with {fact:?}");
        }
    }
}

#[test]
fn all_lines_or_none() {
    let mut stock = shelf(5, 0);
    let mut order = reservation(State::New, &[]);
    let fact = Fact::Placed(lines(&[("mug", 1), ("unheard-of", 3)]));
    let shortage = Shortage { sku: "unheard-of".to_owned(), wanted: 3, available: 0 };
    let told = apply(&mut order, &fact, &mut stock).unwrap();
    assert_eq!(told, Some(Announcement::Rejected(vec![shortage])));
    assert_eq!(stock, shelf(5, 0));
}

#[test]
fn an_sku_named_twice_counts_as_its_sum() {
    let price = contracts::Money { amount: 1, currency: "EUR".to_owned() };
    let line = |quantity| Line {
        sku: "mug".to_owned(),
        name: String::new(),
        quantity,
        unit_price: price.clone(),
    };
    assert_eq!(Lines::from([line(2), line(3)].as_slice()), lines(&[("mug", 5)]));
    assert_eq!(Lines::from([line(2), line(u32::MAX)].as_slice()), lines(&[("mug", u32::MAX)]));
}

#[test]
fn books_that_do_not_balance_are_refused() {
    for fact in [Fact::Cancelled, Fact::Confirmed] {
        let mut order = reservation(State::Reserved, &[("mug", 2)]);
        let mut stock = shelf(5, 1);
        let refusal = apply(&mut order, &fact, &mut stock).unwrap_err();
        assert!(matches!(refusal, Refusal::Books { .. }), "{refusal}");
        assert_eq!((order.state, stock), (State::Reserved, shelf(5, 1)));
    }
}

#[test]
fn the_names_of_states_can_be_read_back() {
    for state in [State::New, State::Reserved, State::Rejected, State::Released, State::Shipped] {
        assert_eq!(State::try_from(state.as_str().to_owned()).unwrap(), state);
    }
    assert!(State::try_from("lost".to_owned()).is_err());
}

const SKUS: [&str; 3] = ["cap", "mug", "tee"];
const INITIAL: u32 = 12;

/// Some orders over three SKUs, and their facts, each up to three times, in any order.
fn histories() -> impl Strategy<Value = (Vec<Lines>, Vec<(usize, Fact)>)> {
    let order = proptest::collection::btree_map(
        proptest::sample::select(SKUS.as_slice()).prop_map(str::to_owned),
        1..8_u32,
        1..=3,
    );
    let order = (order.prop_map(Lines), 1..=3_usize, 0..=3_usize, 0..=3_usize);
    proptest::collection::vec(order, 1..6).prop_flat_map(|orders| {
        let mut facts = Vec::new();
        for (index, (lines, placed, confirmed, cancelled)) in orders.iter().enumerate() {
            facts.extend(vec![(index, Fact::Placed(lines.clone())); *placed]);
            facts.extend(vec![(index, Fact::Confirmed); *confirmed]);
            facts.extend(vec![(index, Fact::Cancelled); *cancelled]);
        }
        let lines = orders.into_iter().map(|(lines, ..)| lines).collect();
        (Just(lines), Just(facts).prop_shuffle())
    })
}

/// On hand and shipped make what there was; what is reserved is what the reserved orders have put aside.
fn check_books(orders: &[Reservation], shelf: &Shelf) {
    for sku in SKUS {
        let sum = |state| -> u32 {
            let of_state = orders.iter().filter(|order| order.state == state);
            of_state.filter_map(|order| order.lines.0.get(sku)).sum()
        };
        let stock = shelf.0[sku];
        assert!(stock.reserved <= stock.on_hand, "{sku}: {stock:?}");
        assert_eq!(stock.reserved, sum(State::Reserved), "{sku}");
        assert_eq!(stock.on_hand + sum(State::Shipped), INITIAL, "{sku}");
    }
}

proptest! {
    #[test]
    fn whatever_arrives_the_books_balance((lines, facts) in histories()) {
        let full = Stock { on_hand: INITIAL, reserved: 0 };
        let mut shelf = Shelf(SKUS.iter().map(|sku| ((*sku).to_owned(), full)).collect());
        let mut orders: Vec<_> = lines.iter().map(|_| reservation(State::New, &[])).collect();
        let mut told = vec![Vec::new(); orders.len()];
        for (index, fact) in &facts {
            let before = (orders[*index].clone(), shelf.clone());
            match apply(&mut orders[*index], fact, &mut shelf) {
                Ok(announcement) => told[*index].extend(announcement),
                Err(_) => prop_assert_eq!((&orders[*index], &shelf), (&before.0, &before.1)),
            }
            check_books(&orders, &shelf);
        }
        for (order, told) in orders.iter().zip(told) {
            let released = told.iter().filter(|told| **told == Announcement::Released).count();
            let decided = told.len() - released;
            prop_assert!(decided <= 1 && released <= 1, "told twice: {:?}", told);
            prop_assert_eq!(released == 1, order.state == State::Released);
            prop_assert_ne!(order.state, State::New);
        }
    }

    /// With enough of everything, the end of an order depends on its facts, and not on their order: what is refused for
    /// coming too early is replayed later.
    #[test]
    fn the_end_does_not_depend_on_the_order_of_arrival(
        end in prop_oneof![Just(Fact::Confirmed), Just(Fact::Cancelled)],
        placed in 1..4_usize,
        ended in 1..4_usize,
        seed in any::<[usize; 6]>(),
    ) {
        let mut facts = vec![Fact::Placed(lines(&[("mug", 2)])); placed];
        facts.extend(vec![end.clone(); ended]);
        for (index, random) in seed.iter().enumerate().take(facts.len()) {
            let other = random % facts.len();
            facts.swap(index, other);
        }
        let (mut order, mut stock) = (reservation(State::New, &[]), shelf(5, 0));
        let mut refused = Vec::new();
        for fact in facts {
            if apply(&mut order, &fact, &mut stock).is_err() {
                refused.push(fact);
            }
        }
        for fact in refused {
            prop_assert!(apply(&mut order, &fact, &mut stock).is_ok());
        }
        let expected = match end {
            Fact::Confirmed => (State::Shipped, shelf(3, 0)),
            _ => (State::Released, shelf(5, 0)),
        };
        prop_assert_eq!((order.state, stock), expected);
    }
}
