//! One order, its messages, and the machines of all who deal with it, at a moment; and the moments that can come next.

use std::collections::{BTreeMap, BTreeSet};

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

/// The moments that can come next.
pub(super) struct Next {
    /// One of these comes in the end: a first delivery, an answer of the processor, the deadline.
    pub(super) must: Vec<World>,
    /// These needn't: a fact is delivered again, a customer, an operator or a stranger does something.
    pub(super) may: Vec<World>,
}

/// Everything, at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    order: machine::State,
    payment: Option<Paid>,
    charge: Charge,
    /// Whether an answer to a charge is on its way to payment: taken, declined.
    answers: (bool, bool),
    goods: reservation::State,
    on_hand: u32,
    reserved: u32,
    sent: BTreeSet<Message>,
    /// The facts that the order service has heard: its inbox. One may be delivered again, but needn't be.
    heard: BTreeSet<Message>,
    /// What can still happen, each once.
    once: BTreeSet<Once>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Once {
    Cancel,
    Deadline,
    /// An operator resolves the refund, or the release.
    ResolveRefund,
    ResolveRelease,
    /// A stranger calls for a charge, a refund or a release.
    Charge,
    Refund,
    Release,
}

impl Once {
    const ALL: [Self; 7] = [
        Self::Cancel,
        Self::Deadline,
        Self::ResolveRefund,
        Self::ResolveRelease,
        Self::Charge,
        Self::Refund,
        Self::Release,
    ];
}

/// The outside: what the card and the shelf are like, and whether what is charged is the order's total.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outside {
    pub(super) card_is_good: bool,
    pub(super) amount_is_right: bool,
    pub(super) on_hand: u32,
}

impl World {
    pub(super) fn new(coordination: Coordination, outside: Outside) -> Self {
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
            heard: BTreeSet::new(),
            once: Once::ALL.into(),
        }
    }

    /// Every moment that can come next, and differs.
    pub(super) fn next(&self, outside: Outside) -> Next {
        let (heard, new): (Vec<Message>, Vec<Message>) =
            self.sent.iter().partition(|message| self.heard.contains(message));
        let deliver = |messages: Vec<Message>| {
            messages.into_iter().flat_map(|message| self.delivered(message, outside))
        };
        let once = |one: &Once| {
            let mut world = self.once(*one, outside)?;
            world.once.remove(one);
            Some(world)
        };
        let (inevitable, optional): (Vec<Once>, Vec<Once>) =
            self.once.iter().partition(|one| **one == Once::Deadline);
        let differs = |world: &Self| world != self;
        Next {
            must: deliver(new)
                .chain(self.without_a_message(outside))
                .chain(inevitable.iter().filter_map(once))
                .filter(differs)
                .collect(),
            may: deliver(heard).chain(optional.iter().filter_map(once)).filter(differs).collect(),
        }
    }

    /// What a delivery leads to, at each service that listens to it.
    fn delivered(&self, message: Message, outside: Outside) -> Vec<Self> {
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
            Message::Payment(said) => vec![self.hears(
                message,
                match said {
                    machine_payment::Name::Taken if !outside.amount_is_right => Fact::WrongAmount,
                    machine_payment::Name::Taken => Fact::Payment(machine::Payment::Taken),
                    machine_payment::Name::Declined => Fact::Payment(machine::Payment::Declined),
                    machine_payment::Name::Refunded => Fact::Payment(machine::Payment::Refunded),
                    machine_payment::Name::Voided => Fact::Payment(machine::Payment::Voided),
                },
            )],
            Message::Stock(said) => vec![self.hears(
                message,
                Fact::Stock(match said {
                    machine_stock::Name::Reserved => machine::Stock::Reserved,
                    machine_stock::Name::Rejected => machine::Stock::Rejected,
                    machine_stock::Name::Released => machine::Stock::Released,
                }),
            )],
        }
    }

    /// The order service hears a fact by a message.
    fn hears(&self, message: Message, fact: Fact) -> Self {
        let mut world = self.told(fact);
        world.heard.insert(message);
        world
    }

    fn without_a_message(&self, outside: Outside) -> Vec<Self> {
        let mut worlds = Vec::new();
        if self.order.open().any(|step| !step.is_repeated()) {
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

    /// What happens once, if it can now.
    fn once(&self, one: Once, outside: Outside) -> Option<Self> {
        let resolved = |step| {
            let can_be = self.order.resolvable().any(|resolvable| resolvable == step);
            can_be.then(|| self.told(Fact::Resolved(step)))
        };
        match one {
            Once::Cancel => Some(self.told(Fact::CancelRequested)),
            Once::Deadline => Some(self.told(Fact::DeadlinePassed)),
            Once::ResolveRefund => resolved(Step::RefundPayment),
            Once::ResolveRelease => resolved(Step::ReleaseStock),
            Once::Charge => (!outside.amount_is_right).then(|| self.charge_asked()),
            Once::Refund => {
                self.payment.is_none().then(|| self.paid(Happened::RefundCalled, false))
            }
            Once::Release => {
                let unknown = self.goods == reservation::State::New;
                unknown.then(|| self.goods(reservation::Fact::ReleaseCalled, false))
            }
        }
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

    /// What must hold when nothing needs to happen any more.
    pub(super) fn check_end(&self, outside: Outside) {
        assert!(self.order.is_settled(), "never settled: {self:#?}");
        assert_eq!(self.reserved, 0, "goods are held: {self:#?}");
        if self.order.status == Status::Confirmed {
            assert!(outside.amount_is_right, "{self:#?}");
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
        Step::ShipStock => panic!("no message asks for it"),
    }
}
