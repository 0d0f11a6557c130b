//! A database per service on one PostgreSQL server.

use anyhow::{Context as _, bail};
use reqwest::Url;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::plan::SERVICES;
use crate::place::{BROKER, shown};

/// A PostgreSQL server, and how the databases there are named.
#[derive(Debug)]
pub(crate) struct Server {
    url: Url,
    prefix: String,
}

/// The parts that need a database: the services and, where it isn't somewhere else, the broker.
pub(crate) fn names(with_broker: bool) -> impl Iterator<Item = &'static str> {
    let services = SERVICES.into_iter().filter(|service| *service != "sandbox");
    services.chain(with_broker.then_some(BROKER))
}

/// Checks a prefix: it becomes part of SQL, unquoted.
pub(crate) fn prefix(text: &str) -> Result<String, &'static str> {
    let letters = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let first = text.as_bytes().first().is_some_and(|b| !b.is_ascii_digit());
    // PostgreSQL cuts names at 63 bytes, and the longest one is appended to it.
    if letters && first && text.len() <= 48 {
        Ok(text.to_owned())
    } else {
        Err("up to 48 lower-case letters, digits and underscores, not a digit first")
    }
}

impl Server {
    /// The server of a URL. The URL's own database is only connected to.
    ///
    /// # Errors
    /// When it is no PostgreSQL URL.
    pub(crate) fn new(url: &str, prefix: &str) -> anyhow::Result<Self> {
        let url = Url::parse(url).context("--database is no URL")?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            bail!("--database takes a URL that starts with postgres://; leave it out for SQLite")
        }
        Ok(Self { url, prefix: prefix.to_owned() })
    }

    /// The URL of a service's database.
    pub(crate) fn database(&self, name: &str) -> String {
        let mut url = self.url.clone();
        url.set_path(&format!("/{}{name}", self.prefix));
        // The query can name a database too, and would win.
        let rest: Vec<(String, String)> = url
            .query_pairs()
            .filter(|(key, _)| key != "dbname")
            .map(|(key, value)| (key.into_owned(), value.into_owned()))
            .collect();
        url.set_query(None);
        if !rest.is_empty() {
            url.query_pairs_mut().extend_pairs(rest);
        }
        url.into()
    }

    /// Removes the databases.
    ///
    /// # Errors
    /// When the server is away, or refuses.
    pub(crate) async fn remove(
        &self,
        names: impl Iterator<Item = &'static str>,
    ) -> anyhow::Result<()> {
        let mut server = self.connect().await?;
        for name in names {
            self.drop_database(&mut server, name).await?;
        }
        server.close().await?;
        Ok(())
    }

    async fn connect(&self) -> anyhow::Result<PgConnection> {
        PgConnection::connect(self.url.as_str())
            .await
            .with_context(|| format!("can't connect to {}", shown(self.url.as_str())))
    }

    async fn drop_database(&self, server: &mut PgConnection, name: &str) -> anyhow::Result<()> {
        let database = format!("{}{name}", self.prefix);
        let drop = format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)");
        sqlx::raw_sql(AssertSqlSafe(drop))
            .execute(server)
            .await
            .with_context(|| format!("can't drop the database {database}"))?;
        Ok(())
    }

    /// Makes the databases that are missing; `fresh` makes all of them anew.
    ///
    /// # Errors
    /// When the server is away, or refuses.
    pub(crate) async fn make(
        &self,
        names: impl Iterator<Item = &'static str>,
        fresh: bool,
    ) -> anyhow::Result<()> {
        let mut server = self.connect().await?;
        for name in names {
            let database = format!("{}{name}", self.prefix);
            if fresh {
                self.drop_database(&mut server, name).await?;
            }
            let exists = sqlx::query("SELECT 1 FROM pg_database WHERE datname = $1")
                .bind(&database)
                .fetch_optional(&mut server)
                .await?;
            if exists.is_none() {
                // template1 can't be copied while somebody is connected to it; to template0 nobody is.
                let create = format!("CREATE DATABASE {database} TEMPLATE template0");
                sqlx::raw_sql(AssertSqlSafe(create))
                    .execute(&mut server)
                    .await
                    .with_context(|| format!("can't create the database {database}"))?;
            }
        }
        server.close().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_has_its_own_database() {
        for (base, expected) in [
            ("postgres://a:b@host:5433/postgres", "postgres://a:b@host:5433/shop_order"),
            ("postgres://a@host", "postgres://a@host/shop_order"),
            ("postgresql://host/x?sslmode=require", "postgresql://host/shop_order?sslmode=require"),
            ("postgres://host/x?dbname=y", "postgres://host/shop_order"),
            ("postgres:///x?host=/run", "postgres:///shop_order?host=%2Frun"),
        ] {
            assert_eq!(Server::new(base, "shop_").unwrap().database("order"), expected, "{base}");
        }
    }

    #[test]
    fn only_postgres_has_databases() {
        assert!(Server::new("sqlite://x.db", "shop_").is_err());
        assert!(Server::new("nonsense", "shop_").is_err());
    }

    #[test]
    fn a_prefix_can_not_be_sql() {
        assert_eq!(prefix("shop_2_").unwrap(), "shop_2_");
        for wrong in ["", "2", "a;b", "Shop", "a-b", "é", &"a".repeat(49)] {
            assert!(prefix(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_broker_of_its_own_needs_no_database() {
        assert!(names(true).any(|name| name == BROKER));
        assert!(names(false).all(|name| name != BROKER && name != "sandbox"));
    }
}
