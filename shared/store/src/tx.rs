//! The writing transaction.

use std::time::Duration;

use contracts::{Cause, Command, Envelope, Event, Exchange, Message, Timestamp};
use sqlx::{PgConnection, SqliteConnection};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{
    Db, Error, Query, Result, Row, RowValues,
    db::Pools,
    many::{Engine, statements},
    outbox,
    pool::Lent,
    query::{On, Target},
};

/// A writing transaction: rows and the messages that announce them, committed together or not at all.
pub struct Tx {
    inner: Inner,
    outgoing: Vec<outbox::Outgoing>,
    outbox_filled: std::sync::Arc<Notify>,
    on_commit: Vec<Box<dyn FnOnce() + Send>>,
}

enum Inner {
    Postgres(Lent<PgConnection>),
    Sqlite(Lent<SqliteConnection>),
}

impl Tx {
    pub(crate) async fn begin(db: &Db) -> Result<Self> {
        let inner = match &db.pools {
            Pools::Postgres(pool) => {
                let mut lent = pool.get().await?;
                lent.begin().await?;
                Inner::Postgres(lent)
            }
            Pools::Sqlite { writer, .. } => {
                let mut lent = writer.get().await?;
                lent.begin().await?;
                Inner::Sqlite(lent)
            }
        };
        Ok(Self {
            inner,
            outgoing: Vec::new(),
            outbox_filled: db.outbox_filled.clone(),
            on_commit: Vec::new(),
        })
    }

    /// A statement in this transaction. `FOR UPDATE [SKIP LOCKED]` is left out where the engine has no row locks.
    pub fn query(&mut self, sql: impl Into<std::borrow::Cow<'static, str>>) -> Query<'_> {
        Query::new(self.target(), sql)
    }

    const fn engine(&self) -> Engine {
        match self.inner {
            Inner::Postgres(_) => Engine::Postgres,
            Inner::Sqlite(_) => Engine::Sqlite,
        }
    }

    fn target(&mut self) -> Target<'_> {
        match &mut self.inner {
            Inner::Postgres(lent) => Target::Postgres(On::Lent(lent)),
            Inner::Sqlite(lent) => Target::Sqlite(On::Lent(lent)),
        }
    }

    /// Runs a text of several statements without values.
    pub(crate) async fn run_all(&mut self, sql: &'static str) -> Result<()> {
        match &mut self.inner {
            Inner::Postgres(lent) => {
                lent.call(async |connection| sqlx::raw_sql(sql).execute(connection).await.map(drop))
                    .await
            }
            Inner::Sqlite(lent) => {
                lent.call(async |connection| sqlx::raw_sql(sql).execute(connection).await.map(drop))
                    .await
            }
        }
    }

