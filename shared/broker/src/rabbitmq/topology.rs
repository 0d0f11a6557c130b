//! What exists in the broker, and its names: one plan, which is declared, checked, or written into a file of definitions.
//!
//! All queues are quorum queues that dead-letter at least once. Names carry what may differ between configurations (the
//! delay of a retry queue): declaring an existing queue with other arguments is refused.
//!
//! Beside the queues there is the history: a stream that keeps every event for a while, for subscribers that come later. So every
//! event has a queue to go to; a command without an owner's queue is unroutable.
//!
//! What failed is published on through an exchange of its own queue, `payment.failures`, which leads to that queue, its
//! retry queues and its dead letters and nowhere else: through the default exchange a service could put anything anywhere.

use std::time::Duration;

use contracts::{Exchange as Way, Subscription};
use serde::Serialize;

use crate::{DELIVERY_LIMIT, HISTORY_DAYS, Topology};

/// The delivery limit of the queues that nobody handles messages from: looking at a dead letter returns it, which counts
/// as a delivery, and RabbitMQ 4 has a limit of 20 where none is given.
const NO_LIMIT: u32 = 1_000_000_000;
/// Bytes of the history at most, however young.
const HISTORY_BYTES: i64 = 20_000_000_000;
/// Bytes of a segment of the history.
const SEGMENT: i64 = 50_000_000;

/// Full names: each begins with the namespace.
#[derive(Debug, Clone)]
pub(super) struct Names {
    prefix: String,
}

impl Names {
    /// The names in a namespace; an empty one is none.
    pub(super) fn new(namespace: &str) -> Self {
        let separator = if namespace.is_empty() { "" } else { "." };
        Self { prefix: format!("{namespace}{separator}") }
    }

    /// The exchange that all events, or all commands, go through.
    pub(super) fn exchange(&self, way: Way) -> String {
        format!("{}{}", self.prefix, way.name())
    }

    /// The stream that keeps the events.
    pub(super) fn history(&self) -> String {
        format!("{}shop.history", self.prefix)
    }

    /// The key by which a subscriber sets a mark in the history, through its exchange of failures: from there on, all events
    /// are in its queue.
    pub(super) fn mark(&self, queue: &str) -> String {
        format!("{}{queue}.mark", self.prefix)
    }

    /// A subscriber's queue.
    pub(super) fn queue(&self, queue: &str) -> String {
        format!("{}{queue}", self.prefix)
    }

    /// The queue with its dead letters.
    pub(super) fn dead(&self, queue: &str) -> String {
        format!("{}{queue}.dead", self.prefix)
    }

    /// The queue in which its messages wait for another attempt.
    pub(super) fn retry(&self, queue: &str, delay: Duration) -> String {
        format!("{}{queue}.retry.{}", self.prefix, delay.as_millis())
    }

    /// The exchange through which its messages go on after a failure: to wait, to be dead, or to the queue once more. A
    /// queue's full name is its key there.
    pub(super) fn failures(&self, queue: &str) -> String {
        format!("{}{queue}.failures", self.prefix)
    }
}

/// Everything that a topology needs, in an order in which it can be made.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) exchanges: Vec<Exchange>,
    pub(super) queues: Vec<Queue>,
    pub(super) bindings: Vec<Binding>,
}

#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// How an exchange routes.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Topic,
    Direct,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) arguments: Vec<(&'static str, Argument)>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Argument {
    Text(String),
    Number(i64),
}

/// From an exchange to a queue.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) exchange: String,
    pub(super) queue: String,
    pub(super) routing_key: String,
}

impl Plan {
    pub(super) fn new(names: &Names, topology: &Topology) -> Self {
        let mut plan = Self::default();
        plan.add_exchanges(names);
        if topology.history {
            plan.queues.push(Queue::history(names.history()));
            plan.bind(names.exchange(Way::Events), names.history(), "#".to_owned());
        }
        for subscription in &topology.subscriptions {
            let queue = subscription.queue;
            plan.add_queues(names, queue, &topology.retry_delays);
            for key in subscription.routing_keys {
                plan.bind(names.exchange(Way::Events), names.queue(queue), (*key).to_owned());
            }
            plan.add_bindings(names, subscription);
        }
        plan
    }

