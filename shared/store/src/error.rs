//! What can go wrong with a database.

/// An error of the database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database is away or busy; the same statement may succeed later. Nothing was written.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// The database went away during a commit: all of the transaction was written, or nothing.
    #[error("the database went away during a commit")]
    CommitUnknown(#[source] sqlx::Error),
    /// The database refused the statement.
    #[error("the database refused a statement")]
    Refused(#[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the database's schema could not be brought up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// A value in the database, or on its way there, is not what its column promises.
    #[error("a stored value can't be read or written: {0}")]
    Value(String),
    /// The database's URL can't be used.
    #[error("{0}")]
    Url(String),
}

impl Error {
    /// Whether the same call may succeed later without anybody's help.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::CommitUnknown(_))
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let unavailable = match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            sqlx::Error::Database(database) => {
                database.code().is_some_and(|code| is_temporary(&code))
            }
            _ => false,
        };
        if unavailable { Self::Unavailable(error) } else { Self::Refused(error) }
    }
}

impl From<sqlx::migrate::MigrateError> for Error {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::Execute(error) => error.into(),
            error => Self::Migrate(error),
        }
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Value(error.to_string())
    }
}

/// PostgreSQL: class 08 (connection), 53 (resources), 40 (serialization, deadlock), 57P (shutdown, recovery), 58
/// (system), 25006 (a standby); <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
/// SQLite: primary codes 5 (busy), 6 (locked), 10 (input/output) and 13 (disk full);
/// <https://www.sqlite.org/rescode.html>.
fn is_temporary(code: &str) -> bool {
    if code.len() == 5 {
        return ["08", "53", "40", "57P", "58", "25006"]
            .iter()
            .any(|class| code.starts_with(class));
    }
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 10 | 13))
}
