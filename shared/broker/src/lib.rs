//! What holds messages and delivers them at least once: one small port, one file per adapter.
//!
//! Bytes and metadata live here; the typed messages live above. The set of adapters is closed, and the URL's
//! scheme chooses: `amqp://…` is RabbitMQ, `sqlite://…` and `postgres://…` are the jobs-table broker.

mod chaos;
mod rabbitmq;
mod table;

use std::time::Duration;

use contracts::{Exchange, Header, Publication, Subscription, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

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
    /// Whether every event is kept for [`HISTORY_DAYS`], for [`Broker::recall`].
    pub history: bool,
}

impl Topology {
    /// Whether a queue may be filled from the history.
    fn may_recall(&self, queue: &str) -> bool {
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
    receipt: Receipt,
}

/// How an adapter finds the delivery again.
#[derive(Debug)]
enum Receipt {
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
    fn contains(&self, id: &Uuid) -> bool {
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

/// What can go wrong with a broker.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker is away, or didn't answer in time; the same call may succeed later.
    #[error("the broker is not available: {0}")]
    Unavailable(String),
    /// The broker refused: a permission, or a queue that doesn't exist or has other arguments.
    #[error("the broker refused: {0}")]
    Refused(String),
    /// The broker's URL can't be used.
    #[error("{0}")]
    Url(String),
    /// The database under the jobs table failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    fn no_right_to_history(queue: &str) -> Self {
        Self::Refused(format!("the queue {queue} has no right to read the history"))
    }
}

/// What this crate's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A broker. Cloning shares its connections.
#[derive(Debug, Clone)]
pub struct Broker {
    adapter: Adapter,
    chaos: Option<chaos::Chaos>,
}

#[derive(Debug, Clone)]
enum Adapter {
    RabbitMq(rabbitmq::RabbitMq),
    Table(table::Table),
}

/// Runs the same call on whichever adapter it is.
macro_rules! on_adapter {
    ($set:ident, $self:expr, $adapter:ident => $call:expr) => {
        match $self {
            $set::RabbitMq($adapter) => $call,
            $set::Table($adapter) => $call,
        }
    };
}

impl Broker {
    /// A broker by its URL. `?chaos=N` in it delivers each message N times in a random order, to see that nothing minds. A
    /// broker that is away is no error here: connections are made when they are needed, again
    /// and again, and the topology is declared whenever one is made.
    ///
    /// RabbitMQ's URL may name several nodes of a cluster, `amqp://user:password@one:5672,other:5672`. With `?declare=false`
    /// nothing is declared: what the program needs must be there, and is looked for whenever a connection is made.
    ///
    /// # Errors
    /// When the URL can't be used.
    pub async fn open(url: &str, topology: Topology) -> Result<Self> {
        let (url, chaos) = chaos::split(url)?;
        let adapter = if url.starts_with("amqp://") || url.starts_with("amqps://") {
            Adapter::RabbitMq(rabbitmq::RabbitMq::open(&url, topology)?)
        } else if url.starts_with("sqlite:") || url.starts_with("postgres") {
            Adapter::Table(table::Table::open(&url, topology).await?)
        } else {
            return Err(Error::Url(
                "a broker URL starts with amqp://, amqps://, sqlite:// or postgres://".to_owned(),
            ));
        };
        Ok(Self { adapter, chaos })
    }

    /// The name of the messaging system in traces.
    #[must_use]
    pub const fn system(&self) -> &'static str {
        match &self.adapter {
            Adapter::RabbitMq(_) => "rabbitmq",
            Adapter::Table(_) => "table",
        }
    }

    /// Declares the topology now; with `?declare=false`, checks that it is there.
    ///
    /// # Errors
    /// When the broker is away or refuses.
    pub async fn declare(&self) -> Result<()> {
        on_adapter!(Adapter, &self.adapter, adapter => adapter.declare().await)
    }

    /// Publishes a batch; what each message came to, in the batch's order. Messages may arrive in another order.
    pub async fn publish(&self, batch: &[Message]) -> Vec<Outcome> {
        match self.chaos {
            None => self.publish_as_is(batch).await,
            Some(chaos) => chaos.publish(self, batch).await,
        }
    }

    async fn publish_as_is(&self, batch: &[Message]) -> Vec<Outcome> {
        on_adapter!(Adapter, &self.adapter, adapter => adapter.publish(batch).await)
    }

    /// Starts consuming a queue: at most `prefetch` deliveries are out at a time. The consumer reconnects by itself, for
    /// ever.
    #[must_use]
    pub fn consume(&self, queue: &str, prefetch: u16) -> Consumer {
        Consumer(match &self.adapter {
            Adapter::RabbitMq(adapter) => {
                AdapterConsumer::RabbitMq(adapter.consume(queue, prefetch))
            }
            Adapter::Table(adapter) => AdapterConsumer::Table(adapter.consume(queue, prefetch)),
        })
    }

    /// Puts the events since this time that a queue is bound to into the queue, from the history; how many. They are the same
    /// messages, so those that were delivered already are seen to be repetitions. What is published from now on is in
    /// the queue anyway. The queue's subscription must have the right to [read the history](Subscription::with_history).
    ///
    /// # Errors
    /// When the broker is away or refuses; some may be in the queue then.
    pub async fn recall(&self, queue: &str, since: Timestamp) -> Result<u64> {
        on_adapter!(Adapter, &self.adapter, adapter => adapter.recall(queue, since).await)
    }

