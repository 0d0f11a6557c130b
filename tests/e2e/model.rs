//! Every run of an order that there can be, by search: the pure machines of order, payment and inventory, a card processor, and a
//! network that delivers any message that was ever sent, at any time and any number of times.
//!
//! That covers each order of arrival, duplicates, losses that are followed by redelivery, and a crash between any two steps:
//! what a crash undoes is a step that was not taken, and what it leaves is taken again. The customer and the deadline come in
//! at any moment, and so do the impatience of a saga, an operator who resolves what can be resolved, and a stranger who calls payment or
//! inventory before they know the order.

mod world;

use std::collections::HashMap;

use contracts::Coordination;

use world::{Next, Outside, World};

/// Visits every world that can come from this one, each once, and checks that no run goes in a circle; how many there are, and
/// how many of them are an end.
fn search(start: World, outside: Outside) -> (usize, usize) {
    /// A world on the way whose next ones are visited one by one.
    struct Visit {
        next: Vec<World>,
        world: World,
    }
    let mut ends = 0;
    // Whether its visit is over.
    let mut seen: HashMap<World, bool> = HashMap::from([(start.clone(), false)]);
    let mut visited = |world: World| {
        let Next { must, may } = world.next(outside);
        if must.is_empty() {
            world.check_end(outside);
            ends += 1;
        }
        Visit { next: [must, may].concat(), world }
    };
    let mut path = vec![visited(start)];
    while let Some(visit) = path.last_mut() {
        let Some(world) = visit.next.pop() else {
            let done = path.pop().unwrap();
            seen.insert(done.world, true);
            continue;
        };
        match seen.get(&world) {
            Some(true) => {}
            Some(false) => panic!("a run goes in a circle at {world:#?}"),
            None => {
                seen.insert(world.clone(), false);
                path.push(visited(world));
            }
        }
    }
    (seen.len(), ends)
}

/// That two charges are one, when they have one key, is the processor's promise, and here assumed; that there is one key for an order is
/// a constraint of payment's table. What is searched for is money that is kept, or given back, against the order's end.
#[test]
fn every_run_ends_settled_with_the_money_right_and_the_stock_conserved() {
    for coordination in [Coordination::Choreography, Coordination::Orchestration] {
        let mut total = 0;
        let outsides = [(true, true), (true, false), (false, true)]
            .into_iter()
            .flat_map(|card| [3, 0].map(|on_hand| (card, on_hand)));
        for ((card_is_good, amount_is_right), on_hand) in outsides {
            let outside = Outside { card_is_good, amount_is_right, on_hand };
            let (states, ends) = search(World::new(coordination, outside), outside);
            println!("{coordination:?}, {outside:?}: {states} states, {ends} ends");
            assert!(ends > 0);
            total += states;
        }
        println!("{coordination:?}: {total} states visited");
    }
}
