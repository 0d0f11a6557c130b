//! What the order service makes of the facts that the others announce.

use std::collections::BTreeMap;

use ::store::Tx;
use contracts::{OrderId, ProductListed, Subscription};
use runtime::{Apply, Failure, Received};

use crate::{
    machine::{Fact, Payment, Stock},
    moving::{self, Moving, Watchers},
    order::Entry,
    store,
};

contracts::incoming! {
    /// What the order service reacts to.
    pub enum Incoming {
        ProductListed, PaymentTaken, PaymentDeclined, PaymentRefunded, PaymentVoided, StockReserved, StockRejected,
        StockReleased,
    }
}

/// The service's queue, and what goes into it.
pub(crate) const SUBSCRIPTION: Subscription =
    Subscription::to("order", <Incoming as contracts::Incoming>::ROUTING_KEYS);

/// Applies facts to orders, and listings to the replica of the prices.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) watchers: Watchers,
}

/// What a message says of an order.
struct News {
    order_id: OrderId,
    fact: Fact,
    service: &'static str,
    detail: Option<String>,
}

impl Apply for Facts {
    type Message = Incoming;

    async fn apply(&self, tx: &mut Tx, batch: &[&Received<Incoming>]) -> Result<(), Failure> {
        let mut listed: BTreeMap<&str, &ProductListed> = BTreeMap::new();
        let mut facts = Vec::new();
        for received in batch {
            match news(&received.message) {
                Ok(news) => facts.push((*received, news)),
                Err(product) => {
                    let newest = listed.entry(&product.sku).or_insert(product);
                    if product.version > newest.version {
                        *newest = product;
                    }
                }
            }
        }
        store::list_products(tx, &listed.into_values().collect::<Vec<_>>()).await?;
        self.apply_facts(tx, facts).await
    }
}

impl Facts {
    async fn apply_facts(
        &self,
        tx: &mut Tx,
        facts: Vec<(&Received<Incoming>, News)>,
    ) -> Result<(), Failure> {
        let mut ids: Vec<OrderId> = facts.iter().map(|(_, news)| news.order_id).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut moving = Moving::lock(tx, &ids, self.watchers.pace).await?;
        for (received, News { order_id, mut fact, service, mut detail }) in facts {
            let at = received.header.time;
            if let (Incoming::PaymentTaken(taken), Some(order)) =
                (&received.message, moving.order(order_id))
                && taken.amount != order.total
            {
                fact = Fact::WrongAmount;
                detail = Some(format!("{}, not {}", taken.amount, order.total));
            }
            moving.note(Entry { order_id, fact: fact.as_str(), service, at, detail });
            moving.take(tx, order_id, fact, &received.cause())?;
        }
        Ok(moving.save(tx, &self.watchers).await?)
    }
}

impl From<moving::Error> for Failure {
    fn from(error: moving::Error) -> Self {
        match error {
            moving::Error::Store(error) => Self::Store(error),
            error => Self::Permanent(error.into()),
        }
    }
}

/// What a message says of an order, or of a product.
fn news(message: &Incoming) -> Result<News, &ProductListed> {
    let payment = |order_id, state, detail| News {
        order_id,
        fact: Fact::Payment(state),
        service: "payment",
        detail,
    };
    let stock = |order_id, state, detail| News {
        order_id,
        fact: Fact::Stock(state),
        service: "inventory",
        detail,
    };
    Ok(match message {
        Incoming::ProductListed(product) => return Err(product),
        Incoming::PaymentTaken(e) => payment(e.order_id, Payment::Taken, None),
        Incoming::PaymentDeclined(e) => {
            payment(e.order_id, Payment::Declined, Some(e.reason.clone()))
        }
        Incoming::PaymentRefunded(e) => payment(e.order_id, Payment::Refunded, None),
        Incoming::PaymentVoided(e) => payment(e.order_id, Payment::Voided, None),
        Incoming::StockReserved(e) => stock(e.order_id, Stock::Reserved, None),
        Incoming::StockRejected(e) => {
            let missing: Vec<String> = e
                .shortages
                .iter()
                .map(|s| format!("{} of {} {}", s.available, s.wanted, s.sku))
                .collect();
            stock(e.order_id, Stock::Rejected, Some(missing.join(", ")))
        }
        Incoming::StockReleased(e) => stock(e.order_id, Stock::Released, None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_bound_as_the_contracts_say() {
        assert_eq!(contracts::subscription("order"), Some(SUBSCRIPTION));
    }
}
