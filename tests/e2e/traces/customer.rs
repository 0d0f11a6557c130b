//! A customer whose data must not be found in any span or log.

use serde_json::{Value, json};
use testkit::otlp::Collector;
use uuid::Uuid;

use crate::system::{System, checkout};

/// A customer that nobody else is, so that their data can be searched for.
pub(crate) struct Customer {
    user: String,
    name: String,
    token: String,
}

impl Customer {
    pub(crate) fn new() -> Self {
        let mark = &Uuid::now_v7().simple().to_string()[20..];
        Self {
            user: format!("ada.{mark}"),
            name: format!("Ada {mark} Lovelace"),
            token: format!("tok_{mark}"),
        }
    }

    pub(crate) fn checkout(&self) -> Value {
        let mut body = checkout("mug-blue", 1);
        body["customer"] =
            json!({"email": format!("{}@example.com", self.user), "name": self.name});
        body["card_token"] = json!(self.token);
        body
    }

    /// Checks that no span and no log line tells who the customer is, or how they pay.
    pub(crate) fn is_unknown(&self, system: &System, collector: &Collector) {
        for secret in [&self.user, &self.name, &self.token] {
            assert!(!collector.contains(secret), "{secret} was exported");
            for process in system.names() {
                assert!(!system.log(&process).contains(secret), "{secret} is in {process}'s log");
            }
        }
    }
}
