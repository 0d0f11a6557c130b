//! The sentences that more than one scenario needs.

use super::{
    super::{figures::Figures, table::factor},
    Seen, UNCHANGED,
    numbers::{of, p50, p99, ratio, time},
};

impl Seen<'_> {
    /// Who refused how many.
    pub(super) fn refusals(&self) -> String {
        let (c, o, s) = (self.choreography, self.orchestration, self.sync);
        let by_calls = match s.refused {
            0 => "With calls no checkout was refused".to_owned(),
            all if all == s.checkouts => {
                format!("With calls every checkout was refused, all {all}")
            }
            some => format!("With calls {} were refused", of(some, s.checkouts)),
        };
        let events = match c.refused + o.refused {
            0 if s.refused == 0 => "; with the event styles none either.".to_owned(),
            0 => format!("; with the event styles none, of {}.", c.checkouts + o.checkouts),
            some => format!("; with the event styles {}.", of(some, c.checkouts + o.checkouts)),
        };
        by_calls + &events
    }

    /// How much longer a checkout by calls took than at the healthy shop.
    pub(super) fn rise(&self, why: &str) -> String {
        let (now, then) = (p50(self.sync), self.healthy.and_then(|[.., sync]| p50(sync)));
        let refused = if self.sync.refused > 0 {
            format!(" ({} were refused)", of(self.sync.refused, self.sync.checkouts))
        } else {
            String::new()
        };
        match (now, then) {
            (Some(now), Some(then)) if now - then > 200.0 => format!(
                "With calls, half of the checkouts took {} or more, {} longer than with everything well{refused}: {why}.",
                time(Some(now)),
                time(Some(now - then))
            ),
            (Some(now), Some(then)) => format!(
                "With calls, half of the checkouts took {} or more; with everything well it was {}{refused}.",
                time(Some(now)),
                time(Some(then))
            ),
            (Some(now), None) => {
                format!(
                    "With calls, half of the checkouts took {} or more{refused}: {why}.",
                    time(Some(now))
                )
            }
            (None, _) => format!("With calls no checkout was accepted{refused}."),
        }
    }

    /// Whether the event styles' checkouts are as fast as the healthy shop's.
    pub(super) fn unchanged(&self, why: &str) -> String {
        let (c, o) = (self.choreography, self.orchestration);
        let Some([then_c, then_o, _]) = self.healthy else {
            return format!(
                "With choreography 99 of 100 were answered within {}, with orchestration within {}. {why}.",
                time(p99(c)),
                time(p99(o))
            );
        };
        let (Some(by_c), Some(by_o)) = (factor(c, Some(then_c)), factor(o, Some(then_o))) else {
            return "The event styles can't be compared with the healthy shop.".to_owned();
        };
        let figures = format!(
            "the time within which 99 of 100 were answered is {by_c:.2} times the healthy shop's with choreography ({}) and {by_o:.2} times \
             with orchestration ({})",
            time(p99(c)),
            time(p99(o))
        );
        let range = [then_c, then_o].map(own_range);
        let own = range.iter().filter_map(|(low, high)| ratio(*high, *low)).fold(1.0, f64::max);
        if by_c.max(by_o) <= UNCHANGED {
            format!("The event styles' customers noticed nothing: {figures}. {why}.")
        } else if by_c.max(by_o) <= own {
            let [(low_c, high_c), (low_o, high_o)] =
                range.map(|(low, high)| (time(low), time(high)));
            format!(
                "With events, {figures}. That is the noise of this machine: the healthy shop's own went from {low_c} to {high_c} with choreography \
                 and from {low_o} to {high_o} with orchestration, from one turn to another. {why}."
            )
        } else {
            format!(
                "With events, {figures}: more than the healthy shop's own differ from turn to turn, though nobody waits for what is slow. Look \
                 for what else the machine did then."
            )
        }
    }

    /// Whether the books balance.
    pub(super) fn books(&self) -> String {
        let faults = [self.choreography, self.orchestration].map(wrong);
        let mut text = if faults.iter().all(Vec::is_empty) {
            format!(
                "Afterwards the books of both event styles balance: none of {} orders was lost or stuck, nobody was charged or mailed twice, \
                 and nothing waits for a person.",
                self.choreography.orders + self.orchestration.orders
            )
        } else {
            let named = faults.iter().zip(["choreography", "orchestration"]);
            let named = named.filter(|(faults, _)| !faults.is_empty());
            let named: Vec<_> =
                named.map(|(faults, style)| format!("{style}: {}", faults.join(", "))).collect();
            format!("Afterwards the books of the event styles show {}.", named.join("; "))
        };
        let sync = wrong(self.sync);
        text += &if sync.is_empty() {
            format!(" Those of the {} orders made by calls do, too.", self.sync.orders).replace(
                " do, too",
                if faults.iter().all(Vec::is_empty) { " do, too" } else { " balance" },
            )
        } else {
            format!(" Of the {} orders made by calls: {}.", self.sync.orders, sync.join(", "))
        };
        text
    }
}

/// What is wrong in somebody's books.
fn wrong(figures: &Figures) -> Vec<String> {
    [
        (figures.lost, "lost"),
        (figures.stuck, "stuck"),
        (figures.charged_twice, "charged twice"),
        (figures.money_kept, "not confirmed and their money kept"),
        (figures.mails_twice, "mailed twice"),
        (figures.mails_missing, "without one of their mails"),
        (figures.needs_person, "left to a person"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect()
}

/// The least and the greatest p99 of a style's turns.
fn own_range(figures: &Figures) -> (Option<f64>, Option<f64>) {
    let turns = || figures.p99_of_turns.iter().copied();
    (turns().reduce(f64::min), turns().reduce(f64::max))
}
