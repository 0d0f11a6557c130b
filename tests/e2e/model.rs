//! Every run of an order that there can be, by search: the pure machines of order, payment and inventory, a card processor, and a
//! network that delivers any message that was ever sent, at any time and any number of times.
//!
//! That covers each order of arrival, duplicates, losses that are followed by redelivery, and a crash between any two steps:
//! what a crash undoes is a step that was not taken, and what it leaves is taken again. The customer and the deadline come in
//! at any moment, and so does the impatience of a saga.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use contracts::{Coordination, OrderId};
use inventory::{
    catalogue::Stock as Shelved,
    reservation::{self, Announcement, Lines, Reservation, Shelf},
};
use order::machine::{self, Fact, Refused, Status, Step};
use payment::payment::{Effect, Fact as Happened, State as Paid, transition};

const SKU: &str = "mug";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Message {
    Placed,
    Confirmed,
    Cancelled,
    Ask(StepName),
    Payment(machine_payment::Name),
    Stock(machine_stock::Name),
}

/// What can be ordered and hashed of a [`Step`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum StepName {
    Reserve,
    Charge,
    Refund,
    Release,
}

mod machine_payment {
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub(super) enum Name {
        Taken,
        Declined,
        Refunded,
        Voided,
    }
}

mod machine_stock {
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub(super) enum Name {
        Reserved,
        Rejected,
        Released,
    }
}

/// What the card processor knows of the one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Charge {
    Unknown,
    Charged,
    Declined,
    Refunded,
    Voided,
}

/// Everything, at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    order: machine::State,
    payment: Option<Paid>,
    charge: Charge,
    /// Whether an answer to a charge is on its way to payment: taken, declined.
    answers: (bool, bool),
    goods: reservation::State,
    on_hand: u32,
    reserved: u32,
    sent: BTreeSet<Message>,
    /// What can happen once: the customer's wish to cancel, the deadline.
    wishes: (bool, bool),
}

/// The outside: what the card and the shelf are like.
#[derive(Debug, Clone, Copy)]
struct Outside {
    card_is_good: bool,
    on_hand: u32,
}

impl World {
    fn new(coordination: Coordination, outside: Outside) -> Self {
        let order = machine::State::placed(coordination);
        let asked = order.open().map(|step| Message::Ask(name(step)));
        Self {
            order,
            payment: None,
            charge: Charge::Unknown,
            answers: (false, false),
            goods: reservation::State::New,
            on_hand: outside.on_hand,
            reserved: 0,
            sent: asked.chain([Message::Placed]).collect(),
            wishes: (true, true),
        }
    }

    /// Every moment that can come next, and differs.
    fn next(&self, outside: Outside) -> Vec<Self> {
        let mut worlds: Vec<Self> =
            self.sent.iter().flat_map(|message| self.delivered(*message)).collect();
        worlds.extend(self.without_a_message(outside));
        worlds.retain(|world| world != self);
        worlds
    }

    /// What a delivery leads to, at each service that listens to it.
    fn delivered(&self, message: Message) -> Vec<Self> {
        let alone = self.order.coordination == Coordination::Choreography;
        match message {
            Message::Placed if alone => vec![self.charge_asked(), self.goods(placed(), false)],
            Message::Cancelled if alone => {
                vec![self.refund_asked(false), self.goods(reservation::Fact::Cancelled, false)]
            }
            Message::Placed | Message::Cancelled => Vec::new(),
            Message::Confirmed => vec![self.goods(reservation::Fact::Confirmed, false)],
            Message::Ask(StepName::Reserve) => vec![self.goods(placed(), false)],
            Message::Ask(StepName::Release) => {
                vec![self.goods(reservation::Fact::Cancelled, true)]
            }
            Message::Ask(StepName::Charge) => vec![self.charge_asked()],
            Message::Ask(StepName::Refund) => vec![self.refund_asked(true)],
            Message::Payment(said) => vec![self.told(Fact::Payment(match said {
                machine_payment::Name::Taken => machine::Payment::Taken,
                machine_payment::Name::Declined => machine::Payment::Declined,
                machine_payment::Name::Refunded => machine::Payment::Refunded,
                machine_payment::Name::Voided => machine::Payment::Voided,
            }))],
            Message::Stock(said) => vec![self.told(Fact::Stock(match said {
                machine_stock::Name::Reserved => machine::Stock::Reserved,
                machine_stock::Name::Rejected => machine::Stock::Rejected,
                machine_stock::Name::Released => machine::Stock::Released,
            }))],
        }
    }

    fn without_a_message(&self, outside: Outside) -> Vec<Self> {
        let mut worlds = Vec::new();
        if self.wishes.0 {
            worlds
                .push(Self { wishes: (false, self.wishes.1), ..self.told(Fact::CancelRequested) });
        }
        if self.wishes.1 {
            worlds.push(Self { wishes: (self.wishes.0, false), ..self.told(Fact::DeadlinePassed) });
        }
        if self.order.open().any(|step| !step.is_compensation()) {
            worlds.push(self.told(Fact::StepTimedOut));
        }
        // Payment calls the processor, hears the answer or doesn't, and calls again; the processor charges once.
        if self.payment == Some(Paid::Pending) {
            let charge = match self.charge {
                Charge::Unknown if outside.card_is_good => Charge::Charged,
                Charge::Unknown => Charge::Declined,
                known => known,
            };
            let good = matches!(charge, Charge::Charged | Charge::Refunded);
            let answers = (self.answers.0 || good, self.answers.1 || !good);
            worlds.push(Self { charge, answers, ..self.clone() });
        }
        if self.answers.0 {
            worlds.push(self.paid(Happened::ChargeSucceeded, false));
        }
        if self.answers.1 {
            worlds.push(self.paid(Happened::ChargeDeclined, false));
        }
        if self.payment == Some(Paid::Reversing) {
            worlds.push(match self.charge {
                Charge::Charged => Self { charge: Charge::Refunded, ..self.clone() },
                Charge::Unknown | Charge::Declined => {
                    Self { charge: Charge::Voided, ..self.clone() }
                }
                Charge::Refunded => self.paid(Happened::Refunded, false),
                Charge::Voided => self.paid(Happened::Voided, false),
            });
        }
        worlds
    }

