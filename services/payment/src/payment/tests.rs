//! Every state with every fact, and every order of arrival.

use proptest::prelude::*;

use super::{Effect::*, State::*, *};

const STATES: [Option<State>; 8] = [
    None,
    Some(Pending),
    Some(Taken),
    Some(Declined),
    Some(Voided),
    Some(Reversing),
    Some(Refunded),
    Some(Barred),
];

/// What each fact makes of each state: the state after it and the effect, or none for a contradiction.
type Row = (Fact, [Option<(State, Option<Effect>)>; 8]);

#[rustfmt::skip]
const TABLE: [Row; 7] = [
    // unknown, pending, taken, declined, voided, reversing, refunded, barred
    (Fact::Placed, [
        Some((Pending, Some(Charge))), Some((Pending, Some(Charge))), Some((Taken, None)), Some((Declined, None)),
        Some((Voided, None)), Some((Reversing, None)), Some((Refunded, None)), Some((Barred, None)),
    ]),
    (Fact::Cancelled, [
        Some((Voided, Some(AnnounceVoided))), Some((Reversing, Some(Reverse))), Some((Reversing, Some(Reverse))),
        Some((Declined, None)), Some((Voided, None)), Some((Reversing, None)), Some((Refunded, None)),
        Some((Voided, Some(AnnounceVoided))),
    ]),
    (Fact::RefundCalled, [
        Some((Barred, None)), Some((Reversing, Some(Reverse))), Some((Reversing, Some(Reverse))), Some((Declined, None)),
        Some((Voided, None)), Some((Reversing, None)), Some((Refunded, None)), Some((Barred, None)),
    ]),
    (Fact::ChargeSucceeded, [
        None, Some((Taken, Some(AnnounceTaken))), Some((Taken, None)), None, None, Some((Reversing, None)), Some((Refunded, None)),
        None,
    ]),
    (Fact::ChargeDeclined, [
        None, Some((Declined, Some(AnnounceDeclined))), None, Some((Declined, None)), Some((Voided, None)),
        Some((Reversing, None)), None, None,
    ]),
    (Fact::Refunded, [
        None, None, None, None, None, Some((Refunded, Some(AnnounceRefunded))), Some((Refunded, None)), None,
    ]),
    (Fact::Voided, [
        None, None, None, None, Some((Voided, None)), Some((Voided, Some(AnnounceVoided))), None, None,
    ]),
];

#[test]
fn every_state_takes_every_fact_as_the_table_says() {
    for (fact, row) in TABLE {
        for (state, expected) in STATES.into_iter().zip(row) {
            let expected = expected
                .map(|(state, effect)| Transition { state, effect })
                .ok_or(Contradiction { state, fact });
            assert_eq!(transition(state, fact), expected, "{state:?} + {fact:?}");
        }
    }
}

#[test]
fn a_fact_that_is_repeated_changes_nothing() {
    for (fact, _) in TABLE {
        for state in STATES {
            let Ok(first) = transition(state, fact) else { continue };
            let again = transition(Some(first.state), fact).unwrap();
            assert_eq!(again.state, first.state, "{state:?} + {fact:?} twice");
            // Asking for the same charge again is the one effect that may be repeated: the key makes it harmless.
            assert!(matches!(again.effect, None | Some(Charge)), "{state:?} + {fact:?} twice");
        }
    }
}

/// One thing that may happen next, somewhere between the broker, the service and the processor.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// `OrderPlaced` is delivered, by a message of its own or again.
    DeliverPlaced,
    DeliverCancelled,
    CallForRefund,
    /// The processor gets a charge that is on its way; it takes the money or declines, as the world says.
    ProcessorCharges,
    /// An answer of the processor's arrives.
    AnswerArrives,
    /// An answer is lost, or the process dies while it waits.
    AnswerIsLost,
    /// A replica asks the processor to undo what must be undone.
    WorkerReverses,
}

/// The card processor's memory of the one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AtProcessor {
    Nothing,
    Charged,
    Declined,
    Blocked,
    GivenBack,
}

struct World {
    payment: Option<Payment>,
    processor: AtProcessor,
    card_is_good: bool,
    charges_on_their_way: u32,
    answers: Vec<Happened>,
    announced: Vec<Effect>,
    placed: bool,
    cancelled: bool,
    /// Whether a message has cancelled it: then order waits for what payment announces.
    cancelled_by_a_message: bool,
}

impl World {
    fn new(card_is_good: bool) -> Self {
        Self {
            payment: None,
            processor: AtProcessor::Nothing,
            card_is_good,
            charges_on_their_way: 0,
            answers: Vec::new(),
            announced: Vec::new(),
            placed: false,
            cancelled: false,
            cancelled_by_a_message: false,
        }
    }

    fn state(&self) -> Option<State> {
        self.payment.as_ref().map(|payment| payment.state)
    }