    /// How much a queue holds.
    ///
    /// # Errors
    /// When the broker is away, or there is no such queue.
    pub async fn depth(&self, queue: &str) -> Result<Depth> {
        on_adapter!(Adapter, &self.adapter, adapter => adapter.depth(queue).await)
    }

    /// The dead letters of a queue, the latest failure first, at most `limit`. They stay where they are.
    ///
    /// # Errors
    /// When the broker is away, or there is no such queue.
    pub async fn dead_letters(&self, queue: &str, limit: usize) -> Result<Vec<DeadLetter>> {
        let mut letters =
            on_adapter!(Adapter, &self.adapter, adapter => adapter.dead_letters(queue).await)?;
        letters.sort_by_key(|letter| std::cmp::Reverse(letter.history.last_failed_at));
        letters.truncate(limit);
        Ok(letters)
    }

    /// Delivers dead letters again to the queue in which they failed, with the same bytes and so the same message id,
    /// and a fresh count of attempts. Returns those that were replayed.
    ///
    /// # Errors
    /// When the broker is away, or there is no such queue; a letter is never lost, but may then be in both places.
    pub async fn replay(&self, queue: &str, selection: &Selection) -> Result<Vec<DeadLetter>> {
        on_adapter!(Adapter, &self.adapter, adapter => adapter.replay(queue, selection).await)
    }

    /// Throws dead letters away. Returns those.
    ///
    /// # Errors
    /// When the broker is away, or there is no such queue.
    pub async fn purge(&self, queue: &str, selection: &Selection) -> Result<Vec<DeadLetter>> {
        on_adapter!(Adapter, &self.adapter, adapter => adapter.purge(queue, selection).await)
    }

    /// Throws away every message in the queues of the topology: those that wait, those to be retried, the dead letters; and the
    /// history.
    ///
    /// # Errors
    /// When the broker is away or refuses.
    pub async fn erase(&self) -> Result<()> {
        on_adapter!(Adapter, &self.adapter, adapter => adapter.erase().await)
    }

    /// What keeps this program from working with the broker at the moment, in a line; none when nothing does, as far as it
    /// has tried.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        match &self.adapter {
            Adapter::RabbitMq(adapter) => adapter.trouble(),
            Adapter::Table(_) => None,
        }
    }

    /// Ends the connections, after what is under way is done.
    pub async fn close(&self) {
        on_adapter!(Adapter, &self.adapter, adapter => adapter.close().await);
    }
}

/// The receiving end of a queue.
#[derive(Debug)]
pub struct Consumer(AdapterConsumer);

#[derive(Debug)]
enum AdapterConsumer {
    RabbitMq(rabbitmq::Consumer),
    Table(table::Consumer),
}

impl Consumer {
    /// Waits for deliveries and takes what has arrived. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Vec<Delivery> {
        on_adapter!(AdapterConsumer, &mut self.0, consumer => consumer.next().await)
    }

    /// Settles deliveries. When the broker is away or answers no, they are delivered again later: whoever settles must be
    /// ready for that anyway.
    pub async fn settle(&mut self, settlements: Vec<(Delivery, Verdict)>) {
        on_adapter!(AdapterConsumer, &mut self.0, consumer => consumer.settle(settlements).await);
    }

    /// Whether the broker delivers at this moment.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        on_adapter!(AdapterConsumer, &self.0, consumer => consumer.is_connected())
    }
}

impl History {
    /// The history of a message that is replayed: the attempts start anew, the last failure stays known.
    #[must_use]
    fn replayed(self) -> Self {
        Self {
            traceparent: self.traceparent,
            error: self.error,
            replays: self.replays + 1,
            ..Self::default()
        }
    }

    /// The history of a message that was delivered [`DELIVERY_LIMIT`] times and more, and never answered for.
    #[must_use]
    fn unanswered(self, at: Timestamp) -> Self {
        let error = format!("delivered more than {DELIVERY_LIMIT} times without an answer");
        Self {
            error: Some(error),
            first_failed_at: self.first_failed_at.or(Some(at)),
            last_failed_at: Some(at),
            ..self
        }
    }
}

/// The definitions that make a RabbitMQ ready for programs that may declare nothing (`?declare=false` in their broker's URL):
/// the topology, and a user per service who may publish what that service announces and sends, and read its queue. JSON, as `load_definitions`
/// takes it; nobody can log in until passwords are set.
///
/// # Errors
/// When it can't be written as JSON.
pub fn definitions(
    topology: &Topology,
    publications: &[Publication],
    senders: &[(&str, &str)],
) -> serde_json::Result<String> {
    rabbitmq::definitions(topology, publications, senders)
}

/// A message's id, or for bytes that are no envelope one made from the bytes.
#[must_use]
pub fn message_id(body: &[u8]) -> Uuid {
    Header::of(body).map_or_else(|| Uuid::new_v5(&Uuid::NAMESPACE_OID, body), |header| header.id)
}
