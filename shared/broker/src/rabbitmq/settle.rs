//! Answering for deliveries. What shall come again, or wait for a person, is published on and confirmed before its delivery is
//! acked: at every moment at least one queue has it.

use std::{collections::BTreeSet, sync::PoisonError, time::Duration};

use futures_util::future::try_join_all;
use lapin::options::BasicAckOptions;
use tokio::time::{sleep, timeout};

use super::{
    connection::{ANSWER_TIMEOUT, Link, no_answer},
    consumer::Consumer,
    message,
    publish::Outgoing,
    session::{Receipt, Session},
};
use crate::{Delivery, Error, History, Outcome, Result, Verdict};

/// The pauses between attempts to publish a message on; the last is that of all that follow. Giving the connection up would
/// redeliver everything that is out, and count towards each message's delivery limit.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];
/// How long publishing on is waited for; what takes longer goes on beside the consumer. What is out then is bounded
/// by the prefetch.
const USUAL: Duration = Duration::from_secs(1);

/// A delivery that goes on to another queue.
struct Onward {
    queue: String,
    routing_key: String,
    body: Vec<u8>,
    history: History,
    receipt: Box<Receipt>,
}

impl Consumer {
    pub(crate) async fn settle(&mut self, settlements: Vec<(Delivery, Verdict)>) {
        let mut session = None;
        let mut done = Vec::new();
        let mut onward = Vec::new();
        for (delivery, verdict) in settlements {
            let Delivery { body, routing_key, receipt, .. } = delivery;
            let crate::Receipt::RabbitMq(receipt) = receipt else { continue };
            // Of a connection that is gone: the broker delivers the message again.
            if receipt.session.is_over() {
                continue;
            }
            session.get_or_insert_with(|| receipt.session.clone());
            let (queue, history) = match verdict {
                Verdict::Ack => {
                    done.push(receipt);
                    continue;
                }
                Verdict::Retry { after, history } => {
                    let retry = self.settings.nearest_retry_queue(&self.queue, after);
                    // Without any delay declared it comes again at once.
                    (retry.unwrap_or_else(|| self.settings.names().queue(&self.queue)), history)
                }
                Verdict::Dead { history } => (self.settings.names().dead(&self.queue), history),
            };
            onward.push(Onward { queue, routing_key, body, history, receipt });
        }
        let Some(session) = session else { return };
        if let Err(error) = ack(&session, &done).await {
            return give_up(&self.queue, &session, &error);
        }
        if !onward.is_empty() {
            let (publishing, queue) = (self.publishing.clone(), self.queue.clone());
            let exchange = self.settings.names().failures(&queue);
            let sending = tokio::spawn(async move {
                if let Err(error) = send_on(&publishing, &exchange, &session, onward).await {
                    give_up(&queue, &session, &error);
                }
            });
            // Only the waiting ends; should the task panic, its deliveries are dropped and come again.
            let _ = timeout(USUAL, sending).await;
        }
    }
}

fn give_up(queue: &str, session: &Session, error: &Error) {
    tracing::warn!(queue, %error, "settling failed; the messages come again");
    session.end();
}

/// Publishes deliveries to the queues where they go on, and acks those that are confirmed there; tries for as long as
/// their session lasts.
async fn send_on(
    publishing: &Link,
    exchange: &str,
    session: &Session,
    mut onward: Vec<Onward>,
) -> Result<()> {
    let mut pauses = PAUSES.iter();
    let mut warned = false;
    while !onward.is_empty() && !session.is_over() {
        let batch = onward.iter().map(|one| Outgoing {
            routing_key: &one.queue,
            body: &one.body,
            properties: message::with_history(
                one.receipt.properties.clone(),
                &one.routing_key,
                &one.history,
            ),
        });
        let batch: Vec<_> = batch.collect();
        let outcomes = publishing.publish(exchange, &batch).await;
        let mut done = Vec::new();
        let mut left = Vec::new();
        let mut failure = None;
        let mut no_queue = false;
        for (one, outcome) in onward.into_iter().zip(outcomes) {
            if outcome == Outcome::Confirmed {
                done.push(one.receipt);
            } else {
                no_queue |= outcome == Outcome::Unroutable;
                failure = Some(outcome);
                left.push(one);
            }
        }
        onward = left;
        ack(session, &done).await?;
        let Some(failure) = failure else { break };
        match pauses.next() {
            Some(pause) => sleep(*pause).await,
            None if no_queue => {
                // A new connection declares it.
                let reason = "a queue where messages go on is gone";
                return Err(Error::Unavailable(reason.to_owned()));
            }
            None => {
                if !warned {
                    tracing::warn!(
                        exchange,
                        ?failure,
                        messages = onward.len(),
                        "not published on; trying on"
                    );
                    warned = true;
                }
                sleep(PAUSES[PAUSES.len() - 1]).await;
            }
        }
    }
    Ok(())
}