    fn tell(&mut self, happened: &Happened) {
        let order_id = Uuid::from_u128(1);
        let now = Timestamp::from_micros(1);
        let (payment, effect) =
            Payment::after(self.payment.take(), order_id, happened, now).unwrap();
        // What the schema demands.
        assert!(
            matches!(payment.state, Voided | Barred) || payment.charge_key.is_some(),
            "{payment:?}"
        );
        assert_eq!(payment.state == Reversing, payment.due_at.is_some(), "{payment:?}");
        self.payment = Some(payment);
        match effect {
            None | Some(Reverse) => {}
            Some(Charge) => self.charges_on_their_way += 1,
            Some(announcement) => self.announced.push(announcement),
        }
    }

    fn step(&mut self, step: Step) {
        let total = Money { amount: 4200, currency: "EUR".to_owned() };
        match step {
            Step::DeliverPlaced => {
                self.placed = true;
                self.tell(&Happened::Placed { key: Uuid::from_u128(2), total });
            }
            Step::DeliverCancelled => {
                (self.cancelled, self.cancelled_by_a_message) = (true, true);
                let cause = Cause { message: Some(Uuid::from_u128(3)), traceparent: None };
                self.tell(&Happened::Cancelled { total, cause });
            }
            Step::CallForRefund => {
                self.cancelled = true;
                self.tell(&Happened::RefundCalled { total, cause: Cause::default() });
            }
            Step::ProcessorCharges if self.charges_on_their_way > 0 => {
                self.charges_on_their_way -= 1;
                self.charge();
            }
            Step::AnswerArrives if !self.answers.is_empty() => {
                let answer = self.answers.remove(0);
                self.tell(&answer);
            }
            Step::AnswerIsLost if !self.answers.is_empty() => drop(self.answers.pop()),
            Step::WorkerReverses if self.state() == Some(Reversing) => self.reverse(),
            Step::ProcessorCharges
            | Step::AnswerArrives
            | Step::AnswerIsLost
            | Step::WorkerReverses => {}
        }
    }

    fn charge(&mut self) {
        if self.processor == AtProcessor::Nothing {
            self.processor =
                if self.card_is_good { AtProcessor::Charged } else { AtProcessor::Declined };
        }
        self.answers.push(match self.processor {
            AtProcessor::Charged | AtProcessor::GivenBack => {
                Happened::ChargeSucceeded { charge_id: "ch_1".to_owned() }
            }
            _ => Happened::ChargeDeclined { reason: "card_declined".to_owned() },
        });
    }

    fn reverse(&mut self) {
        self.processor = match self.processor {
            AtProcessor::Charged | AtProcessor::GivenBack => AtProcessor::GivenBack,
            _ => AtProcessor::Blocked,
        };
        self.answers.push(if self.processor == AtProcessor::GivenBack {
            Happened::Refunded
        } else {
            Happened::Voided
        });
    }

    /// Everything that is on its way arrives, and what must be certain is tried until it is.
    fn settle(&mut self) {
        while self.charges_on_their_way > 0 || !self.answers.is_empty() {
            self.step(Step::ProcessorCharges);
            self.step(Step::AnswerArrives);
        }
        match self.state() {
            Some(Pending) => self.step(Step::DeliverPlaced),
            Some(Reversing) => self.step(Step::WorkerReverses),
            _ => return,
        }
        self.settle();
    }

    fn check(&self) {
        let money_is_gone = self.processor == AtProcessor::Charged;
        let end = match (self.placed, self.cancelled) {
            (false, false) => return,
            (true, false) if self.card_is_good => vec![Taken],
            (true, false) => vec![Declined],
            (_, true) if self.card_is_good => vec![Voided, Refunded, Barred],
            (_, true) => vec![Voided, Declined, Barred],
        };
        let state = self.state().unwrap();
        assert!(end.contains(&state), "{state:?}");
        assert_eq!(state == Taken, money_is_gone, "{state:?}, {:?}", self.processor);
        for announcement in &self.announced {
            let times = self.announced.iter().filter(|other| *other == announcement).count();
            assert_eq!(times, 1, "{:?}", self.announced);
        }
        // A call about an order that is unknown announces nothing, unless a message cancels it too.
        if state == Barred {
            assert!(!self.cancelled_by_a_message, "it is waited for");
            return assert_eq!(self.announced, []);
        }
        let last = match state {
            Taken => AnnounceTaken,
            Declined => AnnounceDeclined,
            Refunded => AnnounceRefunded,
            _ => AnnounceVoided,
        };
        assert_eq!(self.announced.last(), Some(&last), "the last word is how it ends");
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        Just(Step::DeliverPlaced),
        Just(Step::DeliverCancelled),
        Just(Step::CallForRefund),
        Just(Step::ProcessorCharges),
        Just(Step::AnswerArrives),
        Just(Step::AnswerIsLost),
        Just(Step::WorkerReverses),
    ];
    proptest::collection::vec(step, 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn however_facts_arrive_the_books_and_the_processor_agree(card_is_good: bool, steps in steps()) {
        let mut world = World::new(card_is_good);
        for step in steps {
            world.step(step);
        }
        world.settle();
        world.check();
    }
}
