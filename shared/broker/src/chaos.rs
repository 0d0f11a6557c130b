//! A broker that misbehaves on purpose, within what "at least once, in any order" allows: `?chaos=3` in its URL delivers each message
//! three times, in a random order. What stands on the port must come to the same end.

use std::time::Duration;

use rand::{RngExt as _, seq::SliceRandom as _};

use crate::{Broker, Error, Message, Outcome, Result};

/// The first copies of a batch are sent in groups of this size, each a little later than the one before.
const GROUP: usize = 3;
/// The longest pause between two groups.
const PAUSE: Duration = Duration::from_millis(15);
/// The latest that a further copy is sent.
const LATE: Duration = Duration::from_millis(400);

/// How it misbehaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chaos {
    /// How often each message is delivered.
    copies: usize,
}

/// Takes `chaos=N` out of a broker's URL.
pub(crate) fn split(url: &str) -> Result<(String, Option<Chaos>)> {
    let Some((base, query)) = url.split_once('?') else { return Ok((url.to_owned(), None)) };
    let (ours, others): (Vec<&str>, Vec<&str>) =
        query.split('&').partition(|parameter| parameter.starts_with("chaos="));
    let chaos = match ours.first().and_then(|parameter| parameter.strip_prefix("chaos=")) {
        None => None,
        Some(copies) => match copies.parse() {
            Ok(copies @ 1..=10) => Some(Chaos { copies }),
            _ => return Err(Error::Url("chaos= takes a number from 1 to 10".to_owned())),
        },
    };
    let url =
        if others.is_empty() { base.to_owned() } else { format!("{base}?{}", others.join("&")) };
    Ok((url, chaos))
}

impl Chaos {
    /// Publishes the batch in a random order; what counts is the first copy of each message, the others follow when they like.
    pub(crate) async fn publish(self, broker: &Broker, batch: &[Message]) -> Vec<Outcome> {
        let mut order: Vec<usize> = (0..batch.len()).collect();
        order.shuffle(&mut rand::rng());
        let mut outcomes = vec![Outcome::Failed("not sent".to_owned()); batch.len()];
        for group in order.chunks(GROUP) {
            tokio::time::sleep(at_most(PAUSE)).await;
            let messages: Vec<Message> =
                group.iter().filter_map(|n| batch.get(*n)).cloned().collect();
            let group_outcomes = broker.publish_as_is(&messages).await;
            for (n, outcome) in group.iter().zip(group_outcomes) {
                if let Some(slot) = outcomes.get_mut(*n) {
                    *slot = outcome;
                }
            }
            for message in messages {
                for _ in 1..self.copies {
                    let (broker, message) = (broker.clone(), message.clone());
                    tokio::spawn(async move {
                        tokio::time::sleep(at_most(LATE)).await;
                        broker.publish_as_is(&[message]).await;
                    });
                }
            }
        }
        outcomes
    }
}

fn at_most(limit: Duration) -> Duration {
    limit.mul_f64(rand::rng().random_range(0.0..1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chaos_is_taken_out_of_the_url() {
        for (given, left, copies) in [
            ("amqp://h/%2f", "amqp://h/%2f", None),
            ("amqp://h/%2f?chaos=3", "amqp://h/%2f", Some(3)),
            (
                "amqp://h?namespace=a&chaos=2&heartbeat=5",
                "amqp://h?namespace=a&heartbeat=5",
                Some(2),
            ),
            ("sqlite://a.db?mode=rwc", "sqlite://a.db?mode=rwc", None),
        ] {
            let (url, chaos) = split(given).unwrap();
            assert_eq!((url.as_str(), chaos.map(|c| c.copies)), (left, copies), "{given}");
        }
        for bad in ["sqlite://a?chaos=", "sqlite://a?chaos=0", "sqlite://a?chaos=x"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }
}
