//! What the scenarios came to, in figures: for the table, the page, and `--json`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::Serialize;

use super::{
    audit::{Books, Known, mails_of},
    customer::{Outcome, Sample},
    scenario::{Scenario, Style},
    stage::{Run, Spell},
};
use crate::checkout::Quantiles;

/// What one style came to in one scenario. Times are in milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) style: Style,
    /// Checkouts that began while it was broken: those that follow here.
    pub(super) checkouts: usize,
    /// Answered with 202 or 201.
    pub(super) accepted: usize,
    /// Answered with something else, or not at all.
    pub(super) refused: usize,
    /// Why, and how often.
    pub(super) reasons: BTreeMap<String, usize>,
    /// Sent again, because no answer came.
    pub(super) repeated: usize,
    /// How long the accepted ones waited for their answer; none when there are none. Where there are several turns, the p99 is the
    /// median of theirs: what else the machine did in one of them doesn't decide.
    pub(super) latency: Option<Quantiles>,
    /// The p99 of each turn: how much it changes by itself on this machine.
    pub(super) p99_of_turns: Vec<f64>,
    /// How long the refused ones did.
    pub(super) refusal: Option<Quantiles>,
    /// From placing to settling, of the accepted ones that are settled.
    pub(super) settled: Option<Quantiles>,
    pub(super) outcomes: Outcomes,
    /// All orders of the scenario, those before and after it included: from here on.
    pub(super) orders: usize,
    pub(super) confirmed: usize,
    /// Accepted at first, and cancelled later.
    pub(super) cancelled_later: usize,
    /// Accepted, or charged, and unknown to the order service.
    pub(super) lost: usize,
    /// Neither confirmed nor cancelled for good in the time.
    pub(super) stuck: usize,
    /// Orders with more than one charge.
    pub(super) charged_twice: usize,
    /// Orders that are not confirmed, and whose money was not given back.
    pub(super) money_kept: usize,
    pub(super) mails: usize,
    /// Orders with a mail that came twice.
    pub(super) mails_twice: usize,
    /// Accepted orders without all of their mails.
    pub(super) mails_missing: usize,
    /// Orders that say that they need attention, and dead letters.
    pub(super) needs_person: usize,
}

/// How all checkouts of a scenario ended, those before and after it was broken included; each is counted once.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Outcomes {
    /// As wanted.
    confirmed: usize,
    /// Accepted at first, cancelled later, and nothing is left to do.
    cancelled: usize,
    /// Refused, and nothing is left to do.
    refused: usize,
    /// Not settled in the time, whatever the customer was told.
    stuck: usize,
    /// Accepted, and unknown.
    lost: usize,
}

impl Outcomes {
    fn new(run: &Run, books: &Books) -> Self {
        let mut outcomes = Self::default();
        for sample in run.samples() {
            let (accepted, id) = match sample.outcome {
                Outcome::Accepted(id) => (true, Some(id)),
                Outcome::Refused { order, .. } => (false, order),
                Outcome::Unanswered => (false, None),
            };
            let order = id.and_then(|id| books.get(&id)).and_then(|known| known.order.as_ref());
            let count = match (accepted, order) {
                (true, None) => &mut outcomes.lost,
                (_, Some(order)) if !order.settled => &mut outcomes.stuck,
                (true, Some(order)) if order.status == "confirmed" => &mut outcomes.confirmed,
                (true, Some(_)) => &mut outcomes.cancelled,
                (false, _) => &mut outcomes.refused,
            };
            *count += 1;
        }
        outcomes
    }
}

/// A scenario: what was done, and what it came to.
#[derive(Debug, Serialize)]
pub(super) struct Compared {
    pub(super) scenario: Scenario,
    /// How long it was broken, in seconds, all turns together.
    pub(super) seconds: f64,
    /// Checkouts per second.
    pub(super) rate: u32,
    pub(super) styles: Vec<Figures>,
    /// For the plots.
    #[serde(skip)]
    pub(super) traces: Vec<Trace>,
}

/// The checkouts of a style, to be drawn.
#[derive(Debug, Serialize)]
pub(super) struct Trace {
    style: Style,
    /// When it was broken, in seconds.
    broken: Vec<(f64, f64)>,
    /// When it ended.
    end: f64,
    /// Seconds, milliseconds, and 1 for a refusal.
    points: Vec<(f64, f64, u8)>,
}

impl Compared {
    /// Of one scenario's runs, with their books.
    pub(super) fn new(scenario: Scenario, runs: &[(&Run, &Books)]) -> Self {
        let course = runs.first().map(|(run, _)| &run.course);
        let seconds = runs.first().map_or(0.0, |(run, _)| {
            run.spells.iter().map(|spell| (spell.broken.1 - spell.broken.0).as_secs_f64()).sum()
        });
        Self {
            scenario,
            seconds,
            rate: course.map_or(0, |course| course.rate),
            styles: runs.iter().map(|(run, books)| Figures::new(run, books)).collect(),
            traces: runs.iter().map(|(run, _)| Trace::new(run)).collect(),
        }
    }

    /// Whether anything was broken at all.
    pub(super) fn is_broken(&self) -> bool {
        self.scenario != Scenario::Healthy
    }

