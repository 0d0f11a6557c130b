//! Pools of connections on which every wait has a limit.
//!
//! A call that exceeds its limit costs its connection: whether the other end still works on it isn't known, and a connection in an
//! unknown state serves no other caller. The same goes for a connection whose answer says that it is unfit (see
//! [`error::spoils`]): after a failed commit SQLite's has no transaction where one is believed to be, and PostgreSQL's may have
//! become read-only.

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use deadpool::managed::{Metrics, Object, PoolError, QueueMode, RecycleError, RecycleResult};
use sqlx::{Connection, PgConnection, SqliteConnection};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{Error, Result, error};

/// A connection that was used this recently needs no ping before it is used again, which would cost a round trip.
const FRESH: Duration = Duration::from_millis(500);
/// How long the answer to a ping may take, and the rollback of a transaction that was dropped.
const ANSWER: Duration = Duration::from_secs(1);
/// The pause between two tries to connect.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);
/// How long closing a connection in an orderly way may take.
const CLOSE: Duration = Duration::from_secs(2);

/// How a pool is sized, and how long its callers wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    /// A connection this old is replaced, so that a server that is to be stopped can be drained.
    pub(crate) lifetime: Option<Duration>,
    /// For a connection.
    pub(crate) acquire: Duration,
    /// For the answer to a statement, and to a commit.
    pub(crate) statement: Duration,
}

/// What differs between the engines' connections.
pub(crate) trait Driver: Connection<Options: Send + Sync> + 'static {
    /// How a writing transaction begins.
    const BEGIN: &'static str;

    /// Runs a statement without values and rows.
    fn run(&mut self, sql: &'static str) -> impl Future<Output = sqlx::Result<()>> + Send;
}

impl Driver for PgConnection {
    const BEGIN: &'static str = "BEGIN";

    async fn run(&mut self, sql: &'static str) -> sqlx::Result<()> {
        sqlx::raw_sql(sql).execute(self).await.map(drop)
    }
}

impl Driver for SqliteConnection {
    /// A deferred transaction that reads before it writes can fail with "database is locked" in spite of any timeout.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";

    async fn run(&mut self, sql: &'static str) -> sqlx::Result<()> {
        sqlx::query(sql).execute(self).await.map(drop)
    }
}

/// Opens connections, and decides which of them may be used again.
#[derive(Debug)]
struct Manager<C: Driver> {
    options: C::Options,
    lifetime: Option<Duration>,
    trouble: Mutex<Trouble>,
}

/// What went wrong last.
#[derive(Debug, Default)]
struct Trouble {
    /// When a connection had to be given up. Those that were idle then are likely to have the same fault.
    at: Option<std::time::Instant>,
    /// Why connecting failed, until it succeeds.
    connecting: Option<String>,
}

impl<C: Driver> Manager<C> {
    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a connection had to be given up.
    fn doubt(&self) {
        self.trouble().at = Some(std::time::Instant::now());
    }
}

impl<C: Driver> deadpool::managed::Manager for Manager<C> {
    type Type = C;
    type Error = sqlx::Error;

    async fn create(&self) -> sqlx::Result<C> {
        C::connect_with(&self.options).await
    }

    async fn recycle(&self, connection: &mut C, used: &Metrics) -> RecycleResult<sqlx::Error> {
        if self.lifetime.is_some_and(|lifetime| used.age() > lifetime) {
            return Err(RecycleError::message("it is too old"));
        }
        let last_used = used.recycled.unwrap_or(used.created);
        if self.trouble().at.is_some_and(|at| last_used < at) {
            return Err(RecycleError::message("another one had to be given up"));
        }
        if last_used.elapsed() <= FRESH {
            return Ok(());
        }
        match timeout(ANSWER, connection.ping()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.doubt();
                Err(error.into())
            }
            Err(_) => {
                self.doubt();
                Err(RecycleError::message("it didn't answer a ping"))
            }
        }
    }
}

/// A pool of one engine's connections. Cloning shares it.
pub(crate) struct Pool<C: Driver> {
    connections: deadpool::managed::Pool<Manager<C>>,
    limits: Limits,
}

impl<C: Driver> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self { connections: self.connections.clone(), limits: self.limits }
    }
}

impl<C: Driver> std::fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl<C: Driver> Pool<C> {
    /// A pool without connections: they are made when they are needed.
    ///
    /// # Errors
    /// When it is sized so that it could have none.
    pub(crate) fn new(options: C::Options, limits: Limits) -> Result<Self> {
        let manager = Manager { options, lifetime: limits.lifetime, trouble: Mutex::default() };
        let connections = deadpool::managed::Pool::builder(manager)
            .max_size(limits.connections.max(1))
            // Few connections stay in use, and need no ping.
            .queue_mode(QueueMode::Lifo)
            .build()
            .map_err(|error| Error::Url(error.to_string()))?;
        Ok(Self { connections, limits })
    }

