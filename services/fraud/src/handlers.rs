//! What the service does with an order: scores it, once, and announces it when the score is high.

use ::store::Tx;
use contracts::{OrderFlagged, Subscription};
use runtime::{Apply, Failure, Received};

use crate::{
    score::{self, Reason},
    store::{self, Scored},
};

contracts::incoming! {
    /// What the fraud service reacts to.
    pub enum Incoming { OrderPlaced }
}

/// The service's queue, and what goes into it. Nobody else knows of it.
pub const SUBSCRIPTION: Subscription =
    Subscription::to("fraud", <Incoming as contracts::Incoming>::ROUTING_KEYS).with_history();

/// Scores orders.
#[derive(Debug)]
pub struct Scoring {
    /// From this score on an order is announced.
    pub threshold: u32,
}

impl Apply for Scoring {
    type Message = Incoming;

    async fn apply(&self, tx: &mut Tx, batch: &[&Received<Incoming>]) -> Result<(), Failure> {
        for received in batch {
            let Incoming::OrderPlaced(order) = &received.message;
            let customer = store::customer(&order.customer.email);
            let before = store::orders_before(tx, &customer, order).await?;
            let reasons = score::reasons(order, before);
            let score = score::score(&reasons);
            let flagged = score >= self.threshold;
            let reasons: Vec<String> =
                reasons.into_iter().map(Reason::as_str).map(str::to_owned).collect();
            let scored = Scored {
                order_id: order.order_id,
                customer,
                score,
                reasons: reasons.join(","),
                flagged,
                placed_at: order.placed_at,
            };
            // Another message about the same order changes nothing.
            if store::add(tx, &scored).await? && flagged {
                let event = OrderFlagged { order_id: order.order_id, score, reasons };
                tx.publish(&event, &received.cause())?;
            }
        }
        Ok(())
    }
}
