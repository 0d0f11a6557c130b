//! What Mailpit has, and had: it is looked at all the time, so that nothing is forgotten when it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use contracts::Timestamp;
use reqwest::Client;
use serde_json::Value;
use tokio::{sync::Mutex as AsyncMutex, task::JoinHandle, time::sleep};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// Mails on one page.
const PAGE: usize = 200;
/// The clocks of the containers are this machine's; this is for what lies between taking a mail and writing the time down.
const SLACK: Duration = Duration::from_secs(2);

/// Mailpit, watched; the watching ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Mailpit {
    eye: Eye,
    watching: JoinHandle<()>,
}

#[derive(Debug, Clone)]
struct Eye {
    url: String,
    http: Client,
    seen: Arc<Mutex<Seen>>,
    /// Held while somebody looks: the counts of two looks must come in their order.
    looking: Arc<AsyncMutex<()>>,
}

/// A mail as a list shows it.
#[derive(Debug, Clone)]
pub(crate) struct Mail {
    pub(crate) id: String,
    pub(crate) message_id: String,
    pub(crate) to: String,
    pub(crate) subject: String,
}

#[derive(Debug, Default)]
struct Seen {
    /// By Mailpit's own id, all that were ever seen.
    mails: BTreeMap<String, Mail>,
    /// Of which it still had so many when it was looked at last.
    held: u64,
    looked_at: Timestamp,
    /// When it lost its mails: from the last look before to the first look after. What it took in between, nobody saw.
    losses: Vec<(Timestamp, Timestamp)>,
}

impl Mailpit {
    /// Starts to watch.
    pub(crate) fn watch(url: &str, http: &Client) -> Self {
        let eye = Eye {
            url: url.to_owned(),
            http: http.clone(),
            seen: Arc::default(),
            looking: Arc::default(),
        };
        let watcher = eye.clone();
        let watching = tokio::spawn(async move {
            loop {
                // It may be away: that is what some of the tests are about.
                let _ = watcher.look().await;
                sleep(LOOK).await;
            }
        });
        Self { eye, watching }
    }

    /// Looks once more; whether there was an answer.
    pub(crate) async fn looked(&self) -> bool {
        self.eye.look().await.is_some()
    }

    /// All mails to an address that were ever seen.
    pub(crate) fn to(&self, address: &str) -> Vec<Mail> {
        self.eye.seen().mails.values().filter(|mail| mail.to == address).cloned().collect()
    }

    /// All mails that were ever seen, by address.
    pub(crate) fn by_address(&self) -> BTreeMap<String, Vec<Mail>> {
        let mut mails: BTreeMap<String, Vec<Mail>> = BTreeMap::new();
        for mail in self.eye.seen().mails.values() {
            mails.entry(mail.to.clone()).or_default().push(mail.clone());
        }
        mails
    }

    /// Whether a mail that was taken at this moment may be one that was lost before anybody saw it.
    pub(crate) fn may_have_lost(&self, sent_at: Timestamp) -> bool {
        self.eye.seen().losses.iter().any(|(from, to)| sent_at + SLACK >= *from && sent_at <= *to)
    }

    /// How often it lost its mails.
    pub(crate) fn losses(&self) -> usize {
        self.eye.seen().losses.len()
    }

    /// A mail with its text.
    pub(crate) async fn read(&self, id: &str) -> Option<Value> {
        let url = format!("{}/api/v1/message/{id}", self.eye.url);
        self.eye.http.get(url).send().await.ok()?.json().await.ok()
    }
}

impl Drop for Mailpit {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl Eye {
    /// Takes note of what is new. None when there was no whole answer.
    async fn look(&self) -> Option<()> {
        let _alone = self.looking.lock().await;
        let began = Timestamp::now();
        let known: BTreeSet<String> = self.seen().mails.keys().cloned().collect();
        let (mut fresh, mut total) = (Vec::new(), 0);
        // The newest come first, so that the new ones end where a known one is.
        for page in 0.. {
            let url = format!("{}/api/v1/messages?start={}&limit={PAGE}", self.url, page * PAGE);
            let answer: Value = self.http.get(url).send().await.ok()?.json().await.ok()?;
            let mails = answer["messages"].as_array()?;
            total = answer["total"].as_u64()?;
            let before = fresh.len();
            fresh.extend(mails.iter().filter_map(mail).filter(|mail| !known.contains(&mail.id)));
            if fresh.len() - before < PAGE {
                break;
            }
        }
        let mut seen = self.seen();
        if total < seen.held {
            let since = seen.looked_at;
            seen.losses.push((since, Timestamp::now()));
        }
        (seen.held, seen.looked_at) = (total, began);
        seen.mails.extend(fresh.into_iter().map(|mail| (mail.id.clone(), mail)));
        Some(())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn mail(value: &Value) -> Option<Mail> {
    Some(Mail {
        id: value["ID"].as_str()?.to_owned(),
        message_id: value["MessageID"].as_str()?.to_owned(),
        to: value["To"][0]["Address"].as_str()?.to_owned(),
        subject: value["Subject"].as_str()?.to_owned(),
    })
}
