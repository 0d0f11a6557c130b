//! The connection pools, and the schema.

use std::{pin::pin, str::FromStr, sync::Arc, time::Duration};

use contracts::Timestamp;
use sqlx::{
    Connection as _, PgConnection, SqliteConnection,
    migrate::Migrator,
    postgres::PgConnectOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use crate::{
    Error, Query, Result, Row, RowValues, Tx,
    error::no_answer,
    many::{Engine, statements},
    pool::{Limits, Pool},
    query::{On, Target},
};

/// A connection to PostgreSQL that is older is replaced.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// How long changing the schema may take, with whatever waits for another program that is changing it.
const MIGRATION: Duration = Duration::from_secs(600);

/// How often a migration that takes long says so.
const MIGRATION_SLOW: Duration = Duration::from_secs(10);

/// How a database is used.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Connections at most; on SQLite, of the readers (there is always one writer).
    pub max_connections: u32,
    /// How long a caller waits for a connection before the database counts as not available.
    pub acquire_timeout: Duration,
    /// How long a caller waits for the answer to a statement or a commit, before the connection is closed. PostgreSQL
    /// ends a statement somewhat earlier, so that its connection can stay.
    pub statement_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_connections: 8,
            acquire_timeout: Duration::from_secs(2),
            statement_timeout: Duration::from_secs(10),
        }
    }
}

impl Options {
    /// The limits of a pool.
    const fn limits(&self, connections: u32, lifetime: Option<Duration>) -> Limits {
        Limits {
            connections: connections as usize,
            lifetime,
            acquire: self.acquire_timeout,
            statement: self.statement_timeout,
        }
    }
}

/// A service's database, PostgreSQL or SQLite by its URL. Cloning shares the pools.
#[derive(Debug, Clone)]
pub struct Db {
    pub(crate) pools: Pools,
    pub(crate) outbox_filled: Arc<Notify>,
}

#[derive(Debug, Clone)]
pub(crate) enum Pools {
    Postgres(Pool<PgConnection>),
    /// One writer, so that writers queue in the process (in order, at no cost) and not in the file's lock.
    Sqlite {
        writer: Pool<SqliteConnection>,
        readers: Pool<SqliteConnection>,
    },
}

impl Db {
    /// Opens the database at `postgres://…` or `sqlite://path` (made when it doesn't exist). PostgreSQL may be unavailable:
    /// calls then answer [`Error::NoConnection`] until it is back.
    ///
    /// # Errors
    /// When the URL can't be used, or the SQLite file can't be opened.
    pub async fn open(url: &str, options: Options) -> Result<Self> {
        let pools = if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Pools::Postgres(open_postgres(url, options)?)
        } else if url.starts_with("sqlite:") {
            open_sqlite(url, options).await?
        } else {
            return Err(Error::Url(
                "a database URL starts with postgres:// or sqlite://".to_owned(),
            ));
        };
        Ok(Self { pools, outbox_filled: Arc::new(Notify::new()) })
    }

    /// Brings the schema up to date: first this crate's tables, then the service's own. Replicas may do this at
    /// the same time.
    ///
    /// # Errors
    /// When a migration fails, or the database is unavailable.
    pub async fn migrate(&self, postgres: &Migrator, sqlite: &Migrator) -> Result<()> {
        let migrating = async {
            match &self.pools {
                Pools::Postgres(pool) => {
                    let mut connection = pool.get().await?.take()?;
                    // Building an index may take minutes, and so may another replica that is at it.
                    sqlx::raw_sql("SET statement_timeout = 0; SET lock_timeout = 0")
                        .execute(&mut connection)
                        .await?;
                    for migrator in [&sqlx::migrate!("./migrations/postgres"), postgres] {
                        tolerant(migrator).run_direct(None, &mut connection, false).await?;
                    }
                    Ok(connection.close().await?)
                }
                Pools::Sqlite { writer, .. } => {
                    let mut connection = writer.get().await?.take()?;
                    // sqlx takes no lock here: two processes that both find a table missing would both create it.
                    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
                    for migrator in [&sqlx::migrate!("./migrations/sqlite"), sqlite] {
                        tolerant(migrator).run_direct(None, &mut *tx, false).await?;
                    }
                    tx.commit().await?;
                    Ok(connection.close().await?)
                }
            }
        };
        let mut migrating = pin!(timeout(MIGRATION, migrating));
        loop {
            tokio::select! {
                migrated = &mut migrating => {
                    return migrated.unwrap_or_else(|_| Err(Error::Unavailable(no_answer(MIGRATION))));
                }
                () = sleep(MIGRATION_SLOW) => {
                    tracing::warn!("the schema is still being brought up to date");
                }
            }
        }
    }

    /// Runs the engine's text of `CREATE … IF NOT EXISTS` statements, one process at a time: for a database that several
    /// programs share, and none owns.
    ///
    /// # Errors
    /// When the database is unavailable or refuses.
    pub async fn create_if_missing(
        &self,
        postgres: &'static str,
        sqlite: &'static str,
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        match &self.pools {
            // Two sessions that both find a table missing would both create it. The number is arbitrary.
            Pools::Postgres(_) => {
                tx.query("SELECT pg_advisory_xact_lock(1886611567)").execute().await?;
                tx.run_all(postgres).await?;
            }
            Pools::Sqlite { .. } => tx.run_all(sqlite).await?,
        }
        tx.commit().await
    }

    /// Begins a writing transaction. Dropping it rolls it back.
    ///
    /// # Errors
    /// When the database is unavailable or every connection stays busy.
    pub async fn begin(&self) -> Result<Tx> {
        Tx::begin(self).await
    }

    /// A reading statement outside any transaction; on SQLite a writing one is refused.
    pub fn read(&self, sql: &'static str) -> Query<'_> {
        Query::new(self.reading(), sql)
    }

    fn reading(&self) -> Target<'_> {
        match &self.pools {
            Pools::Postgres(pool) => Target::Postgres(On::Pool(pool)),
            Pools::Sqlite { readers, .. } => Target::Sqlite(On::Pool(readers)),
        }
    }

    /// A writing statement that is a transaction of its own: one round trip instead of three.
    pub(crate) fn write(&self, sql: &'static str) -> Query<'_> {
        let target = match &self.pools {
            Pools::Postgres(pool) => Target::Postgres(On::Pool(pool)),
            Pools::Sqlite { writer, .. } => Target::Sqlite(On::Pool(writer)),
        };
        Query::new(target, sql)
    }

    /// As [`read`](Self::read), over many rows: `{}` in the text becomes a `VALUES` list's rows.
    ///
    /// # Errors
    /// When the database is unavailable or refuses it, or a row is not an `R`.
    pub async fn read_many<T, R: Row>(
        &self,
        sql: &str,
        rows: &[T],
        bind: impl for<'v> Fn(RowValues<'v>, &T) -> RowValues<'v>,
    ) -> Result<Vec<R>> {
        let mut found = Vec::new();
        let engine = match &self.pools {
            Pools::Postgres(_) => Engine::Postgres,
            Pools::Sqlite { .. } => Engine::Sqlite,
        };
        for (text, values) in statements(engine, sql, rows, bind)? {
            found.extend(Query::new(self.reading(), text).with(values).all::<R>().await?);
        }
        Ok(found)
    }

    /// Checks that the database answers.
    ///
    /// # Errors
    /// When it doesn't.
    pub async fn ping(&self) -> Result<()> {
        self.read("SELECT 1").execute().await.map(drop)
    }

    /// Checks that the database takes what is written: one that answers may be read-only, or its disk full.
    ///
    /// # Errors
    /// When it doesn't.
    pub async fn probe(&self) -> Result<()> {
        self.write(
            "INSERT INTO last_probe (id, at) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET at = excluded.at",
        )
        .bind(Timestamp::now().as_micros())
        .execute()
        .await
        .map(drop)
    }

    /// Closes the pools; a connection that is in use closes when it comes back.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Postgres(pool) => pool.close().await,
            Pools::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
        }
    }
}

