//! Connections that are made when they are needed, and made anew after any error.

use std::{
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::Duration,
};

use lapin::{
    Channel, Connection, ConnectionProperties, options::ConfirmSelectOptions, uri::AMQPUri,
};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

use super::{outages::Outages, topology};
use crate::{Error, Result, Topology};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long any answer may take.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Seconds between heartbeats: a connection on which nothing comes for twice as long is dead.
const HEARTBEAT: u16 = 10;
/// Bytes of a frame at most; a larger body takes several. lapin keeps buffers of 64 frames for each connection: with the usual
/// 128 KiB those are 8 MiB.
const FRAME_MAX: u32 = 32 * 1024;

/// Which broker, and what must exist in it.
#[derive(Debug)]
pub(super) struct Settings {
    uri: AMQPUri,
    prefix: String,
    topology: Topology,
}

impl Settings {
    /// From `amqp://user:password@host:port/vhost?namespace=abc`. The namespace, ours, is put before the name of every
    /// exchange and queue, so that several shops or tests can share a broker.
    pub(super) fn parse(url: &str, topology: Topology) -> Result<Self> {
        let (url, query) = url.split_once('?').unwrap_or((url, ""));
        let (ours, theirs): (Vec<_>, Vec<_>) =
            query.split('&').partition(|pair| pair.starts_with("namespace="));
        let namespace = ours.first().map_or("", |pair| &pair["namespace=".len()..]);
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !namespace.chars().all(plain) || namespace.len() > 64 {
            return Err(Error::Url(
                "a namespace is up to 64 letters, digits, '-', '_' and '.'".to_owned(),
            ));
        }
        let mut uri: AMQPUri = format!("{url}?{}", theirs.join("&"))
            .parse()
            .map_err(|error| Error::Url(format!("the AMQP URL can't be read: {error}")))?;
        if uri.vhost.is_empty() {
            uri.vhost = "/".to_owned(); // "amqp://host/" is meant like "amqp://host"
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        uri.query.frame_max.get_or_insert(FRAME_MAX);
        let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}.") };
        Ok(Self { uri, prefix, topology })
    }

    /// What every name begins with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn topology(&self) -> &Topology {
        &self.topology
    }

    /// A new connection to a broker that has the topology.
    pub(super) async fn connect(&self, purpose: &str) -> Result<Connection> {
        let program = std::env::current_exe().ok();
        let program = program.as_deref().and_then(|path| path.file_name()).unwrap_or_default();
        let name = format!("{} {} {purpose}", program.to_string_lossy(), std::process::id());
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connecting = Connection::connect_uri(self.uri.clone(), properties);
        let connection = timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| {
            Error::Unavailable(format!("no connection within {CONNECT_TIMEOUT:?}"))
        })??;
        topology::declare(&connection, self).await?;
        Ok(connection)
    }
}

/// A connection that many share.
#[derive(Debug)]
pub(super) struct Link {
    settings: Arc<Settings>,
    purpose: &'static str,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    live: Option<Arc<Live>>,
    outages: Outages,
    /// The last attempt that failed: whoever waited for it shares its error instead of trying again.
    failure: Option<(Instant, Error)>,
}

/// A connection as long as it lives.
#[derive(Debug)]
pub(super) struct Live {
    connection: Connection,
    /// Channels in confirm mode on which nothing is outstanding.
    idle: StdMutex<Vec<Channel>>,
}

impl Link {
    pub(super) fn new(settings: Arc<Settings>, purpose: &'static str) -> Self {
        let outages = Outages::new(purpose.to_owned());
        Self { settings, purpose, state: Mutex::new(State { live: None, outages, failure: None }) }
    }

    /// The connection, made now if there is none.
    pub(super) async fn live(&self) -> Result<Arc<Live>> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        if let Some(live) = &state.live {
            if live.connection.status().connected() {
                return Ok(live.clone());
            }
            state.live = None;
            state.outages.failed(&Error::Unavailable("the connection was lost".to_owned()));
        }
        if let Some((at, error)) = &state.failure
            && *at >= asked
        {
            return Err(same(error));
        }
        state.outages.pause().await;
        match self.settings.connect(self.purpose).await {
            Ok(connection) => {
                let live = Arc::new(Live { connection, idle: StdMutex::default() });
                state.live = Some(live.clone());
                state.outages.connected();
                Ok(live)
            }
            Err(error) => {
                state.outages.failed(&error);
                state.failure = Some((Instant::now(), same(&error)));
                Err(error)
            }
        }
    }

    /// Gives a connection up, so that the next call makes another.
    pub(super) async fn give_up(&self, live: &Arc<Live>, error: &Error) {
        let mut state = self.state.lock().await;
        if state.live.as_ref().is_some_and(|current| Arc::ptr_eq(current, live)) {
            state.live = None;
            state.outages.failed(error);
        }
    }

    /// Runs something on a channel of its own, which is closed afterwards.
    pub(super) async fn with_channel<T>(
        &self,
        limit: Duration,
        run: impl AsyncFnOnce(&Channel) -> Result<T>,
    ) -> Result<T> {
        let live = self.live().await?;
        let running = async {
            let channel = live.connection.create_channel().await?;
            let result = run(&channel).await;
            if channel.status().connected() {
                channel.close(200, "OK".into()).await?;
            }
            result
        };
        let result = timeout(limit, running).await.unwrap_or_else(|_| Err(no_answer(limit)));
        // A refusal costs only the channel.
        if let Err(error @ Error::Unavailable(_)) = &result {
            self.give_up(&live, error).await;
        }
        result
    }

    pub(super) async fn close(&self) {
        if let Some(live) = self.state.lock().await.live.take() {
            // Whoever publishes at this moment holds it too.
            let deadline = Instant::now() + ANSWER_TIMEOUT;
            while Arc::strong_count(&live) > 1 && Instant::now() < deadline {
                sleep(Duration::from_millis(5)).await;
            }
            // It may be gone already.
            let _ = timeout(ANSWER_TIMEOUT, live.connection.close(200, "OK".into())).await;
        }
    }
}

impl Live {
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// A channel in confirm mode for the caller alone: lapin can't tell the returned messages of two callers apart.
    pub(super) async fn confirming_channel(&self) -> Result<Channel> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(channel) = idle.filter(|channel| channel.status().connected()) {
            return Ok(channel);
        }
        let opening = async {
            let channel = self.connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok(channel)
        };
        timeout(ANSWER_TIMEOUT, opening).await.unwrap_or_else(|_| Err(no_answer(ANSWER_TIMEOUT)))
    }

    /// Takes a channel back when everything on it was answered.
    pub(super) fn put_back(&self, channel: Channel) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(channel);
    }
}

pub(super) fn no_answer(limit: Duration) -> Error {
    Error::Unavailable(format!("no answer within {limit:?}"))
}

/// Errors of this adapter are text.
fn same(error: &Error) -> Error {
    match error {
        Error::Refused(text) => Error::Refused(text.clone()),
        other => Error::Unavailable(other.to_string()),
    }
}
