//! What holds messages and delivers them at least once: one small port, one file per adapter.
//!
//! Bytes and metadata live here; the typed messages live above. The set of adapters is closed, and the URL's
//! scheme chooses: `amqp://…` is RabbitMQ, `sqlite://…` and `postgres://…` are the jobs-table broker.

mod chaos;
mod message;
mod rabbitmq;
mod table;

use contracts::{Publication, Timestamp};

use message::Receipt;
pub use message::{
    DELIVERY_LIMIT, DeadLetter, Delivery, Depth, HISTORY_DAYS, History, Message, Outcome,
    Selection, Topology, Verdict, message_id,
};

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

/// The definitions that make a RabbitMQ ready for programs that may declare nothing (`?declare=false` in their broker's URL):
/// the topology, and a user per service who may publish what that service announces and sends, and read its queue. JSON, for
/// `rabbitmqctl import_definitions`; nobody can log in until passwords are set.
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

/// What follows when the task that feeds a consumer has ended by itself: it has panicked, and so does its reader.
async fn ended<T>(task: &mut tokio::task::JoinHandle<()>) -> T {
    match task.await {
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // Aborted, with the consumer.
        _ => std::future::pending().await,
    }
}
