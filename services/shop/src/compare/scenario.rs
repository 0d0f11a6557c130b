//! What is broken, when, and for how long.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

/// Who coordinates the orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Style {
    /// Nobody: each service reacts to events.
    Choreography,
    /// The order's saga, by commands.
    Orchestration,
    /// The order service, by calls.
    Sync,
}

impl Style {
    /// All three.
    pub(super) const ALL: [Self; 3] = [Self::Choreography, Self::Orchestration, Self::Sync];

    /// As it is asked for, and shown.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Choreography => "choreography",
            Self::Orchestration => "orchestration",
            Self::Sync => "sync",
        }
    }
}

/// What happens to the shop while the orders are placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Scenario {
    /// Nothing.
    Healthy,
    /// The mail server takes two seconds for each mail.
    SlowMail,
    /// The card processor takes two seconds for each charge.
    SlowProcessor,
    /// The email service is stopped.
    EmailDown,
    /// The inventory service is stopped for ten seconds.
    InventoryDown,
    /// The payment service is killed, and started again at once.
    PaymentKilled,
    /// Ten times as many customers for five seconds.
    Spike,
    /// One in twenty charges and mails fails.
    Errors,
}

/// What is done to the shop.
#[derive(Debug, Clone)]
pub(super) enum Breakage {
    /// Nothing.
    None,
    /// The outside world misbehaves: the part of the sandbox, and how.
    Faults(Vec<(&'static str, Value)>),
    /// A service is stopped, and started again at the end.
    Down(&'static str),
    /// A service is killed at the beginning, while it waits for a processor that takes its time, and started again at once.
    Killed(&'static str),
    /// So many times as many customers come.
    Crowd(u32),
}

/// How a scenario goes: healthy, broken, healthy again.
#[derive(Debug, Clone)]
pub(super) struct Course {
    /// Checkouts per second.
    pub(super) rate: u32,
    /// How long all is well at first.
    pub(super) before: Duration,
    /// How long it is broken: only the checkouts of this time are counted.
    pub(super) during: Duration,
    /// How long orders are placed after that.
    pub(super) after: Duration,
    /// What is broken.
    pub(super) breakage: Breakage,
}

impl Course {
    /// Whether it stays broken until the last checkout that counts is answered, so that none of those meets what is mended.
    pub(super) const fn lingers(&self) -> bool {
        matches!(self.breakage, Breakage::Faults(_) | Breakage::Down(_) | Breakage::Killed(_))
    }
}

/// The latency of what is slow.
const SLOW_MS: u64 = 2_000;
/// The latency of the processor while payment is killed. With less, hardly a charge would be under way at that moment.
pub(super) const KILLED_MS: u64 = 200;
/// Checkouts per second where nothing else is said.
const RATE: u32 = 20;
/// Where slow and healthy are compared: more of them, since a p99 needs many.
const COMPARED_RATE: u32 = 40;

impl Scenario {
    /// All of them, in the order in which they run.
    pub(super) const ALL: [Self; 8] = [
        Self::Healthy,
        Self::SlowMail,
        Self::SlowProcessor,
        Self::EmailDown,
        Self::InventoryDown,
        Self::PaymentKilled,
        Self::Spike,
        Self::Errors,
    ];

    /// As it is asked for on the command line, and used in links.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::SlowMail => "slow-mail",
            Self::SlowProcessor => "slow-processor",
            Self::EmailDown => "email-down",
            Self::InventoryDown => "inventory-down",
            Self::PaymentKilled => "payment-killed",
            Self::Spike => "spike",
            Self::Errors => "errors",
        }
    }

    /// As a heading.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::SlowMail => "The slow afternoon: the mail server takes 2 s",
            Self::SlowProcessor => "The card processor takes 2 s",
            Self::EmailDown => "Email is down",
            Self::InventoryDown => "Inventory is down",
            Self::PaymentKilled => "Payment is killed in the middle",
            Self::Spike => "A spike: ten times the customers",
            Self::Errors => "5 % errors",
        }
    }

