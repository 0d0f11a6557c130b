//! The sandbox: how the outside world is broken, and what it has seen of money and mail.

use std::time::Duration;

use anyhow::Context as _;
use contracts::Timestamp;
use reqwest::Client;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The most that the sandbox shows at a time.
const PAGE: usize = 10_000;

/// The sandbox.
#[derive(Debug, Clone)]
pub(super) struct World {
    client: Client,
    url: String,
}

/// A charge that was made.
#[derive(Debug, Deserialize)]
pub(super) struct Charge {
    /// The order's id.
    pub(super) reference: String,
    /// When.
    pub(super) at: Timestamp,
    /// When it was given back.
    pub(super) refunded_at: Option<Timestamp>,
}

/// A mail that was taken.
#[derive(Debug, Deserialize)]
pub(super) struct Mail {
    /// What identifies it, the same when it is sent again.
    pub(super) message_id: Option<String>,
    /// It tells the kinds apart.
    pub(super) subject: Option<String>,
    /// The order's id.
    pub(super) order_id: Option<String>,
}

#[derive(Deserialize)]
struct Ledger {
    entries: Vec<Charge>,
}

#[derive(Deserialize)]
struct Totals {
    charges: usize,
}

#[derive(Deserialize)]
struct Mails {
    mails: Vec<Mail>,
}

#[derive(Deserialize)]
struct Mailbox {
    total: usize,
}

impl World {
    /// The sandbox at a URL.
    ///
    /// # Errors
    /// When no client can be made.
    pub(super) fn new(url: &str) -> anyhow::Result<Self> {
        Ok(Self { client: crate::client::new(url, TIMEOUT)?, url: url.to_owned() })
    }

    /// Breaks a part of it.
    ///
    /// # Errors
    /// When it doesn't take that.
    pub(super) async fn disturb(&self, part: &str, faults: &Value) -> anyhow::Result<()> {
        let request = self.client.put(format!("{}/faults/{part}", self.url)).json(faults);
        request.send().await?.error_for_status()?;
        Ok(())
    }

    /// Mends everything.
    ///
    /// # Errors
    /// When it doesn't answer.
    pub(super) async fn heal(&self) -> anyhow::Result<()> {
        self.client.delete(format!("{}/faults", self.url)).send().await?.error_for_status()?;
        Ok(())
    }

    /// How many charges and mails there are.
    ///
    /// # Errors
    /// When it doesn't answer.
    pub(super) async fn counts(&self) -> anyhow::Result<(usize, usize)> {
        let totals: Totals = self.read("ledger/summary").await?;
        let mailbox: Mailbox = self.read("mails/summary").await?;
        Ok((totals.charges, mailbox.total))
    }

    /// The charges after so many.
    ///
    /// # Errors
    /// When it doesn't answer.
    pub(super) async fn charges(&self, mut offset: usize) -> anyhow::Result<Vec<Charge>> {
        let mut all = Vec::new();
        loop {
            let page: Ledger = self.read(&format!("ledger?offset={offset}&limit={PAGE}")).await?;
            let got = page.entries.len();
            all.extend(page.entries);
            offset += got;
            if got < PAGE {
                return Ok(all);
            }
        }
    }

    /// The mails after so many.
    ///
    /// # Errors
    /// When it doesn't answer.
    pub(super) async fn mails(&self, mut offset: usize) -> anyhow::Result<Vec<Mail>> {
        let mut all = Vec::new();
        loop {
            let page: Mails = self.read(&format!("mails?offset={offset}&limit={PAGE}")).await?;
            let got = page.mails.len();
            all.extend(page.mails);
            offset += got;
            if got < PAGE {
                return Ok(all);
            }
        }
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let answer = self.client.get(format!("{}/{path}", self.url)).send().await?;
        answer.error_for_status()?.json().await.with_context(|| format!("the sandbox's /{path}"))
    }
}
