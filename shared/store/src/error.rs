//! What can go wrong with a database, and an error's chain of causes.

use std::fmt;

/// An error of the database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database is unavailable or busy; the same statement may succeed later. In a transaction nothing was written; whether a
    /// single statement was carried out whose answer didn't come isn't known.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// No connection could be had in the time that callers wait for one. Nothing was written.
    #[error("there is no connection to the database")]
    NoConnection(#[source] sqlx::Error),
    /// The server lets this program in no more, or not yet: a password, a role or a database is wrong. Nothing was written.
    #[error("the database refuses the login")]
    LoginRefused(#[source] sqlx::Error),
    /// The database became unavailable during a commit: all of the transaction was written, or nothing.
    #[error("the database became unavailable during a commit")]
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
    /// Whether the same call may succeed later, as it is.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(
            self,
            Self::Unavailable(_)
                | Self::NoConnection(_)
                | Self::LoginRefused(_)
                | Self::CommitUnknown(_)
        )
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if is_temporary(&error) { Self::Unavailable(error) } else { Self::Refused(error) }
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

/// An error with its causes, `a: b: c`: what logs, metrics and dead letters tell. A cause that the text before it ends with, as when
/// an error shows its source itself, isn't told twice.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'e>(pub &'e dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = String::new();
        let mut error = Some(self.0);
        while let Some(cause) = error {
            let text = cause.to_string();
            if !told.ends_with(&text) {
                let colon = if told.is_empty() { "" } else { ": " };
                f.write_str(colon)?;
                f.write_str(&text)?;
                told = text;
            }
            error = cause.source();
        }
        Ok(())
    }
}

/// PostgreSQL's codes that say so by the beginning of theirs: class 08 (connection), 53 (resources), 40 (serialization, deadlock), 57P
/// (shutdown, recovery), 58 (system); 57014 (a statement's time was up), 55P03 (a lock was not to be had in time), 25P03 (a
/// transaction was idle for too long), 25006 (a standby); <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
const TEMPORARY: [&str; 9] = ["08", "53", "40", "57P", "58", "57014", "55P03", "25P03", "25006"];
/// SQLite's primary codes: 5 (busy), 6 (locked), 8 (read-only), 10 (input/output), 13 (disk full), 14 (can't open);
/// <https://www.sqlite.org/rescode.html>.
const TEMPORARY_SQLITE: [u32; 6] = [5, 6, 8, 10, 13, 14];

/// PostgreSQL's codes after which a connection is of no more use: those that end it; 25006, since after a failover it may be
/// read-only for as long as it lives; and class XX, internal errors.
const SPOILING: [&str; 5] = ["08", "57P", "25P03", "25006", "XX"];
/// SQLite's: 8, 10, 13 and 14, after which a transaction may have been rolled back or not, 11 (corrupt) and 26 (not a database).
const SPOILING_SQLITE: [u32; 6] = [8, 10, 11, 13, 14, 26];

/// Whether the same statement may succeed later.
pub(crate) fn is_temporary(error: &sqlx::Error) -> bool {
    connection_failed(error) || has_code(error, &TEMPORARY, &TEMPORARY_SQLITE)
}

/// Whether the connection that answered so must not be used again.
pub(crate) fn spoils(error: &sqlx::Error) -> bool {
    connection_failed(error) || has_code(error, &SPOILING, &SPOILING_SQLITE)
}

const fn connection_failed(error: &sqlx::Error) -> bool {
    matches!(
        error,
        sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
    )
}

fn has_code(error: &sqlx::Error, postgres: &[&str], sqlite: &[u32]) -> bool {
    let Some(code) = error.as_database_error().and_then(sqlx::error::DatabaseError::code) else {
        return false;
    };
    if code.len() == 5 {
        return postgres.iter().any(|class| code.starts_with(class));
    }
    // An extended code has its primary one in the lowest byte.
    code.parse::<u32>().is_ok_and(|code| sqlite.contains(&(code & 0xff)))
}

/// The error of a call that was given up.
pub(crate) fn no_answer(limit: std::time::Duration) -> sqlx::Error {
    let reason = format!("no answer within {limit:?}");
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_names_each_cause_once() {
        let cause = || sqlx::Error::Io(std::io::Error::other("connection refused"));
        let error = Error::NoConnection(cause());
        let text = Chain(&error).to_string();
        assert_eq!(text.matches("connection refused").count(), 1, "{text}");
        assert!(text.starts_with("there is no connection to the database: "), "{text}");
    }
}