    /// A connection; tries to connect for as long as callers may wait.
    ///
    /// # Errors
    /// When there is none by then, or the server refuses this user.
    pub(crate) async fn get(&self) -> Result<Lent<C>> {
        let deadline = Instant::now() + self.limits.acquire;
        loop {
            let error = match timeout_at(deadline, self.connections.get()).await {
                Ok(Ok(object)) => {
                    self.connections.manager().trouble().connecting = None;
                    return Ok(Lent::new(object, self.limits.statement));
                }
                Ok(Err(PoolError::Backend(error))) => error,
                Ok(Err(_)) => return Err(Error::NoConnection(sqlx::Error::PoolClosed)),
                Err(_) => return Err(Error::NoConnection(self.timed_out())),
            };
            if !error::is_temporary(&error) {
                return Err(match error {
                    sqlx::Error::Database(_) => Error::LoginRefused(error),
                    error => error.into(),
                });
            }
            self.connections.manager().trouble().connecting = Some(error.to_string());
            if Instant::now() + CONNECT_PAUSE > deadline {
                return Err(Error::NoConnection(error));
            }
            sleep(CONNECT_PAUSE).await;
        }
    }

    fn timed_out(&self) -> sqlx::Error {
        let why = self.connections.manager().trouble().connecting.clone();
        let why = why.unwrap_or_else(|| "all connections are in use".to_owned());
        let waited = self.limits.acquire;
        sqlx::Error::Io(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no connection within {waited:?}: {why}"),
        ))
    }

    /// Closes the idle connections; those in use close when they come back.
    pub(crate) async fn close(&self) {
        for connection in self.connections.retain(|_, _| false).removed {
            let _ = timeout(CLOSE, connection.close()).await;
        }
        self.connections.close();
    }
}

/// A connection of a pool, for one caller.
pub(crate) struct Lent<C: Driver> {
    /// None once it was given up.
    object: Option<Object<Manager<C>>>,
    limit: Duration,
    /// A transaction has begun, and not ended.
    open: bool,
    /// A call was begun, and not answered: also when its future was dropped.
    busy: bool,
}

impl<C: Driver> Lent<C> {
    const fn new(object: Object<Manager<C>>, limit: Duration) -> Self {
        Self { object: Some(object), limit, open: false, busy: false }
    }

    /// Runs a call on the connection.
    ///
    /// # Errors
    /// When it fails, or isn't answered in time.
    pub(crate) async fn call<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut C) -> sqlx::Result<T>,
    ) -> Result<T> {
        let Some(connection) = &mut self.object else { return Err(given_up()) };
        self.busy = true;
        let answer = timeout(self.limit, call(connection)).await;
        self.busy = false;
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                if error::spoils(&error) {
                    self.give_up();
                }
                Err(error.into())
            }
            Err(_) => {
                self.give_up();
                Err(Error::Unavailable(error::no_answer(self.limit)))
            }
        }
    }

    /// Begins a writing transaction. Dropped before it is committed, it is rolled back.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub(crate) async fn begin(&mut self) -> Result<()> {
        // From here on: the future may be dropped when the server has begun it already.
        self.open = true;
        let begun = self.call(async |connection| connection.run(C::BEGIN).await).await;
        self.open = begun.is_ok();
        begun
    }

    /// Commits the transaction.
    ///
    /// # Errors
    /// As [`call`](Self::call); the connection is given up then.
    pub(crate) async fn commit(&mut self) -> Result<()> {
        let committed = self.call(async |connection| connection.run("COMMIT").await).await;
        self.open = false;
        if committed.is_err() {
            self.give_up();
        }
        committed
    }

    /// Lets each further call take longer.
    pub(crate) const fn may_take(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// The connection, for good: the pool makes another.
    ///
    /// # Errors
    /// When it was given up.
    pub(crate) fn take(mut self) -> Result<C> {
        self.object.take().map(Object::take).ok_or_else(given_up)
    }

    /// Drops the connection: its server, or its file, sees it end.
    fn give_up(&mut self) {
        self.open = false;
        if let Some(object) = self.object.take() {
            give_up(object);
        }
    }
}

impl<C: Driver> Drop for Lent<C> {
    /// What is known to be idle goes back at once, the rest after it has been brought to that.
    fn drop(&mut self) {
        let Some(object) = self.object.take() else { return };
        if !self.busy && !self.open {
            return;
        }
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(clean_up(object, self.open))),
            Err(_) => give_up(object),
        }
    }
}

fn given_up() -> Error {
    let reason = "the connection was given up after an error";
    Error::Unavailable(sqlx::Error::Protocol(reason.to_owned()))
}

/// Waits for the end of what was under way, and rolls an open transaction back; or gives the connection up.
async fn clean_up<C: Driver>(mut object: Object<Manager<C>>, open: bool) {
    let cleaning = async { if open { object.run("ROLLBACK").await } else { object.ping().await } };
    if !matches!(timeout(ANSWER, cleaning).await, Ok(Ok(()))) {
        give_up(object);
    }
}

fn give_up<C: Driver>(object: Object<Manager<C>>) {
    if let Some(pool) = Object::pool(&object) {
        pool.manager().doubt();
    }
    drop(Object::take(object));
}
