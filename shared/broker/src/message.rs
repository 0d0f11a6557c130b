//! What a broker is told and what it tells: topologies, messages, deliveries, verdicts, dead letters.

use std::time::Duration;

use contracts::{Exchange, Header, Subscription, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{rabbitmq, table};

/// Deliveries of one message before it counts as one that kills its readers, and becomes a dead letter. High enough
/// that restarts don't spend it.
pub const DELIVERY_LIMIT: u32 = 50;

/// How many days an event is kept for subscribers that come later.
pub const HISTORY_DAYS: u32 = 7;

/// What must exist before messages flow. Declaring it again changes nothing.
#[derive(Debug, Clone, Default)]
pub struct Topology {
    /// The queues and what they are bound to.
    pub subscriptions: Vec<Subscription>,
    /// The delays that [`Verdict::Retry`] may ask for.
    pub retry_delays: Vec<Duration>,
    /// Whether every event is kept for [`HISTORY_DAYS`], for [`Broker::recall`](crate::Broker::recall).
    pub history: bool,
}

impl Topology {
    /// Whether a queue may be filled from the history.
    pub(crate) fn may_recall(&self, queue: &str) -> bool {
        self.subscriptions.iter().any(|found| found.queue == queue && found.history)
    }
}

/// A message on its way: an event to the queues that are bound to its routing key, a command to its owner's queue.
#[derive(Debug, Clone)]
pub struct Message {
    /// Whether it is an event or a command.
    pub exchange: Exchange,
    /// What subscribers bind to, `order.placed`; of a command, its owner.
    pub routing_key: String,
    /// The envelope's bytes.
    pub body: Vec<u8>,
}

/// What became of a published message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The broker has it safely, in at least one queue.
    Confirmed,
    /// No queue is bound to its routing key. The broker doesn't have it.
    Unroutable,
    /// It may not be published by this user, or at all. The broker doesn't have it, and another try is for when somebody has
    /// changed that.
    Refused(String),
    /// The broker didn't take it, or didn't answer: it may or may not have it.
    Failed(String),
}

/// What happened to a message on its way, kept with it by the broker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// Failed attempts so far.
    pub failures: u32,
    /// When the first failed.
    pub first_failed_at: Option<Timestamp>,
    /// When the last failed.
    pub last_failed_at: Option<Timestamp>,
    /// The error of the last, with its causes.
    pub error: Option<String>,
    /// W3C trace context of the last attempt: the next one links to it.
    pub traceparent: Option<String>,
    /// How many times a person replayed it.
    pub replays: u32,
}

impl History {
    /// The history of a message that is replayed: the attempts start anew, the last failure stays known.
    #[must_use]
    pub(crate) fn replayed(self) -> Self {
        Self {
            traceparent: self.traceparent,
            error: self.error,
            replays: self.replays + 1,
            ..Self::default()
        }
    }

    /// The history of a message that was delivered [`DELIVERY_LIMIT`] times and more, and never answered for.
    #[must_use]
    pub(crate) fn unanswered(self, at: Timestamp) -> Self {
        let error = format!("delivered more than {DELIVERY_LIMIT} times without an answer");
        Self {
            error: Some(error),
            first_failed_at: self.first_failed_at.or(Some(at)),
            last_failed_at: Some(at),
            ..self
        }
    }
}

/// One delivery of a message from a queue. Dropped without an answer, it is delivered again; so a handler that panics
/// leaves nothing stuck.
#[derive(Debug)]
pub struct Delivery {
    /// The envelope's bytes, or whatever somebody put there.
    pub body: Vec<u8>,
    /// The key it was published with.
    pub routing_key: String,
    /// What happened to it before.
    pub history: History,
    pub(crate) receipt: Receipt,
}

/// How an adapter finds the delivery again.
#[derive(Debug)]
pub(crate) enum Receipt {
    RabbitMq(Box<rabbitmq::Receipt>),
    Table(table::Receipt),
}

/// What becomes of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is done with.
    Ack,
    /// It is delivered again after the delay, which is one of [`Topology::retry_delays`].
    Retry {
        /// How long it waits in the broker.
        after: Duration,
        /// Its history, with this failure in it.
        history: History,
    },
    /// It waits for a person.
    Dead {
        /// Its history, with this failure in it.
        history: History,
    },
}

/// A message that failed for good.
#[derive(Debug, Clone, Serialize)]
pub struct DeadLetter {
    /// The message's id; for bytes that are no envelope, an id made from the bytes (UUIDv5).
    pub id: Uuid,
    /// The queue, and so the service, in which it failed.
    pub queue: String,
    /// The key it was published with.
    pub routing_key: String,
    /// Its bytes, untouched.
    #[serde(skip)]
    pub body: Vec<u8>,
    /// The reason, the attempts, when, and the trace.
    pub history: History,
}

/// Which dead letters.
#[derive(Debug, Clone)]
pub enum Selection {
    /// Every one.
    All,
    /// Those with these ids.
    Ids(Vec<Uuid>),
}

impl Selection {
    pub(crate) fn contains(&self, id: &Uuid) -> bool {
        match self {
            Self::All => true,
            Self::Ids(ids) => ids.contains(id),
        }
    }
}

/// How much a queue holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Messages that wait to be delivered now.
    pub ready: u64,
    /// Dead letters.
    pub dead: u64,
}

/// A message's id, or for bytes that are no envelope one made from the bytes.
#[must_use]
pub fn message_id(body: &[u8]) -> Uuid {
    Header::of(body).map_or_else(|| Uuid::new_v5(&Uuid::NAMESPACE_OID, body), |header| header.id)
}
