//! A statement for either engine: `tx.query("… $1 …").bind(value).execute()`.

use std::borrow::Cow;

use sqlx::{
    Arguments as _, AssertSqlSafe, Encode, FromRow, PgConnection, Postgres, Sqlite,
    SqliteConnection, Type, postgres::PgArguments, postgres::PgRow, sqlite::SqliteArguments,
    sqlite::SqliteRow,
};

use crate::{
    Error, Result,
    pool::{Driver, Lent, Pool},
};

/// A value that both engines can take as it is.
pub trait Bind:
    Type<Postgres> + Type<Sqlite> + for<'q> Encode<'q, Postgres> + for<'q> Encode<'q, Sqlite>
{
}
impl<T> Bind for T where
    T: Type<Postgres> + Type<Sqlite> + for<'q> Encode<'q, Postgres> + for<'q> Encode<'q, Sqlite>
{
}

/// What a row of either engine can be read into: a tuple, or a struct with `#[derive(sqlx::FromRow)]`.
pub trait Row: Send + Unpin + for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> {}
impl<T> Row for T where T: Send + Unpin + for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow>
{}

/// Where a statement runs.
pub(crate) enum Target<'c> {
    Postgres(On<'c, PgConnection>),
    Sqlite(On<'c, SqliteConnection>),
}

/// A connection that the caller has, or a pool that lends one for the statement.
pub(crate) enum On<'c, C: Driver> {
    Lent(&'c mut Lent<C>),
    Pool(&'c Pool<C>),
}

impl<C: Driver> On<'_, C> {
    async fn call<T>(self, call: impl AsyncFnOnce(&mut C) -> sqlx::Result<T>) -> Result<T> {
        match self {
            Self::Lent(lent) => lent.call(call).await,
            Self::Pool(pool) => pool.get().await?.call(call).await,
        }
    }
}

/// The values of a statement in the engine's own encoding.
pub(crate) enum Values {
    Postgres(PgArguments),
    Sqlite(SqliteArguments),
}

impl Values {
    pub(crate) fn add<T: Bind>(&mut self, value: T) -> Result<()> {
        match self {
            Self::Postgres(values) => values.add(value),
            Self::Sqlite(values) => values.add(value),
        }
        .map_err(|error| Error::Value(error.to_string()))
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Postgres(values) => values.len(),
            Self::Sqlite(values) => values.len(),
        }
    }
}

/// A statement with its values, ready to run.
#[must_use = "a statement does nothing until it is executed or fetched"]
pub struct Query<'c> {
    target: Target<'c>,
    sql: Cow<'static, str>,
    values: Result<Values>,
}

/// Runs a sqlx call on whichever target it is.
macro_rules! on_target {
    ($query:expr, $build:path, $run:ident) => {{
        let values = $query.values?;
        let query = AssertSqlSafe($query.sql);
        match ($query.target, values) {
            (Target::Postgres(on), Values::Postgres(values)) => on
                .call(async |connection| $build(query, values).$run(connection).await)
                .await?
                .into(),
            (Target::Sqlite(on), Values::Sqlite(values)) => on
                .call(async |connection| $build(query, values).$run(connection).await)
                .await?
                .into(),
            _ => return Err(Error::Value("values of the other engine".to_owned())),
        }
    }};
}

impl<'c> Query<'c> {
    pub(crate) fn new(target: Target<'c>, sql: impl Into<Cow<'static, str>>) -> Self {
        let mut sql = sql.into();
        let values = match target {
            Target::Postgres(_) => Values::Postgres(PgArguments::default()),
            Target::Sqlite(_) => {
                // SQLite has no row locks, and a writer needs none: it holds the whole file.
                if let Some(at) = sql.find(" FOR UPDATE") {
                    let rest = sql[at..]
                        .trim_start_matches(" FOR UPDATE")
                        .trim_start_matches(" SKIP LOCKED")
                        .to_owned();
                    sql = Cow::Owned(format!("{}{rest}", &sql[..at]));
                }
                Values::Sqlite(SqliteArguments::default())
            }
        };
        Self { target, sql, values: Ok(values) }
    }

    /// The value of the next `$n`.
    pub fn bind<T: Bind>(mut self, value: T) -> Self {
        self.values = self.values.and_then(|mut values| values.add(value).map(|()| values));
        self
    }

    pub(crate) fn with(mut self, values: Values) -> Self {
        self.values = Ok(values);
        self
    }

    /// Runs it; the number of rows that it changed.
    ///
    /// # Errors
    /// When the database is unavailable or refuses it.
    pub async fn execute(self) -> Result<u64> {
        struct Changed(u64);
        impl From<sqlx::postgres::PgQueryResult> for Changed {
            fn from(result: sqlx::postgres::PgQueryResult) -> Self {
                Self(result.rows_affected())
            }
        }
        impl From<sqlx::sqlite::SqliteQueryResult> for Changed {
            fn from(result: sqlx::sqlite::SqliteQueryResult) -> Self {
                Self(result.rows_affected())
            }
        }
        let changed: Changed = on_target!(self, sqlx::query_with, execute);
        Ok(changed.0)
    }

    /// The first row, if there is one.
    ///
    /// # Errors
    /// When the database is unavailable or refuses it, or the row is not a `T`.
    pub async fn optional<T: Row>(self) -> Result<Option<T>> {
        Ok(on_target!(self, sqlx::query_as_with, fetch_optional))
    }

    /// The one row.
    ///
    /// # Errors
    /// As [`optional`](Self::optional), and when there is no row.
    pub async fn one<T: Row>(self) -> Result<T> {
        self.optional().await?.ok_or(Error::Refused(sqlx::Error::RowNotFound))
    }

    /// All rows.
    ///
    /// # Errors
    /// As [`optional`](Self::optional).
    pub async fn all<T: Row>(self) -> Result<Vec<T>> {
        Ok(on_target!(self, sqlx::query_as_with, fetch_all))
    }
}