    /// The order service takes a fact.
    fn told(&self, fact: Fact) -> Self {
        let after = match self.order.take(fact) {
            Ok(after) => after,
            Err(Refused::TooLate) => return self.clone(),
            Err(refused) => panic!("{refused} in {self:#?}"),
        };
        let mut world = Self { order: after.state, ..self.clone() };
        match after.decided {
            Some(Status::Confirmed) => world.send(Message::Confirmed),
            Some(Status::Cancelled(_)) => world.send(Message::Cancelled),
            Some(Status::Placed) | None => {}
        }
        if let Some(step) = after.ask {
            world.send(Message::Ask(name(step)));
        }
        world
    }

    fn charge_asked(&self) -> Self {
        self.paid(Happened::Placed, false)
    }

    fn refund_asked(&self, answer: bool) -> Self {
        self.paid(Happened::Cancelled, answer)
    }

    /// The payment service takes a fact.
    fn paid(&self, happened: Happened, answer: bool) -> Self {
        let after = transition(self.payment, happened);
        let after = after.unwrap_or_else(|error| panic!("{error} in {self:#?}"));
        let mut world = Self { payment: Some(after.state), ..self.clone() };
        match after.effect.or_else(|| after.state.answer().filter(|_| answer)) {
            None | Some(Effect::Charge | Effect::Reverse) => {}
            Some(Effect::AnnounceTaken) => {
                world.send(Message::Payment(machine_payment::Name::Taken))
            }
            Some(Effect::AnnounceDeclined) => {
                world.send(Message::Payment(machine_payment::Name::Declined));
            }
            Some(Effect::AnnounceRefunded) => {
                world.send(Message::Payment(machine_payment::Name::Refunded));
            }
            Some(Effect::AnnounceVoided) => {
                world.send(Message::Payment(machine_payment::Name::Voided));
            }
        }
        world
    }

    /// The inventory service takes a fact.
    fn goods(&self, fact: reservation::Fact, answer: bool) -> Self {
        let lines = if self.goods == reservation::State::New { Lines::default() } else { lines() };
        let mut reservation = Reservation { order_id: OrderId::nil(), state: self.goods, lines };
        let stock = Shelved { on_hand: self.on_hand, reserved: self.reserved };
        let mut shelf = Shelf(BTreeMap::from([(SKU.to_owned(), stock)]));
        let announced = reservation::apply(&mut reservation, &fact, &mut shelf);
        let announced = announced.unwrap_or_else(|error| panic!("{error} in {self:#?}"));
        let stock = shelf.0[SKU];
        let (on_hand, reserved) = (stock.on_hand, stock.reserved);
        let mut world = Self { goods: reservation.state, on_hand, reserved, ..self.clone() };
        match announced.or_else(|| answer.then_some(Announcement::Released)) {
            None => {}
            Some(Announcement::Reserved) => {
                world.send(Message::Stock(machine_stock::Name::Reserved))
            }
            Some(Announcement::Rejected(_)) => {
                world.send(Message::Stock(machine_stock::Name::Rejected));
            }
            Some(Announcement::Released) => {
                world.send(Message::Stock(machine_stock::Name::Released));
            }
        }
        world
    }

    fn send(&mut self, message: Message) {
        self.sent.insert(message);
    }

    /// What must hold when nothing can happen any more.
    fn check_end(&self, outside: Outside) {
        assert!(self.order.is_settled(), "never settled: {self:#?}");
        assert_eq!(self.reserved, 0, "goods are held: {self:#?}");
        if self.order.status == Status::Confirmed {
            assert_eq!(self.charge, Charge::Charged, "{self:#?}");
            assert_eq!(self.on_hand + 1, outside.on_hand, "the goods have left: {self:#?}");
        } else {
            assert_ne!(self.charge, Charge::Charged, "money is kept: {self:#?}");
            assert_eq!(self.on_hand, outside.on_hand, "goods are lost: {self:#?}");
        }
    }
}

fn placed() -> reservation::Fact {
    reservation::Fact::Placed(lines())
}

fn lines() -> Lines {
    Lines(BTreeMap::from([(SKU.to_owned(), 1)]))
}

fn name(step: Step) -> StepName {
    match step {
        Step::ReserveStock => StepName::Reserve,
        Step::ChargeCard => StepName::Charge,
        Step::RefundPayment => StepName::Refund,
        Step::ReleaseStock => StepName::Release,
        Step::ShipStock => panic!("nobody is asked to by a message"),
    }
}

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
    let mut path = vec![Visit { next: start.next(outside), world: start }];
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
                let next = world.next(outside);
                if next.is_empty() {
                    world.check_end(outside);
                    ends += 1;
                }
                seen.insert(world.clone(), false);
                path.push(Visit { next, world });
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
        for (card_is_good, on_hand) in [(true, 3), (true, 0), (false, 3), (false, 0)] {
            let outside = Outside { card_is_good, on_hand };
            let (states, ends) = search(World::new(coordination, outside), outside);
            println!("{coordination:?}, {outside:?}: {states} states, {ends} ends");
            assert!(ends > 0);
            total += states;
        }
        println!("{coordination:?}: {total} states visited");
    }
}
