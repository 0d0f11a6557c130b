//! Where a shop has its data and its broker: the same for those who start it and those who look after it.

use std::path::{Path, PathBuf};

use anyhow::bail;
use reqwest::Url;

use crate::up::{self, Server};

/// The database of the jobs-table broker.
pub(crate) const BROKER: &str = "broker";

/// Where everything is.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// Where the data and the logs are kept
    #[arg(long, global = true, env = "SHOP_DATA", default_value = "./data", value_name = "FOLDER")]
    pub(crate) data: PathBuf,

    /// A PostgreSQL server instead of SQLite files: each service has a database of its own there, made if it is missing
    #[arg(
        long,
        global = true,
        env = "SHOP_DATABASE_URL",
        value_name = "URL",
        hide_env_values = true
    )]
    pub(crate) database: Option<String>,

    /// What the names of these databases begin with
    #[arg(
        long,
        global = true,
        env = "SHOP_DATABASE_PREFIX",
        default_value = "shop_",
        value_name = "PREFIX",
        value_parser = up::prefix
    )]
    pub(crate) database_prefix: String,

    /// The broker: amqp://… for RabbitMQ. By default a jobs table beside the databases
    #[arg(
        long,
        global = true,
        env = "SHOP_BROKER_URL",
        value_name = "URL",
        hide_env_values = true
    )]
    pub(crate) broker: Option<String>,
}

impl Place {
    /// The PostgreSQL server, if there is one.
    ///
    /// # Errors
    /// When its URL is none.
    pub(crate) fn server(&self) -> anyhow::Result<Option<Server>> {
        let url = self.database.as_deref();
        url.map(|url| Server::new(url, &self.database_prefix)).transpose()
    }

    /// The URL of a database, on the server or in the folder.
    ///
    /// # Errors
    /// When it can't be named in a URL.
    pub(crate) fn database(&self, name: &str) -> anyhow::Result<String> {
        match self.server()? {
            Some(server) => Ok(server.database(name)),
            None => sqlite(&self.data, name),
        }
    }

    /// The URL of the broker.
    ///
    /// # Errors
    /// When it can't be named in a URL.
    pub(crate) fn broker(&self) -> anyhow::Result<String> {
        match &self.broker {
            Some(url) => Ok(url.clone()),
            None => self.database(BROKER),
        }
    }
}

/// The URL of an SQLite database in a folder.
///
/// # Errors
/// When the folder's name is no text.
fn sqlite(folder: &Path, name: &str) -> anyhow::Result<String> {
    let path = folder.join(format!("{name}.db"));
    let Some(path) = path.to_str() else {
        bail!("{}: the name of the data folder must be UTF-8", folder.display())
    };
    // What ends a path in a URL is escaped.
    Ok(format!("sqlite://{}", path.replace('%', "%25").replace('?', "%3F")))
}

/// The file of an SQLite URL.
pub(crate) fn sqlite_file(url: &str) -> Option<PathBuf> {
    let path = url.strip_prefix("sqlite:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    Some(path.replace("%3F", "?").replace("%25", "%").into())
}

/// A URL as it may be shown: without its password.
pub(crate) fn shown(url: &str) -> String {
    if url.starts_with("sqlite:") {
        return url.to_owned();
    }
    let Ok(mut parsed) = Url::parse(url) else {
        return match url.rsplit_once('@') {
            Some((_, rest)) => format!("***@{rest}"),
            None => url.to_owned(),
        };
    };
    if parsed.password().is_some() {
        // Only a URL that can't have a password refuses one.
        let _ = parsed.set_password(Some("***"));
    }
    if parsed.query_pairs().any(|(key, _)| key == "password") {
        parsed.set_query(Some("***"));
    }
    parsed.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_itself_in_a_url() {
        for (folder, url) in [
            ("./data", "sqlite://./data/order.db"),
            ("/a b/50%?", "sqlite:///a b/50%25%3F/order.db"),
        ] {
            assert_eq!(sqlite(Path::new(folder), "order").unwrap(), url);
            assert_eq!(sqlite_file(url), Some(Path::new(folder).join("order.db")));
        }
        assert_eq!(sqlite_file("sqlite:x.db?mode=ro"), Some("x.db".into()));
        assert_eq!(sqlite_file("amqp://x"), None);
    }

    #[test]
    fn passwords_are_not_shown() {
        for (url, expected) in [
            ("postgres://a:b@host/x", "postgres://a:***@host/x"),
            ("postgres://host/x?password=b", "postgres://host/x?***"),
            ("amqp://a@host:1/%2f", "amqp://a@host:1/%2f"),
            ("amqp://a:b@host:no-port", "***@host:no-port"),
            ("amqp://a:b@one:1,two:2/%2f", "***@one:1,two:2/%2f"),
            ("amqp://a:b@one,two/%2f", "amqp://a:***@one,two/%2f"),
            ("sqlite://a b.db", "sqlite://a b.db"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }
}
