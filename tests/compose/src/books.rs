//! Everything that was ordered, and what must hold over it, whatever was broken meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use contracts::Timestamp;
use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use testkit::{
    shop::{Placed, Shop, Stocks, Views},
    wait::within,
};

use crate::mailpit::Mailpit;

/// How long whatever must happen may take: a message that failed three times comes again 36 seconds later, the fourth time two
/// minutes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);
/// What the customers' addresses begin with; others write mails too.
pub(crate) const CUSTOMER: &str = "customer-";

/// The orders of this run.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// What inventory had before the first order.
    before: Stocks,
    orders: Vec<Placed>,
    /// What was sent, by order.
    bodies: BTreeMap<String, Value>,
    /// The orders that are settled: they don't change any more.
    views: Views,
    /// How many mails had come more than once at the last balance.
    repeats: usize,
}

/// What a balance came to.
#[derive(Debug)]
pub(crate) struct Balance {
    orders: usize,
    confirmed: usize,
    mails: usize,
    /// Mails that came again since the last balance, with the Message-ID that they had.
    pub(crate) repeats: usize,
    /// Mails that Mailpit lost before anybody saw them.
    lost: usize,
    /// The longest that an order took, of those that weren't settled at the last balance.
    pub(crate) slowest: Duration,
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { orders, confirmed, mails, repeats, lost, slowest } = self;
        write!(f, "{orders} orders balance: {confirmed} confirmed, {mails} mails")?;
        if *repeats > 0 {
            write!(f, " ({repeats} of them came twice, with one Message-ID)")?;
        }
        if *lost > 0 {
            write!(f, " ({lost} more that Mailpit lost before anybody saw them CAN'T BE COUNTED)")?;
        }
        write!(f, "; the slowest took {:.1} s", slowest.as_secs_f64())
    }
}

impl Books {
    /// Books that begin with these goods.
    pub(crate) fn new(before: Stocks) -> Self {
        Self { before, ..Self::default() }
    }

    /// Enters an order.
    pub(crate) fn add(&mut self, placed: Placed, body: Value) {
        self.bodies.insert(placed.id.clone(), body);
        self.orders.push(placed);
    }

    pub(crate) fn len(&self) -> usize {
        self.orders.len()
    }

    /// Checks that nothing was lost and nothing done twice over all orders: each is settled as it should be, each confirmed one has its
    /// one charge and each cancelled one none that is left, the goods of the confirmed ones have left, and each has its two mails.
    pub(crate) async fn balance(&mut self, shop: &Shop, mailpit: &Mailpit) -> Result<Balance> {
        let open = self.orders.iter().filter(|placed| !self.views.contains_key(&placed.id));
        let open: Vec<Placed> = open.cloned().collect();
        let settled = shop.settled_views(&open).await;
        let took = settled.values().map(time_to_settle).collect::<Result<Vec<_>>>()?;
        self.views.extend(settled);
        for placed in &open {
            end_is_right(&self.bodies[&placed.id], &self.views[&placed.id])?;
        }
        ensure!(self.views.len() == self.orders.len(), "two orders have one id");
        let confirmed = shop.money_balances(&self.orders, &self.views).await;
        shop.goods_balance(&self.before, &self.views).await;
        let (mails, repeats, lost) = self.mails_balance(shop, mailpit).await?;
        let fresh_repeats = repeats - std::mem::replace(&mut self.repeats, repeats);
        Ok(Balance {
            orders: self.orders.len(),
            confirmed,
            mails,
            repeats: fresh_repeats,
            lost,
            slowest: took.into_iter().max().unwrap_or_default(),
        })
    }

