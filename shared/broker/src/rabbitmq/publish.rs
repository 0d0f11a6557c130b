//! Publishing a batch: pipelined, with confirms, and told apart from what no queue took.

use std::{
    collections::{BTreeMap, HashSet},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt as _;
use lapin::{
    BasicProperties, Channel, Confirmation, options::BasicPublishOptions, types::ShortString,
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    connection::{ANSWER_TIMEOUT, Link, Live, no_answer},
    declare::name,
    refusal,
};
use crate::{Error, Outcome};

/// A message on its way out.
pub(super) struct Outgoing<'m> {
    pub(super) routing_key: &'m str,
    pub(super) body: &'m [u8],
    pub(super) properties: BasicProperties,
}

/// The answer to one message, as it is awaited.
type Answer<'m> = Pin<Box<dyn Future<Output = Result<Confirmation, Error>> + Send + 'm>>;

impl Link {
    /// Publishes a batch; what each message came to, in the batch's order.
    pub(super) async fn publish(&self, exchange: &str, batch: &[Outgoing<'_>]) -> Vec<Outcome> {
        let mut outcomes = self.publish_together(exchange, &batch.iter().collect::<Vec<_>>()).await;
        let mut refused: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (n, (outgoing, outcome)) in batch.iter().zip(&outcomes).enumerate() {
            if matches!(outcome, Outcome::Refused(_)) {
                refused.entry(outgoing.routing_key).or_default().push(n);
            }
        }
        // To refuse one, the broker closes the channel under all. What a user may publish goes by the key.
        if refused.len() > 1 {
            for these in refused.into_values() {
                let of_key: Vec<_> = these.iter().map(|n| &batch[*n]).collect();
                let again = self.publish_together(exchange, &of_key).await;
                for (n, outcome) in these.into_iter().zip(again) {
                    outcomes[n] = outcome;
                }
            }
        }
        outcomes
    }

    /// Publishes messages on one channel.
    async fn publish_together(&self, exchange: &str, batch: &[&Outgoing<'_>]) -> Vec<Outcome> {
        if batch.is_empty() {
            return Vec::new();
        }
        let all_failed = |error: &Error| vec![Outcome::of(error); batch.len()];
        let live = match self.live().await {
            Ok(live) => live,
            // Even if it is a refusal: it isn't these messages that were refused.
            Err(error) => return vec![Outcome::Failed(error.to_string()); batch.len()],
        };
        if let Err(error) = unblocked(&live).await {
            return all_failed(&error);
        }
        let published = async {
            let channel = live.confirming_channel().await?;
            Ok::<_, Error>(publish_on(channel, name(exchange)?, batch).await)
        };
        let (outcomes, unfinished) = match published.await {
            Ok((outcomes, Ok(channel))) => {
                live.put_back(channel);
                return outcomes;
            }
            Ok((outcomes, Err(error))) => (outcomes, error),
            Err(error) => (all_failed(&error), error),
        };
        // A refusal costs only the channel. And a blocked connection is healthy, and may stay blocked for hours: new ones
        // would only pile up beside it.
        if !matches!(unfinished, Error::Refused(_)) && !live.connection().status().blocked() {
            self.give_up(&live, &unfinished).await;
        }
        outcomes
    }
}

impl Outcome {
    fn of(error: &Error) -> Self {
        match error {
            Error::Refused(reason) => Self::Refused(reason.clone()),
            error => Self::Failed(error.to_string()),
        }
    }
}

/// Waits a while for a broker that has stopped its publishers (memory or disk alarm). Messages given to it meanwhile would
/// pile up in lapin.
async fn unblocked(live: &Arc<Live>) -> Result<(), Error> {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    while live.connection().status().blocked() {
        if Instant::now() > deadline {
            return Err(Error::Unavailable("it blocks publishers: an alarm is set".to_owned()));
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Publishes on a channel that nobody else uses. Gives the channel back when all was answered; an error else. When that is
/// a refusal, one of those that were refused is the cause, and the others were refused with it.
async fn publish_on(
    channel: Channel,
    exchange: ShortString,
    batch: &[&Outgoing<'_>],
) -> (Vec<Outcome>, Result<Channel, Error>) {
    let keys: Vec<&str> = batch.iter().map(|outgoing| outgoing.routing_key).collect();
    let mut answers: Vec<Answer<'_>> = Vec::with_capacity(batch.len());
    for outgoing in batch {
        answers.push(Box::pin(publish_one(&channel, exchange.clone(), outgoing)));
    }
    // The first poll hands the message to lapin, so all are on their way before the first answer is awaited.
    let early: Vec<_> = answers.iter_mut().map(|answer| answer.now_or_never()).collect();
    let mut outcomes = Vec::with_capacity(answers.len());
    let mut returned = HashSet::new();
    let (mut refused, mut unfinished) = (None, None);
    for (answer, early) in answers.into_iter().zip(early) {
        let answer = match early {
            Some(answer) => answer,
            // When one isn't answered, the others have had their time too.
            None if unfinished.is_some() => answer.now_or_never().unwrap_or_else(late),
            None => timeout(ANSWER_TIMEOUT, answer).await.unwrap_or_else(|_| late()),
        };
        outcomes.push(match answer {
            Ok(confirmation) => outcome(confirmation, &mut returned),
            Err(error) => {
                let outcome = Outcome::of(&error);
                match error {
                    // What is wrong with one message, as its name, doesn't concern the channel.
                    Error::Refused(_) if channel.status().connected() => {}
                    Error::Refused(_) => refused = Some(error),
                    error => unfinished = unfinished.or(Some(error)),
                }
                outcome
            }
        });
    }
    let ended = refused.or(unfinished);
    apart_from_returned(&mut outcomes, &keys, &returned, ended.is_some());
    if let Some(error @ Error::Refused(_)) = &ended {
        // Those that found the channel closed can't tell why it is.
        for outcome in &mut outcomes {
            if matches!(outcome, Outcome::Failed(_)) {
                *outcome = Outcome::of(error);
            }
        }
    }
    (outcomes, ended.map_or(Ok(channel), Err))
}

fn late<T>() -> Result<T, Error> {
    Err(no_answer(ANSWER_TIMEOUT))
}

/// What a confirm says of its own message, and beside it the key of a returned message, which may be another's.
fn outcome(confirmation: Confirmation, returned: &mut HashSet<String>) -> Outcome {
    let outcome = match &confirmation {
        Confirmation::Ack(_) => Outcome::Confirmed,
        Confirmation::Nack(_) => {
            Outcome::Failed("the broker refused: its queue is full".to_owned())
        }
        Confirmation::NotRequested => Outcome::Failed("the channel doesn't confirm".to_owned()),
    };
    let message = confirmation.take_message();
    returned.extend(message.map(|message| String::from(message.delivery.routing_key)));
    outcome
}

async fn publish_one(
    channel: &Channel,
    exchange: ShortString,
    outgoing: &Outgoing<'_>,
) -> Result<Confirmation, Error> {
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let (routing_key, properties) = (name(outgoing.routing_key)?, outgoing.properties.clone());
    let publishing = async {
        channel
            .basic_publish(exchange, routing_key, options, outgoing.body, properties)
            .await?
            .await
    };
    publishing.await.map_err(|error| match refusal(&error) {
        // A new connection makes the exchange anew, or says that it is missing.
        Some(404) => Error::Unavailable(error.to_string()),
        _ => error.into(),
    })
}

/// Tells what was confirmed apart from what no queue took. lapin hands a returned message out with the next
/// confirm, which needn't be its own when several are under way, so the key says whose it was.
fn apart_from_returned(
    outcomes: &mut [Outcome],
    keys: &[&str],
    returned: &HashSet<String>,
    unfinished: bool,
) {
    if returned.is_empty() {
        return;
    }
    for (outcome, key) in outcomes.iter_mut().zip(keys) {
        if *outcome != Outcome::Confirmed {
            continue;
        }
        if returned.contains(*key) {
            *outcome = Outcome::Unroutable;
        } else if unfinished {
            // Its own returned message may be one that was waiting to be handed out.
            *outcome = Outcome::Failed("whether a queue took it is not known".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_message_is_known_by_its_key_whichever_confirm_brought_it() {
        let returned = HashSet::from(["nobody".to_owned()]);
        let mut outcomes = vec![Outcome::Confirmed; 3];
        apart_from_returned(&mut outcomes, &["a", "nobody", "b"], &returned, false);
        assert_eq!(outcomes, [Outcome::Confirmed, Outcome::Unroutable, Outcome::Confirmed]);
    }

    #[test]
    fn nothing_counts_as_routed_when_returns_may_be_missing() {
        let returned = HashSet::from(["nobody".to_owned()]);
        let mut outcomes = vec![Outcome::Confirmed, Outcome::Failed("late".to_owned())];
        apart_from_returned(&mut outcomes, &["a", "b"], &returned, true);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Failed(_))));
    }
}