/// Acks deliveries: together those that come before everything unanswered, the others each.
async fn ack(session: &Session, done: &[Box<Receipt>]) -> Result<()> {
    if done.is_empty() {
        return Ok(());
    }
    let acking = async {
        let _others_wait = session.acking.lock().await;
        let (up_to, single) = {
            let mut unanswered = session.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
            answered(&mut unanswered, done.iter().map(|receipt| receipt.tag).collect())
        };
        let multiple = up_to.map(|tag| (tag, true)).into_iter();
        let acks = multiple
            .chain(single.into_iter().map(|tag| (tag, false)))
            .map(|(tag, multiple)| session.channel.basic_ack(tag, BasicAckOptions { multiple }));
        try_join_all(acks).await
    };
    timeout(ANSWER_TIMEOUT, acking).await.map_err(|_| no_answer(ANSWER_TIMEOUT))??;
    Ok(())
}

/// Takes tags out of the unanswered ones. The tag up to which everything is answered then, if that is new; and the
/// others.
fn answered(unanswered: &mut BTreeSet<u64>, mut done: Vec<u64>) -> (Option<u64>, Vec<u64>) {
    // One that is answered already must not be acked again: the broker closes the channel for that.
    done.retain(|tag| unanswered.remove(tag));
    let first = unanswered.first().copied().unwrap_or(u64::MAX);
    let (before, after): (Vec<_>, Vec<_>) = done.into_iter().partition(|tag| *tag < first);
    (before.into_iter().max(), after)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::StreamExt as _;
    use lapin::{Channel, Connection, ConnectionProperties, options::*, types::FieldTable};
    use tokio::task::JoinSet;

    use super::*;

    /// A queue for one test, filled with messages; it is deleted with the connection.
    async fn queue_of(
        channel: &Channel,
        messages: usize,
    ) -> lapin::Result<lapin::types::ShortString> {
        let exclusive = QueueDeclareOptions { exclusive: true, ..Default::default() };
        let queue = channel.queue_declare("".into(), exclusive, FieldTable::default()).await?;
        for _ in 0..messages {
            let options = BasicPublishOptions::default();
            let name = queue.name().clone();
            channel.basic_publish("".into(), name, options, b"", Default::default()).await?;
        }
        Ok(queue.name().clone())
    }

    /// The subscriber and the tasks that publish on ack at the same time. The broker closes a channel on which a tag is acked twice.
    #[tokio::test(flavor = "multi_thread", worker_threads = 16)]
    async fn acks_at_the_same_time_are_sent_in_the_order_in_which_they_were_chosen() {
        const MESSAGES: usize = 20_000;
        let Some(url) = testkit::amqp_url() else { return };
        let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let queue = queue_of(&channel, MESSAGES).await.unwrap();
        let consuming = BasicConsumeOptions::default();
        let stream =
            channel.basic_consume(queue.clone(), "".into(), consuming, FieldTable::default());
        let stream = stream.await.unwrap();
        let session = Arc::new(Session::new(connection, channel.clone()));
        let taken: Vec<_> = stream
            .take(MESSAGES)
            .map(|delivery| session.receive(delivery.unwrap()))
            .collect()
            .await;
        let mut shares: [Vec<Box<Receipt>>; 16] = Default::default();
        for (n, delivery) in taken.into_iter().enumerate() {
            if let crate::Receipt::RabbitMq(receipt) = delivery.receipt {
                shares[n % 16].push(receipt);
            }
        }
        let mut acking = JoinSet::new();
        for share in shares {
            let session = session.clone();
            acking.spawn(async move {
                for receipts in share.chunks(1) {
                    ack(&session, receipts).await?;
                }
                Ok::<_, Error>(())
            });
        }
        for acked in acking.join_all().await {
            acked.unwrap();
        }
        let declared = QueueDeclareOptions { passive: true, ..Default::default() };
        let left = channel.queue_declare(queue, declared, FieldTable::default()).await.unwrap();
        assert_eq!(left.message_count(), 0);
    }

    #[test]
    fn an_ack_for_many_covers_nothing_that_is_unanswered() {
        let mut unanswered = BTreeSet::from([1, 2, 3, 4, 5]);
        assert_eq!(answered(&mut unanswered, vec![2, 1, 4]), (Some(2), vec![4]));
        assert_eq!(answered(&mut unanswered, vec![5]), (None, vec![5]));
        assert_eq!(answered(&mut unanswered, vec![3]), (Some(3), vec![]));
    }

    #[test]
    fn nothing_is_answered_twice() {
        let mut unanswered = BTreeSet::from([1, 2]);
        assert_eq!(answered(&mut unanswered, vec![1, 1]), (Some(1), vec![]));
        assert_eq!(answered(&mut unanswered, vec![1]), (None, vec![]));
    }
}
