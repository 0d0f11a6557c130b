//! Connections that are made when they are needed, and made anew after any error.

use std::{
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::Duration,
};

use lapin::{Channel, Connection, options::ConfirmSelectOptions};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

use super::{outages::Outages, settings::Settings};
use crate::{Error, Result};

/// How long any answer may take.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
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
        let outages = Outages::new(purpose.to_owned(), settings.troubles());
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
        match self.settings.connect(self.purpose, None).await {
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