    /// How many checkouts of all styles ended in each way, in the order of [`Outcomes`].
    pub(super) fn ends(&self) -> [usize; 5] {
        let ends = self.styles.iter().map(|figures| {
            let Outcomes { confirmed, cancelled, refused, stuck, lost } = figures.outcomes;
            [confirmed, cancelled, refused, stuck, lost]
        });
        ends.fold([0; 5], |sum, ends| std::array::from_fn(|n| sum[n] + ends[n]))
    }

    /// The figures of one style.
    pub(super) fn of(&self, style: Style) -> Option<&Figures> {
        self.styles.iter().find(|figures| figures.style == style)
    }
}

impl Figures {
    fn new(run: &Run, books: &Books) -> Self {
        let accepted = |sample: &&Sample| matches!(sample.outcome, Outcome::Accepted(_));
        let took = |accepts: bool| {
            let wanted = run.counted().filter(|sample| accepted(sample) == accepts);
            times(wanted.map(|sample| sample.took).collect())
        };
        let checkouts = run.counted().count();
        let accepted_count = run.counted().filter(accepted).count();
        let of_turn = |spell: &Spell| {
            let counted = spell.samples.iter().filter(|sample| spell.counts(sample));
            times(counted.filter(accepted).map(|sample| sample.took).collect())
        };
        let p99_of_turns: Vec<f64> =
            run.spells.iter().filter_map(of_turn).map(|took| took.p99).collect();
        let settled = run.counted().filter_map(|sample| match sample.outcome {
            Outcome::Accepted(id) => books.get(&id)?.settled_after(),
            _ => None,
        });
        let count = |what: fn(&Known) -> bool| books.values().filter(|known| what(known)).count();
        let wanted = mails_of(run.style);
        let missing = books.values().filter(|known| known.accepted && known.kinds() < wanted);
        Self {
            style: run.style,
            checkouts,
            accepted: accepted_count,
            refused: checkouts - accepted_count,
            reasons: reasons(run),
            repeated: run.samples().map(|sample| sample.repeats).sum(),
            latency: took(true)
                .map(|took| Quantiles { p99: median(&p99_of_turns).unwrap_or(took.p99), ..took }),
            p99_of_turns,
            refusal: took(false),
            settled: times(settled.collect()),
            outcomes: Outcomes::new(run, books),
            orders: books.len(),
            confirmed: count(Known::confirmed),
            cancelled_later: count(|known| known.accepted && known.is("cancelled")),
            lost: count(|known| known.order.is_none()),
            stuck: count(|known| known.order.as_ref().is_some_and(|order| !order.settled)),
            charged_twice: count(|known| known.charges.len() > 1),
            money_kept: count(Known::money_kept),
            mails: books.values().map(|known| known.mails.len()).sum(),
            mails_twice: count(Known::mailed_twice),
            mails_missing: missing.count(),
            needs_person: count(Known::needs_attention)
                + books.values().map(|known| known.dead).sum::<usize>(),
        }
    }
}

fn reasons(run: &Run) -> BTreeMap<String, usize> {
    let mut reasons = BTreeMap::new();
    for sample in run.counted() {
        let why = match &sample.outcome {
            Outcome::Accepted(_) => continue,
            Outcome::Refused { why, .. } => why.clone(),
            Outcome::Unanswered => "no answer".to_owned(),
        };
        *reasons.entry(why).or_default() += 1;
    }
    reasons
}

fn median(numbers: &[f64]) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let (low, high) =
        (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some(f64::midpoint(*low, *high))
}

fn times(times: Vec<Duration>) -> Option<Quantiles> {
    (!times.is_empty()).then(|| Quantiles::of(times))
}

impl Known {
    fn is(&self, status: &str) -> bool {
        self.order.as_ref().is_some_and(|order| order.status == status)
    }

    fn confirmed(&self) -> bool {
        self.is("confirmed")
    }

    fn needs_attention(&self) -> bool {
        self.order.as_ref().is_some_and(|order| order.needs_attention)
    }

    fn settled_after(&self) -> Option<Duration> {
        let order = self.order.as_ref()?;
        Some(order.settled_at?.since(order.placed_at))
    }

    fn money_kept(&self) -> bool {
        !self.confirmed() && self.charges.iter().any(|charge| charge.refunded_at.is_none())
    }

    /// How many different mails it has.
    fn kinds(&self) -> usize {
        self.mails.iter().map(|mail| &mail.subject).collect::<BTreeSet<_>>().len()
    }

    fn mailed_twice(&self) -> bool {
        let ids: BTreeSet<_> = self.mails.iter().map(|mail| &mail.message_id).collect();
        self.kinds() < self.mails.len() || ids.len() < self.mails.len()
    }
}

impl Trace {
    fn new(run: &Run) -> Self {
        let (mut offset, mut broken, mut points) = (0.0, Vec::new(), Vec::new());
        for spell in &run.spells {
            let at = |instant: tokio::time::Instant| {
                offset + instant.saturating_duration_since(spell.began).as_secs_f64()
            };
            broken.push((hundredths(at(spell.broken.0)), hundredths(at(spell.broken.1))));
            points.extend(spell.samples.iter().map(|sample| {
                let refused = !matches!(sample.outcome, Outcome::Accepted(_));
                let took = sample.took.as_secs_f64() * 1_000.0;
                (hundredths(at(sample.at)), hundredths(took), u8::from(refused))
            }));
            offset = at(spell.ended);
        }
        Self { style: run.style, broken, end: hundredths(offset), points }
    }
}

fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 3.0, 5.0]), Some(4.0));
    }
}
