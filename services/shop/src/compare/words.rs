//! What is seen in each scenario and why, with the figures of the run. A sentence says only what the run has shown: where it can
//! come out otherwise, there is another sentence.

mod numbers;
mod sentences;

use numbers::{factor_in_words, of, p50, ratio, settled, share, slowest, things, time};

use super::{
    audit::LIMIT,
    figures::{Compared, Figures},
    scenario::{KILLED_MS, Scenario, Style},
    table::healthy,
};

/// A p99 that is at most so many times the healthy shop's counts as unchanged.
pub(super) const UNCHANGED: f64 = 1.2;

/// The three styles' figures of one scenario, and the healthy ones.
struct Seen<'r> {
    choreography: &'r Figures,
    orchestration: &'r Figures,
    sync: &'r Figures,
    healthy: Option<[&'r Figures; 3]>,
    seconds: f64,
}

/// What was done to the shop.
pub(super) fn done(result: &Compared) -> String {
    let (seconds, rate) = (result.seconds, result.rate);
    let checkouts = result.styles.first().map_or(0, |figures| figures.checkouts);
    let killed = format!(
        "The card processor takes {KILLED_MS} ms for each charge, and the payment service is killed (SIGKILL) among them, and started again at once"
    );
    let what = match result.scenario {
        Scenario::Healthy => "Nothing is broken",
        Scenario::SlowMail => "The mail server takes two seconds for each mail",
        Scenario::SlowProcessor => "The card processor takes two seconds for each charge",
        Scenario::EmailDown => "The email service is stopped, and started again",
        Scenario::InventoryDown => "The inventory service is stopped, and started again",
        Scenario::PaymentKilled => &killed,
        Scenario::Spike => "Ten times as many customers come as before",
        Scenario::Errors => {
            "Of the charges and the mails, one in twenty fails: the processor answers 500, the mail server 451"
        }
    };
    let rate = if result.scenario == Scenario::Spike { rate * 10 } else { rate };
    format!(
        "{what}. This lasts {seconds:.0} s, with {rate} checkouts a second; {checkouts} with each style are counted."
    )
}

/// What is seen, and why: a paragraph for the customer's side, and one for the books.
pub(super) fn seen(result: &Compared, results: &[Compared]) -> Vec<String> {
    let [Some(choreography), Some(orchestration), Some(sync)] =
        Style::ALL.map(|style| result.of(style))
    else {
        return Vec::new();
    };
    let healthy = match Style::ALL.map(|style| healthy(results, style)) {
        [Some(one), Some(two), Some(three)] => Some([one, two, three]),
        _ => None,
    };
    let seen = Seen { choreography, orchestration, sync, healthy, seconds: result.seconds };
    let told = match result.scenario {
        Scenario::Healthy => seen.healthy(),
        Scenario::SlowMail => seen.slow_mail(),
        Scenario::SlowProcessor => seen.slow_processor(),
        Scenario::EmailDown => seen.email_down(),
        Scenario::InventoryDown => seen.inventory_down(),
        Scenario::PaymentKilled => seen.payment_killed(),
        Scenario::Spike => seen.spike(),
        Scenario::Errors => seen.errors(),
    };
    vec![told, seen.books()]
}

/// What the whole run says, in a few lines.
pub(super) fn verdict(results: &[Compared]) -> Vec<String> {
    let mut lines = Vec::new();
    let all = |style: Style| results.iter().filter_map(move |result| result.of(style));
    let events = || all(Style::Choreography).chain(all(Style::Orchestration));
    let sum = |of: fn(&Figures) -> usize| events().map(of).sum::<usize>();
    let (lost, twice, mails) = (sum(|f| f.lost), sum(|f| f.charged_twice), sum(|f| f.mails_twice));
    let orders = sum(|f| f.orders);
    lines.push(if lost + twice + mails == 0 {
        format!("The two event styles lost none of {orders} orders, and charged and mailed nobody twice.")
    } else {
        format!("Of {orders} orders with the two event styles {lost} were lost, {twice} charged twice, {mails} mailed twice.")
    });
    let refused: usize = sum(|f| f.refused);
    let (sync_refused, sync_all) =
        all(Style::Sync).fold((0, 0), |(refused, all), f| (refused + f.refused, all + f.checkouts));
    let events_all = sum(|f| f.checkouts);
    lines.push(format!(
        "Refused at the checkout: {} by the event styles, {} by calls.",
        of(refused, events_all),
        of(sync_refused, sync_all)
    ));
    let person: usize = all(Style::Sync).map(|f| f.needs_person).sum();
    lines.push(format!(
        "Left to a person: {} with the event styles, {person} with calls.",
        sum(|f| f.needs_person)
    ));
    lines
}