    /// Lets each further statement of this transaction take as long as this: one that grows with the data, and holds nothing up.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn may_take(&mut self, limit: Duration) -> Result<()> {
        match &mut self.inner {
            Inner::Postgres(lent) => lent.may_take(limit),
            Inner::Sqlite(lent) => {
                lent.may_take(limit);
                return Ok(());
            }
        }
        let local = format!("SET LOCAL statement_timeout = {}", limit.as_millis());
        self.query(local).execute().await.map(drop)
    }

    /// Waits until every other transaction that has written to a table has ended, and keeps others from writing to it until this one
    /// does. On SQLite there is nobody to wait for.
    ///
    /// # Errors
    /// When the database is unavailable or refuses it.
    pub async fn wait_for_writers(&mut self, table: &'static str) -> Result<()> {
        match self.engine() {
            Engine::Postgres => {
                self.query(format!("LOCK TABLE {table} IN SHARE MODE")).execute().await.map(drop)
            }
            Engine::Sqlite => Ok(()),
        }
    }

    /// Runs a statement over many rows in few round trips: `{}` in the text becomes a `VALUES` list's rows,
    /// `($1, $2), ($3, $4), …`. The number of changed rows.
    ///
    /// # Errors
    /// When the database is unavailable or refuses it.
    pub async fn execute_many<T>(
        &mut self,
        sql: &str,
        rows: &[T],
        bind: impl for<'v> Fn(RowValues<'v>, &T) -> RowValues<'v>,
    ) -> Result<u64> {
        let mut changed = 0;
        for (text, values) in statements(self.engine(), sql, rows, bind)? {
            changed += Query::new(self.target(), text).with(values).execute().await?;
        }
        Ok(changed)
    }

    /// As [`execute_many`](Self::execute_many), for a statement that returns rows.
    ///
    /// # Errors
    /// When the database is unavailable or refuses it, or a row is not an `R`.
    pub async fn fetch_many<T, R: Row>(
        &mut self,
        sql: &str,
        rows: &[T],
        bind: impl for<'v> Fn(RowValues<'v>, &T) -> RowValues<'v>,
    ) -> Result<Vec<R>> {
        let mut found = Vec::new();
        for (text, values) in statements(self.engine(), sql, rows, bind)? {
            found.extend(Query::new(self.target(), text).with(values).all::<R>().await?);
        }
        Ok(found)
    }

    /// Announces an event: it is committed with this transaction, and the relay sends it afterwards. Returns the
    /// message's id.
    ///
    /// ```compile_fail,E0277
    /// fn a_command_is_no_event(tx: &mut store::Tx, command: &contracts::ChargeCard) {
    ///     tx.publish(command, &contracts::Cause::default());
    /// }
    /// ```
    ///
    /// # Errors
    /// When the event can't be written as JSON.
    pub fn publish<E: Event>(&mut self, event: &E, cause: &Cause) -> Result<Uuid> {
        self.put(Exchange::Events, E::ROUTING_KEY, event, cause)
    }

    /// Sends a command to the service that owns it, as [`publish`](Self::publish) announces an event.
    ///
    /// ```compile_fail,E0277
    /// fn an_event_is_no_command(tx: &mut store::Tx, event: &contracts::PaymentVoided) {
    ///     tx.send(event, &contracts::Cause::default());
    /// }
    /// ```
    ///
    /// ```
    /// fn each_has_its_own_way(tx: &mut store::Tx, event: &contracts::PaymentVoided, command: &contracts::ChargeCard) {
    ///     tx.publish(event, &contracts::Cause::default());
    ///     tx.send(command, &contracts::Cause::default());
    /// }
    /// ```
    ///
    /// # Errors
    /// When the command can't be written as JSON.
    pub fn send<C: Command>(&mut self, command: &C, cause: &Cause) -> Result<Uuid> {
        self.put(Exchange::Commands, C::OWNER, command, cause)
    }

    fn put<M: Message>(
        &mut self,
        exchange: Exchange,
        routing_key: &'static str,
        message: &M,
        cause: &Cause,
    ) -> Result<Uuid> {
        let id = Uuid::now_v7();
        let created_at = Timestamp::now();
        let body = Envelope::new(message, id, created_at, cause)?.to_bytes()?;
        self.outgoing.push(outbox::Outgoing { exchange, routing_key, body, created_at });
        Ok(id)
    }

    /// Runs `work` after the commit, and only if there is one: to wake up who waits for what was written.
    pub fn on_commit(&mut self, work: impl FnOnce() + Send + 'static) {
        self.on_commit.push(Box::new(work));
    }

    /// Commits the rows and the outgoing messages, and wakes the relay.
    ///
    /// # Errors
    /// When the database refuses or is away. Whether a commit whose answer was lost took place is unknown: the
    /// inbox and the idempotency keys are what makes trying again safe.
    pub async fn commit(mut self) -> Result<()> {
        let outgoing = std::mem::take(&mut self.outgoing);
        outbox::insert(&mut self, &outgoing).await?;
        let committed = match &mut self.inner {
            Inner::Postgres(lent) => lent.commit().await,
            Inner::Sqlite(lent) => lent.commit().await,
        };
        committed.map_err(|error| match error {
            Error::Unavailable(error) => Error::CommitUnknown(error),
            refused => refused,
        })?;
        if !outgoing.is_empty() {
            self.outbox_filled.notify_one();
        }
        for work in self.on_commit {
            work();
        }
        Ok(())
    }
}