    /// Waits until each order has its two mails; how many there are, how many came again, and how many are lost.
    async fn mails_balance(&self, shop: &Shop, mailpit: &Mailpit) -> Result<(usize, usize, usize)> {
        let lost = within(PATIENCE, "every order has its two mails", || async {
            let looked = mailpit.looked().await;
            let missing = self.missing_mails(mailpit);
            // As many as there are orders would only keep the machine from its work.
            if !looked || (mailpit.losses() == 0 && !missing.is_empty()) || missing.len() > 500 {
                return None;
            }
            let lost = stream::iter(&missing).map(|id| lost_mails(shop, mailpit, id));
            let lost: Vec<Option<usize>> = lost.buffer_unordered(8).collect().await;
            lost.into_iter().sum::<Option<usize>>()
        })
        .await;
        let mut mails = mailpit.by_address();
        let (mut count, mut repeats) = (0, 0);
        for Placed { id, .. } in &self.orders {
            let got = mails.remove(self.address(id)).unwrap_or_default();
            let distinct: BTreeSet<&str> = got.iter().map(|mail| &*mail.message_id).collect();
            ensure!(distinct.len() <= 2, "more than two mails about {id}: {got:#?}");
            count += distinct.len();
            repeats += got.len() - distinct.len();
        }
        mails.retain(|address, _| address.starts_with(CUSTOMER));
        ensure!(mails.is_empty(), "mails about orders that nobody knows: {mails:#?}");
        Ok((count, repeats, lost))
    }

    /// The orders that have fewer than two mails.
    fn missing_mails(&self, mailpit: &Mailpit) -> Vec<String> {
        let mails = mailpit.by_address();
        let has_both = |placed: &&Placed| {
            let got = mails.get(self.address(&placed.id)).map(Vec::as_slice).unwrap_or_default();
            got.iter().map(|mail| &mail.message_id).collect::<BTreeSet<_>>().len() >= 2
        };
        self.orders.iter().filter(|p| !has_both(p)).map(|placed| placed.id.clone()).collect()
    }

    /// The address of an order's customer, which no other order has.
    fn address(&self, id: &str) -> &str {
        self.bodies[id]["customer"]["email"].as_str().unwrap_or_default()
    }
}

/// How many mails of an order Mailpit has taken and lost before anybody saw them; none when one of its mails is still to come.
async fn lost_mails(shop: &Shop, mailpit: &Mailpit, id: &str) -> Option<usize> {
    let url = format!("{}/mails/{id}", shop.url("email"));
    let answer: Value = shop.http().get(url).send().await.ok()?.json().await.ok()?;
    let sent = answer["mails"].as_array()?.iter().filter(|mail| mail["state"] == "sent");
    let sent_at = sent.map(|mail| serde_json::from_value(mail["sent_at"].clone()).ok());
    let sent_at: Vec<Timestamp> = sent_at.collect::<Option<_>>()?;
    let may_be_lost = sent_at.iter().filter(|at| mailpit.may_have_lost(**at)).count();
    (sent_at.len() == 2 && may_be_lost > 0).then_some(may_be_lost)
}

/// From the checkout to the end, by the order service's clock.
fn time_to_settle(view: &Value) -> Result<Duration> {
    let at = |field: &str| -> Result<Timestamp> {
        serde_json::from_value(view[field].clone()).with_context(|| format!("{field} of {view}"))
    };
    Ok(at("settled_at")?.since(at("placed_at")?))
}

/// Checks that an order ended as what was sent says it must: nothing that is broken meanwhile is a reason to cancel it.
fn end_is_right(body: &Value, view: &Value) -> Result<()> {
    let wants =
        |sku: &str| body["items"].as_array().into_iter().flatten().any(|item| item["sku"] == sku);
    let declined = body["card_token"] == "tok_declined";
    let reason = view["reason"].as_str().unwrap_or_default();
    let right = match view["status"].as_str() {
        // There are a few of the posters.
        Some("confirmed") => !declined && !wants("vinyl-sold-out"),
        Some("cancelled") if reason == "payment_declined" => declined,
        Some("cancelled") if reason == "stock_rejected" => {
            wants("vinyl-sold-out") || wants("poster-limited")
        }
        _ => false,
    };
    ensure!(right, "{body} ended as {view}");
    Ok(())
}