    /// In a table.
    pub(super) const fn short(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::SlowMail => "mail server slow (2 s)",
            Self::SlowProcessor => "processor slow (2 s)",
            Self::EmailDown => "email down",
            Self::InventoryDown => "inventory down",
            Self::PaymentKilled => "payment killed",
            Self::Spike => "spike, 10 x",
            Self::Errors => "5 % errors",
        }
    }

    /// How it goes.
    pub(super) fn course(self, quick: bool) -> Course {
        let (before, after) = if quick { (0.5, 0.3) } else { (0.8, 0.8) };
        let course = |rate, before, during, after, breakage| Course {
            rate,
            before: Duration::from_secs_f64(before),
            during: Duration::from_secs_f64(if quick { 2.0_f64.min(during) } else { during }),
            after: Duration::from_secs_f64(after),
            breakage,
        };
        let slow = json!({"latency_ms": SLOW_MS});
        match self {
            Self::Healthy => course(COMPARED_RATE, 0.0, TURN, 0.0, Breakage::None),
            Self::SlowMail => {
                let faults = vec![("mail", slow)];
                course(COMPARED_RATE, 0.0, TURN, 0.0, Breakage::Faults(faults))
            }
            Self::SlowProcessor => {
                course(RATE, before, 3.0, after, Breakage::Faults(vec![("processor", slow)]))
            }
            Self::EmailDown => course(RATE, before, 3.0, after, Breakage::Down("email")),
            Self::InventoryDown => course(RATE, before, 9.0, after, Breakage::Down("inventory")),
            Self::PaymentKilled => course(RATE, before, 3.0, after, Breakage::Killed("payment")),
            Self::Spike => course(RATE, before, 5.0, after, Breakage::Crowd(10)),
            Self::Errors => {
                let failing = json!({"error_rate": 0.05});
                let faults = vec![("processor", failing.clone()), ("mail", failing)];
                course(RATE, before, 5.0, after, Breakage::Faults(faults))
            }
        }
    }

    /// Whether its p99 can be compared with the healthy shop's: those take turns.
    pub(super) const fn is_compared(self) -> bool {
        matches!(self, Self::Healthy | Self::SlowMail)
    }

    /// What runs together, taking turns: the healthy shop and the slow mail server, so that whatever else the machine
    /// does meanwhile meets both.
    pub(super) fn groups(wanted: &[Self], quick: bool) -> Vec<Group> {
        let turns = if quick { 1 } else { TURNS };
        let (together, alone): (Vec<_>, Vec<_>) =
            wanted.iter().copied().partition(|scenario| scenario.is_compared());
        let together = (!together.is_empty()).then_some(Group { scenarios: together, turns });
        let alone = alone.into_iter().map(|one| Group { scenarios: vec![one], turns: 1 });
        together.into_iter().chain(alone).collect()
    }
}

/// How often the scenarios that are compared take turns.
const TURNS: usize = 5;
/// How many seconds each turn takes.
const TURN: f64 = 2.6;

/// Scenarios that take turns.
#[derive(Debug)]
pub(super) struct Group {
    /// Which.
    pub(super) scenarios: Vec<Scenario>,
    /// How often.
    pub(super) turns: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_runs_once_and_those_that_are_compared_together() {
        let groups = Scenario::groups(&Scenario::ALL, false);
        assert_eq!(groups[0].scenarios, [Scenario::Healthy, Scenario::SlowMail]);
        let all: Vec<_> = groups.iter().flat_map(|group| group.scenarios.clone()).collect();
        assert_eq!(all, Scenario::ALL);
        assert_eq!(Scenario::groups(&[Scenario::Spike], true).len(), 1);
    }

    #[test]
    fn a_name_is_what_the_command_line_takes() {
        for scenario in Scenario::ALL {
            let value = clap::ValueEnum::to_possible_value(&scenario).unwrap();
            assert_eq!(value.get_name(), scenario.as_str());
        }
    }
}
