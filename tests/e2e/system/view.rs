//! What the mail server got, and what comes of a few orders.

use std::{collections::HashMap, time::Duration};

use serde_json::Value;
use testkit::shop::Placed;

use super::{System, eventually};

impl System {
    /// The mails about an order.
    pub(crate) async fn mails(&self, order: &str) -> Vec<Value> {
        let mails = self.sandbox(&format!("/mails?order_id={order}")).await;
        mails["mails"].as_array().unwrap_or_else(|| panic!("{mails}")).clone()
    }

    /// Waits until payment is about to charge the card of its first order.
    pub(crate) async fn charge_is_under_way(&self) {
        let payments = self.database("payment").await;
        eventually("the charge is under way", || async {
            let sql = "SELECT count(*) FROM payments";
            let (count,) = payments.read(sql).one::<(i64,)>().await.ok()?;
            (count == 1).then_some(())
        })
        .await;
        payments.close().await;
    }

    /// How many mails there are.
    pub(crate) async fn mails_summary(&self) -> Value {
        self.sandbox("/mails/summary").await
    }

    /// The mails about an order, once there are so many.
    pub(crate) async fn mails_arrived(&self, order: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} mails about {order}"), || async {
            let mails = self.mails(order).await;
            (mails.len() >= count).then_some(mails)
        })
        .await
    }

    /// Checks that the books balance over settled orders: every confirmed one has exactly one charge of its total, every cancelled
    /// one has none left; each has its two mails, each once. How many were confirmed.
    pub(crate) async fn audit(&self, orders: &[Placed]) -> usize {
        let mut confirmed = 0;
        for order in orders {
            confirmed += usize::from(self.audit_money(order).await);
            self.one_of_each_mail(&order.id).await;
        }
        confirmed
    }

    /// Checks the charge of one order; whether it was confirmed.
    pub(crate) async fn audit_money(&self, Placed { id, total }: &Placed) -> bool {
        let order = self.settled(id).await;
        let confirmed = order["status"] == "confirmed";
        let expected = if confirmed { *total } else { 0 };
        assert_eq!(self.net(id).await, expected, "what the processor keeps of {order}");
        let charges = self.charges(id).await;
        assert!(charges.len() <= 1, "charged twice: {charges:?}");
        confirmed
    }

    /// Checks that an order's two mails came, each once.
    pub(crate) async fn one_of_each_mail(&self, id: &str) {
        let mails = self.mails_arrived(id, 2).await;
        let mut times: HashMap<&str, u32> = HashMap::new();
        for mail in &mails {
            *times.entry(mail["message_id"].as_str().unwrap()).or_default() += 1;
        }
        assert_eq!(mails.len(), 2, "mails about {id}: {mails:?}");
        assert_eq!(times.len(), 2, "mails about {id} repeat: {times:?}");
    }
}

/// `100ms`, `3s`.
pub(crate) fn duration(text: &str) -> Duration {
    match text.strip_suffix("ms") {
        Some(millis) => Duration::from_millis(millis.parse().unwrap()),
        None => Duration::from_secs(text.trim_end_matches('s').parse().unwrap()),
    }
}
