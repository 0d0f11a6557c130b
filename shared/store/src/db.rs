//! The connection pools, and the schema.

use std::{str::FromStr, sync::Arc, time::Duration};

use sqlx::{
    Connection as _, PgPool, SqlitePool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::{sync::Notify, time::Instant};

use crate::{
    Error, Query, Result, Row, RowValues, Tx,
    many::{Engine, statements},
    query::Target,
};

/// How long a process waits for another one that has an SQLite file, and the pause between two tries to open one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// How a pool is sized.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Connections at most; on SQLite, of the readers (there is always one writer).
    pub max_connections: u32,
    /// How long a caller waits for a connection before the database counts as not available.
    pub acquire_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_connections: 8, acquire_timeout: Duration::from_secs(2) }
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
    Postgres(PgPool),
    /// One writer, so that writers queue in the process (in order, at no cost) and not in the file's lock.
    Sqlite {
        writer: SqlitePool,
        readers: SqlitePool,
    },
}

impl Db {
    /// Opens the database at `postgres://…` or `sqlite://path` (made when it doesn't exist). PostgreSQL may be away: calls then
    /// answer [`Error::Unavailable`] until it is back.
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
    /// When a migration fails, or the database is away.
    pub async fn migrate(&self, postgres: &Migrator, sqlite: &Migrator) -> Result<()> {
        match &self.pools {
            Pools::Postgres(pool) => {
                for migrator in [&sqlx::migrate!("./migrations/postgres"), postgres] {
                    tolerant(migrator).run(pool).await?;
                }
            }
            Pools::Sqlite { writer, .. } => {
                // On SQLite sqlx takes no lock: two processes that both find a table missing would both create it.
                let mut tx = writer.begin_with("BEGIN IMMEDIATE").await?;
                for migrator in [&sqlx::migrate!("./migrations/sqlite"), sqlite] {
                    tolerant(migrator).run_direct(None, &mut *tx, false).await?;
                }
                tx.commit().await?;
            }
        }
        Ok(())
    }

    /// Runs the engine's text of `CREATE … IF NOT EXISTS` statements, one process at a time: for a database that several
    /// programs share, and none owns.
    ///
    /// # Errors
    /// When the database is away or refuses.
    pub async fn create_if_missing(
        &self,
        postgres: &'static str,
        sqlite: &'static str,
    ) -> Result<()> {
        match &self.pools {
            Pools::Postgres(pool) => {
                let mut tx = pool.begin().await?;
                // Two sessions that both find a table missing would both create it. The number is arbitrary.
                sqlx::query("SELECT pg_advisory_xact_lock(1886611567)").execute(&mut *tx).await?;
                sqlx::raw_sql(postgres).execute(&mut *tx).await?;
                tx.commit().await?;
            }
            Pools::Sqlite { writer, .. } => {
                let mut tx = writer.begin_with("BEGIN IMMEDIATE").await?;
                sqlx::raw_sql(sqlite).execute(&mut *tx).await?;
                tx.commit().await?;
            }
        }
        Ok(())
    }

    /// Begins a writing transaction. Dropping it rolls it back.
    ///
    /// # Errors
    /// When the database is away or every connection stays busy.
    pub async fn begin(&self) -> Result<Tx> {
        Tx::begin(self).await
    }

    /// A reading statement outside any transaction; on SQLite a writing one is refused.
    pub fn read(&self, sql: &'static str) -> Query<'_> {
        match &self.pools {
            Pools::Postgres(pool) => Query::new(Target::PostgresPool(pool), sql),
            Pools::Sqlite { readers, .. } => Query::new(Target::SqlitePool(readers), sql),
        }
    }

    /// A writing statement that is a transaction of its own: one round trip instead of three.
    pub(crate) fn write(&self, sql: &'static str) -> Query<'_> {
        match &self.pools {
            Pools::Postgres(pool) => Query::new(Target::PostgresPool(pool), sql),
            Pools::Sqlite { writer, .. } => Query::new(Target::SqlitePool(writer), sql),
        }
    }

    /// As [`read`](Self::read), over many rows: `{}` in the text becomes a `VALUES` list's rows.
    ///
    /// # Errors
    /// When the database is away or refuses it, or a row is not an `R`.
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
            let target = match &self.pools {
                Pools::Postgres(pool) => Target::PostgresPool(pool),
                Pools::Sqlite { readers, .. } => Target::SqlitePool(readers),
            };
            found.extend(Query::new(target, text).with(values).all::<R>().await?);
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

    /// Closes the pools, after what is running has ended.
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

fn open_postgres(url: &str, options: Options) -> Result<PgPool> {
    let connect = PgConnectOptions::from_str(url)
        .map_err(|error| Error::Url(error.to_string()))?
        // A plan that was made once for a table that was still empty reads all of it for ever after; with 100,000 rows that made a
        // statement forty times as slow. Planning costs less than a tenth of a millisecond.
        .options([("plan_cache_mode", "force_custom_plan")])
        // Every size of a list of rows is a statement of its own.
        .statement_cache_capacity(1_024);
    Ok(PgPoolOptions::new()
        .max_connections(options.max_connections)
        .acquire_timeout(options.acquire_timeout)
        // A ping before each use costs a round trip; a connection that just worked needs none.
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > Duration::from_millis(500) {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(connect))
}

async fn open_sqlite(url: &str, options: Options) -> Result<Pools> {
    let connect = SqliteConnectOptions::from_str(url)
        .map_err(|error| Error::Url(error.to_string()))?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // NORMAL may lose the last commits when the power fails.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true);
    let pool = |size| {
        SqlitePoolOptions::new()
            .max_connections(size)
            .acquire_timeout(options.acquire_timeout)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
    };
    // Turning a new file to WAL needs it alone, and whoever comes meanwhile is sent away at once: no busy timeout applies.
    let deadline = Instant::now() + BUSY_TIMEOUT;
    let writer = loop {
        match pool(1).connect_with(connect.clone()).await.map_err(Error::from) {
            Ok(writer) => break writer,
            Err(error) if error.is_unavailable() && Instant::now() < deadline => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    };
    let readers =
        pool(options.max_connections).connect_lazy_with(connect.pragma("query_only", "ON"));
    Ok(Pools::Sqlite { writer, readers })
}