/// This crate's migrations and a service's share one table of applied versions, so each must tolerate the other's.
fn tolerant(migrator: &Migrator) -> Migrator {
    Migrator { ignore_missing: true, ..Migrator::with_migrations(migrator.migrations.to_vec()) }
}

fn open_postgres(url: &str, options: Options) -> Result<Pool<PgConnection>> {
    let limit = options.statement_timeout;
    let milliseconds = |time: Duration| time.as_millis().to_string();
    let connect =
        PgConnectOptions::from_str(url).map_err(|error| Error::Url(error.to_string()))?.options([
            // A plan that was made once for a table that was still empty reads all of it for ever after; with 100,000 rows that made
            // a statement forty times as slow. Planning costs less than a tenth of a millisecond.
            ("plan_cache_mode", "force_custom_plan".to_owned()),
            // What this process gives up, the server must give up too: it would go on holding its locks.
            ("statement_timeout", milliseconds(limit * 4 / 5)),
            ("lock_timeout", milliseconds(limit * 2 / 5)),
            ("idle_in_transaction_session_timeout", milliseconds(limit)),
            ("tcp_keepalives_idle", "30".to_owned()),
            ("tcp_keepalives_interval", "10".to_owned()),
            ("tcp_keepalives_count", "3".to_owned()),
            ("tcp_user_timeout", milliseconds(limit)),
        ]);
    // Every size of a list of rows is a statement of its own. A pooler before the server may need 0, which the URL then says.
    let connect = if url.contains("statement-cache-capacity") {
        connect
    } else {
        connect.statement_cache_capacity(1_024)
    };
    Pool::new(connect, options.limits(options.max_connections, Some(LIFETIME)))
}

async fn open_sqlite(url: &str, options: Options) -> Result<Pools> {
    // Shorter than a statement may take, so that a file that another process holds costs no connection.
    let busy_timeout = options.statement_timeout * 4 / 5;
    let connect = SqliteConnectOptions::from_str(url)
        .map_err(|error| Error::Url(error.to_string()))?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // NORMAL may lose the last commits when the power fails.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(busy_timeout)
        .foreign_keys(true);
    let writer = Pool::new(connect.clone(), options.limits(1, None))?;
    let readers = connect.pragma("query_only", "ON");
    let readers = Pool::new(readers, options.limits(options.max_connections, None))?;
    // Turning a new file to WAL needs it alone, and whoever comes meanwhile is sent away at once: no busy timeout applies.
    let deadline = Instant::now() + busy_timeout;
    while let Err(error) = writer.get().await {
        if !error.is_unavailable() || Instant::now() > deadline {
            return Err(error);
        }
    }
    Ok(Pools::Sqlite { writer, readers })
}