    /// The exchanges of events and commands.
    pub(super) fn add_exchanges(&mut self, names: &Names) {
        for (way, kind) in [(Way::Events, Kind::Topic), (Way::Commands, Kind::Direct)] {
            self.exchanges.push(Exchange { name: names.exchange(way), kind });
        }
    }

    /// A subscriber's queue with what belongs to it. What a queue dead-letters to comes before it.
    pub(super) fn add_queues(&mut self, names: &Names, queue: &str, retry_delays: &[Duration]) {
        let (main, dead, failures) = (names.queue(queue), names.dead(queue), names.failures(queue));
        let mut queues = vec![
            Queue::new(dead.clone(), NO_LIMIT),
            Queue::new(main.clone(), DELIVERY_LIMIT).dead_lettering_to(dead),
        ];
        for delay in retry_delays {
            let retry = Queue::new(names.retry(queue, *delay), NO_LIMIT);
            queues.push(retry.dead_lettering_to(main.clone()).with_ttl(*delay));
        }
        self.exchanges.push(Exchange { name: failures.clone(), kind: Kind::Direct });
        for queue in &queues {
            self.bind(failures.clone(), queue.name.clone(), queue.name.clone());
        }
        self.queues.extend(queues);
    }

    /// What a subscriber gets or does beside its events.
    fn add_bindings(&mut self, names: &Names, subscription: &Subscription) {
        let queue = subscription.queue;
        if subscription.commands {
            self.bind(names.exchange(Way::Commands), names.queue(queue), queue.to_owned());
        }
        if subscription.history {
            self.bind(names.failures(queue), names.history(), names.mark(queue));
        }
    }

    fn bind(&mut self, exchange: String, queue: String, routing_key: String) {
        self.bindings.push(Binding { exchange, queue, routing_key });
    }
}

impl Queue {
    /// A stream: what is read stays.
    fn history(name: String) -> Self {
        let arguments = vec![
            ("x-queue-type", Argument::Text("stream".to_owned())),
            ("x-max-age", Argument::Text(format!("{HISTORY_DAYS}D"))),
            // A disk that is full would stop every publisher.
            ("x-max-length-bytes", Argument::Number(HISTORY_BYTES)),
            // Only whole segments go; of a small shop the last of 500 MB, as usual, would keep years.
            ("x-stream-max-segment-size-bytes", Argument::Number(SEGMENT)),
        ];
        Self { name, arguments }
    }

    /// Whether it keeps what is read.
    pub(super) fn is_stream(&self) -> bool {
        self.arguments.iter().any(|(key, _)| *key == "x-max-age")
    }

    fn new(name: String, delivery_limit: u32) -> Self {
        let arguments = vec![
            ("x-queue-type", Argument::Text("quorum".to_owned())),
            ("x-delivery-limit", Argument::Number(delivery_limit.into())),
        ];
        Self { name, arguments }
    }

    /// The default exchange routes by the queue's name. At least once needs reject-publish: a full queue then refuses what is
    /// published, instead of dropping what it has.
    fn dead_lettering_to(mut self, target: String) -> Self {
        self.arguments.extend([
            ("x-dead-letter-exchange", Argument::Text(String::new())),
            ("x-dead-letter-routing-key", Argument::Text(target)),
            ("x-dead-letter-strategy", Argument::Text("at-least-once".to_owned())),
            ("x-overflow", Argument::Text("reject-publish".to_owned())),
        ]);
        self
    }

    fn with_ttl(mut self, ttl: Duration) -> Self {
        let millis = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        self.arguments.push(("x-message-ttl", Argument::Number(millis)));
        self
    }
}