impl Seen<'_> {
    fn healthy(&self) -> String {
        let (c, o, s) = (p50(self.choreography), p50(self.orchestration), p50(self.sync));
        let mut text = format!(
            "Half of the checkouts were answered within {} with choreography, {} with orchestration and {} with calls",
            time(c),
            time(o),
            time(s)
        );
        text += &match ratio(s, c.zip(o).map(|(c, o)| c.max(o))) {
            Some(times) if times > UNCHANGED => format!(
                ": {} times as long. The event styles answer as soon as the order and its first message are committed; with \
                 calls the customer waits for inventory, payment and email, one after the other.",
                factor_in_words(times)
            ),
            _ => ": no difference that would matter. Nobody is slow, so waiting for the others costs little.".to_owned(),
        };
        text += &format!(
            " What is won there is the answer, not the order: it was settled {} after it was placed with choreography, {} with \
             orchestration, which sends a command and waits for its answer twice, and {} with calls (the half-way marks).",
            time(settled(self.choreography)),
            time(settled(self.orchestration)),
            time(settled(self.sync))
        );
        text
    }

    fn slow_mail(&self) -> String {
        let mut text = self.rise("the receipt is one of the calls that the customer waits for");
        text += " ";
        text +=
            &self.unchanged("The mails wait in a queue of their own, and nobody waits for them");
        text
    }

    fn slow_processor(&self) -> String {
        let mut text = self.rise("the charge is one of the calls that the customer waits for");
        text += " ";
        text += &format!(
            "The event styles' customers didn't wait for the charge: half of them had their answer within {} with choreography and {} with \
             orchestration.",
            time(p50(self.choreography)),
            time(p50(self.orchestration))
        );
        text += &format!(
            " What takes longer is the order: half of them were settled after {} with choreography and {} with orchestration.",
            time(settled(self.choreography)),
            time(settled(self.orchestration))
        );
        text
    }

    fn email_down(&self) -> String {
        let mut text = self.refusals();
        if self.sync.refused > 0 {
            text += " By calls, an order without its receipt is no order: the customer was sent away because of a mail";
            text += if self.sync.stuck + self.sync.money_kept == 0 {
                ", and what had been reserved and charged before was undone."
            } else {
                ", and not all that had been reserved and charged before was undone."
            };
        }
        let missing = self.choreography.mails_missing + self.orchestration.mails_missing;
        text += &if missing == 0 {
            " With events the mails waited in the queue, and all of them were sent when email was back.".to_owned()
        } else {
            format!(
                " With events the mails waited in the queue; {missing} orders still missed one {} s after email was back.",
                LIMIT.as_secs()
            )
        };
        text
    }

    fn inventory_down(&self) -> String {
        let mut text = self.refusals();
        text += &format!(
            " With events the orders waited for inventory: the slowest was settled {} after it was placed with choreography, {} with \
             orchestration, and inventory was away for {:.0} s.",
            time(slowest(self.choreography)),
            time(slowest(self.orchestration)),
            self.seconds
        );
        if self.sync.needs_person > 0 {
            text += &format!(
                " With calls, {} under way when inventory went away and left to a person: nobody answered whether goods were put aside, put \
                 back or taken off.",
                things(self.sync.needs_person, "order was", "orders were")
            );
        }
        text
    }

    fn payment_killed(&self) -> String {
        let mut text = self.refusals();
        text += " With events, the messages that the dead process had not acknowledged were delivered again, and the card \
                 processor recognised by their keys what it had charged already.";
        text += &format!(
            " The slowest order was settled after {} with choreography and {} with orchestration.",
            time(slowest(self.choreography)),
            time(slowest(self.orchestration))
        );
        if self.sync.needs_person > 0 {
            text += &format!(
                " With calls, whoever called payment at that moment learned nothing of what became of the charge, and the call to undo it met \
                 the same dead process: {} left to a person.",
                things(self.sync.needs_person, "order was", "orders were")
            );
        }
        text
    }

    fn spike(&self) -> String {
        let (c, o, s) = (p50(self.choreography), p50(self.orchestration), p50(self.sync));
        let mut text = self.refusals();
        text += &format!(
            " Half of the accepted checkouts were answered within {} with choreography, {} with orchestration and {} with calls.",
            time(c),
            time(o),
            time(s)
        );
        text += &match ratio(s, c.zip(o).map(|(c, o)| c.max(o))) {
            Some(times) if times > UNCHANGED => format!(
                " With calls it was {} times as long: each checkout costs all services their part while the customer waits, so the \
                 slowest of them sets the pace. With events only the order service must keep up with the customers; the others work off what \
                 waits in their queues.",
                factor_in_words(times)
            ),
            _ => " This machine could keep up with the customers in each style, so the spike decided nothing.".to_owned(),
        };
        text += &format!(
            " The queues had a price: the slowest order was settled {} after it was placed with choreography and {} with orchestration.",
            time(slowest(self.choreography)),
            time(slowest(self.orchestration))
        );
        text
    }

    fn errors(&self) -> String {
        let mut text = self.refusals();
        text += " With events a message whose handling failed is tried again a moment later, and the customer isn't there to see it";
        text += &match self.choreography.cancelled_later + self.orchestration.cancelled_later {
            0 => ": not one accepted order was cancelled because of an error.".to_owned(),
            some => format!("; {some} accepted orders were cancelled all the same."),
        };
        text += &format!(
            " With calls the error is the answer: of the customers, {} were told that it didn't work.",
            share(self.sync.refused, self.sync.checkouts)
        );
        text
    }
}
