//! Sending mails by SMTP.
//!
//! lettre speaks the protocol; the connections are kept here and not in lettre's pool, which puts a connection back in the middle
//! of a mail when a timeout drops the call that uses it (the next mail would then read the answers to this one), asks with a
//! NOOP before each mail, and sets no bound to how many connections are open.

mod connection;
mod letter;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use lettre::{address::AddressError, message::Mailbox};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tracing::{Instrument as _, field::Empty};
use uuid::Uuid;

use crate::{Config, mail::Mail};
use connection::{Connection, Server};

pub use letter::Letter;

/// A connection that was idle for longer is closed: the server may have done so already.
const MAX_IDLE: Duration = Duration::from_secs(30);

/// Sends mails to one mail server.
#[derive(Debug)]
pub struct Mailer {
    server: Server,
    from: Mailbox,
    timeout: Duration,
    acceptance: Duration,
    slots: Arc<Semaphore>,
    /// The connections that nobody uses, the one used last at the end.
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl std::fmt::Debug for Idle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "idle since {:?}", self.since)
    }
}

/// The right to use one of the connections.
#[derive(Debug)]
pub struct Slot(
    #[expect(dead_code, reason = "it counts as long as it lives")] Option<OwnedSemaphorePermit>,
);

/// Why a mail was not sent, or is not known to be. It never holds what the mail server said word for word: servers like to repeat
/// the address.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The customer's address is none.
    #[error("the customer's mail address can't be used")]
    Address(#[source] AddressError),
    /// The mail can't be put together.
    #[error("the mail can't be put together")]
    Compose(#[source] lettre::error::Error),
    /// The address needs SMTPUTF8, and the mail server doesn't know it.
    #[error("the mail server takes no address with characters beyond ASCII")]
    International,
    /// The mail server refused this mail.
    #[error("the mail server refused the mail: {code}{}", .detail.as_ref().map_or_else(String::new, |detail| format!(" {detail}")))]
    Refused {
        /// Its three digits; those from 500 on are meant to last.
        code: u16,
        /// Its enhanced status code (RFC 3463), `5.1.1`.
        detail: Option<String>,
    },
    /// The mail server can't be reached, or lets nobody in.
    #[error("the mail server can't be used: {0}")]
    Unavailable(String),
    /// The connection broke before the mail was handed over.
    #[error("the connection to the mail server broke: {0}")]
    Broken(String),
    /// It took too long to get the mail handed over.
    #[error("the mail server took longer than {0:?}")]
    Timeout(Duration),
    /// The mail was handed over, and the server didn't say whether it has accepted it.
    #[error("whether the mail server has the mail isn't known: {0}")]
    Unknown(String),
}

impl Error {
    /// Whether no further attempt can succeed.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        match self {
            Self::Address(_) | Self::Compose(_) | Self::International => true,
            Self::Refused { code, .. } => *code >= 500,
            Self::Unavailable(_) | Self::Broken(_) | Self::Timeout(_) | Self::Unknown(_) => false,
        }
    }

    /// The `error.type` of the span.
    fn kind(&self) -> String {
        match self {
            Self::Address(_) | Self::Compose(_) | Self::International => "unsendable".to_owned(),
            Self::Refused { code, .. } => code.to_string(),
            Self::Unavailable(_) | Self::Broken(_) => "connection".to_owned(),
            Self::Timeout(_) => "timeout".to_owned(),
            Self::Unknown(_) => "unknown_outcome".to_owned(),
        }
    }
}

impl Mailer {
    /// A mailer for the mail server of the configuration, which may be away.
    ///
    /// # Errors
    /// When the mail server's URL can't be used.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let hello = config.mail_from.email.domain();
        let server = Server::new(&config.smtp, hello).context("--smtp (SMTP_URL)")?;
        Ok(Self {
            server,
            from: config.mail_from.clone(),
            timeout: config.smtp_timeout,
            acceptance: config.smtp_acceptance_timeout,
            slots: Arc::new(Semaphore::new(usize::from(config.smtp_connections))),
            idle: Mutex::default(),
        })
    }

    /// How long it takes at most until a mail is handed over.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Waits until a connection is free, or one more may be made; first come, first served.
    pub async fn slot(&self) -> Slot {
        // It fails only when the semaphore is closed, which it never is.
        Slot(self.slots.clone().acquire_owned().await.ok())
    }

    /// Puts a mail into its envelope.
    ///
    /// # Errors
    /// When the customer's address can't be used.
    pub fn letter(&self, mail: &Mail, message_id: Uuid) -> Result<Letter, Error> {
        Letter::new(&self.from, mail, message_id)
    }

    /// Hands a mail to the mail server.
    ///
    /// # Errors
    /// When the mail server refuses it, is unavailable, or takes too long. Only with [`Error::Unknown`] it may have the mail nevertheless.
    pub async fn send(&self, _slot: Slot, letter: &Letter) -> Result<(), Error> {
        let span = tracing::info_span!(
            "send mail",
            otel.kind = "client",
            otel.status_code = Empty,
            error.type = Empty,
            network.protocol.name = "smtp",
            server.address = self.server.host(),
            server.port = i64::from(self.server.port()),
        );
        let sent = self.deliver(letter).instrument(span.clone()).await;
        if let Err(error) = &sent {
            span.record("otel.status_code", "ERROR");
            span.record("error.type", error.kind());
        }
        sent
    }

    /// A connection goes back only after a mail that went well: after anything else nobody knows what comes next on it.
    async fn deliver(&self, letter: &Letter) -> Result<(), Error> {
        let mut connection = timeout(self.timeout, self.begin(letter))
            .await
            .unwrap_or(Err(Error::Timeout(self.timeout)))?;
        timeout(self.acceptance, connection.finish(letter)).await.unwrap_or_else(|_| {
            Err(Error::Unknown(format!("no answer within {:?}", self.acceptance)))
        })?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|idle| idle.since.elapsed() < MAX_IDLE);
        idle.push(Idle { connection, since: Instant::now() });
        Ok(())
    }

    /// A connection whose server waits for the mail's text. A kept one that its server has closed meanwhile is no failure.
    async fn begin(&self, letter: &Letter) -> Result<Connection, Error> {
        let mut connection = self.announce(letter).await?;
        connection.address(letter).await?;
        Ok(connection)
    }

    async fn announce(&self, letter: &Letter) -> Result<Connection, Error> {
        while let Some(mut connection) = self.kept() {
            match connection.begin(letter).await {
                Ok(()) => return Ok(connection),
                Err(Error::Broken(_) | Error::Refused { code: 421, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let mut connection = self.server.connect().await?;
        connection.begin(letter).await?;
        Ok(connection)
    }

    fn kept(&self) -> Option<Connection> {
        let last = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        last.filter(|idle| idle.since.elapsed() < MAX_IDLE).map(|idle| idle.connection)
    }
}
