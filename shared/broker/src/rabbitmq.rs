//! RabbitMQ, 3.10 and 4.x: an exchange for events and one for commands, a stream that keeps the events, a quorum queue per
//! subscriber, one per retry delay, one for its dead letters, and a direct exchange between these.
//!
//! Connections are made when they are needed and made anew after any error, by a small supervisor here: publishing,
//! looking into queues, and each consumer have their own, so that a broker that blocks publishers (memory alarm) still
//! takes acks and still shows what it holds.

mod connection;
mod consumer;
mod dead;
mod declare;
mod definitions;
mod lossy;
mod message;
mod outages;
mod publish;
mod recall;
mod session;
mod settings;
mod settle;
mod topology;

use std::sync::Arc;

use contracts::Exchange;
use lapin::options::{QueueDeleteOptions, QueuePurgeOptions};
use tokio::sync::Mutex;

use crate::{Depth, Error, Message, Outcome, Result, Topology};
use connection::{ANSWER_TIMEOUT, Link};
use declare::name;
use publish::Outgoing;
use settings::Settings;

pub(crate) use consumer::Consumer;
pub(crate) use definitions::definitions;
pub(crate) use session::Receipt;

/// The adapter. Cloning shares the connections.
#[derive(Debug, Clone)]
pub(crate) struct RabbitMq {
    settings: Arc<Settings>,
    /// For what is published, from the outbox or to a retry queue.
    publishing: Arc<Link>,
    /// For declaring, counting and looking at dead letters.
    control: Arc<Link>,
    /// Held while somebody looks through dead letters: until these are back in their queue, nobody else would see them.
    browsing: Arc<Mutex<()>>,
}

impl RabbitMq {
    pub(crate) fn open(url: &str, topology: Topology) -> Result<Self> {
        let settings = Arc::new(Settings::parse(url, topology)?);
        Ok(Self {
            publishing: Arc::new(Link::new(settings.clone(), "publish")),
            control: Arc::new(Link::new(settings.clone(), "control")),
            settings,
            browsing: Arc::default(),
        })
    }

    pub(crate) async fn declare(&self) -> Result<()> {
        let live = self.control.live().await?;
        self.settings.declare(live.connection()).await
    }

    pub(crate) async fn publish(&self, batch: &[Message]) -> Vec<Outcome> {
        let mut outcomes = vec![Outcome::Failed("not sent".to_owned()); batch.len()];
        for way in [Exchange::Events, Exchange::Commands] {
            let places: Vec<usize> =
                (0..batch.len()).filter(|place| batch[*place].exchange == way).collect();
            let outgoing: Vec<_> = places.iter().map(|place| of(&batch[*place])).collect();
            let published =
                self.publishing.publish(&self.settings.names().exchange(way), &outgoing).await;
            for (place, outcome) in places.into_iter().zip(published) {
                outcomes[place] = outcome;
            }
        }
        outcomes
    }

    pub(crate) fn consume(&self, queue: &str, prefetch: u16) -> Consumer {
        Consumer::start(self.settings.clone(), self.publishing.clone(), queue, prefetch)
    }

    pub(crate) async fn depth(&self, queue: &str) -> Result<Depth> {
        let _nobody_browses = self.browsing.lock().await;
        Ok(Depth {
            ready: self.count(&self.settings.names().queue(queue)).await?.into(),
            dead: self.count(&self.settings.names().dead(queue)).await?.into(),
        })
    }

    /// How many messages are ready in a queue, by its full name.
    async fn count(&self, queue: &str) -> Result<u32> {
        let queue = name(queue)?;
        self.control
            .with_channel(ANSWER_TIMEOUT, async |channel| dead::count(channel, &queue).await)
            .await
    }

    pub(crate) async fn erase(&self) -> Result<()> {
        let queues = self.settings.plan().queues;
        self.control
            .with_channel(ANSWER_TIMEOUT, async |channel| {
                for queue in &queues {
                    let name = name(&queue.name)?;
                    if queue.is_stream() {
                        channel.queue_delete(name, QueueDeleteOptions::default()).await?;
                    } else {
                        channel.queue_purge(name, QueuePurgeOptions::default()).await?;
                    }
                }
                Ok(())
            })
            .await?;
        self.declare().await
    }

    /// What keeps the connections that were asked for from being there.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.settings.troubles().told()
    }

    pub(crate) async fn close(&self) {
        self.publishing.close().await;
        self.control.close().await;
    }
}

fn of(message: &Message) -> Outgoing<'_> {
    let properties = message::properties_of(&message.body);
    Outgoing { routing_key: &message.routing_key, body: &message.body, properties }
}

impl From<lapin::Error> for Error {
    fn from(error: lapin::Error) -> Self {
        let lapin::ErrorKind::ProtocolError(said) = error.kind() else {
            return Self::Unavailable(error.to_string());
        };
        // What the broker says names the user and the thing, or the argument that differs.
        let said = said.get_message().to_string();
        match refusal(&error) {
            // A password, and not a permission.
            Some(403) if said.contains("Login was refused") => Self::Refused(said),
            Some(403) => Self::Refused(format!(
                "{said}: the broker's admin can permit it, by loading deploy/rabbitmq/definitions.json"
            )),
            Some(_) => Self::Refused(said),
            None => Self::Unavailable(error.to_string()),
        }
    }
}

/// The reply code of an error by which the broker refuses what another try can't change: ACCESS_REFUSED, NOT_FOUND,
/// PRECONDITION_FAILED, NOT_ALLOWED. RESOURCE_LOCKED (405) passes.
fn refusal(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(said) => {
            Some(said.get_id()).filter(|code| matches!(code, 403 | 404 | 406 | 530))
        }
        _ => None,
    }
}
