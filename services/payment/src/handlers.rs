//! What the service does with the messages of its queue: an order that is placed is charged, one that is cancelled is not, or no
//! longer. Of an order that is orchestrated, the order service's commands say when.

use std::{collections::HashMap, sync::Arc};

use contracts::{Coordination, Money, OrderId, Timestamp};
use runtime::{Failure, Handler, Received};
use store::Tx;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{
    books::{self, Entry},
    payment::{Effect, Happened},
    processor::{Charge, Charged, Processor},
};

contracts::incoming! {
    /// What the payment service reacts to.
    pub enum Incoming { OrderPlaced, OrderCancelled; ChargeCard, RefundPayment }
}

/// Charges for orders through the card processor.
#[derive(Debug)]
pub struct Charging {
    processor: Processor,
    to_reverse: Arc<Notify>,
}

/// What to ask the card processor about a message.
#[derive(Debug)]
pub enum Plan {
    /// The charge of a payment whose outcome isn't known. Key and amount are the books': they stay the same whatever message
    /// leads here.
    Charge {
        /// The idempotency key.
        key: Uuid,
        /// How much.
        amount: Money,
    },
    /// Nothing: it is a cancellation, or the payment is settled or to be undone.
    Nothing,
}

impl Charging {
    /// Notifies `to_reverse` after each commit that leaves something to undo.
    #[must_use]
    pub fn new(processor: Processor, to_reverse: Arc<Notify>) -> Self {
        Self { processor, to_reverse }
    }
}

impl Handler for Charging {
    type Message = Incoming;
    type Plan = Plan;
    type Answer = Option<Charged>;

    /// Writes down what is about to be charged, under which key, so that after a crash the charge can be found and, if need
    /// be, undone.
    async fn prepare(
        &self,
        tx: &mut Tx,
        batch: &[&Received<Incoming>],
    ) -> Result<Vec<Plan>, Failure> {
        let (places, entries): (Vec<usize>, Vec<Entry>) = batch
            .iter()
            .enumerate()
            .filter_map(|(place, received)| Some((place, placed(received)?)))
            .unzip();
        let duties = books::record(tx, &entries, Timestamp::now()).await?;
        let mut charges: HashMap<usize, Plan> = HashMap::new();
        for duty in duties {
            if let (Effect::Charge, Some(key)) = (duty.effect, duty.payment.charge_key)
                && let Some(place) = places.get(duty.entry)
            {
                charges.insert(*place, Plan::Charge { key, amount: duty.payment.amount });
            }
        }
        Ok((0..batch.len()).map(|place| charges.remove(&place).unwrap_or(Plan::Nothing)).collect())
    }

    async fn call(
        &self,
        received: &Received<Incoming>,
        plan: Plan,
    ) -> Result<Option<Charged>, Failure> {
        let (Some(Wish::Charge { order_id, card_token, .. }), Plan::Charge { key, amount }) =
            (Wish::of(&received.message), plan)
        else {
            return Ok(None);
        };
        let charge = Charge { key, amount: &amount, card_token, order_id };
        self.processor.charge(&charge).await.map(Some)
    }

    async fn apply(
        &self,
        tx: &mut Tx,
        batch: &[(&Received<Incoming>, &Option<Charged>)],
    ) -> Result<(), Failure> {
        let entries: Vec<Entry> =
            batch.iter().filter_map(|(received, charged)| settled(received, charged)).collect();
        let duties = books::record(tx, &entries, Timestamp::now()).await?;
        if duties.iter().any(|duty| duty.effect == Effect::Reverse) {
            let to_reverse = self.to_reverse.clone();
            tx.on_commit(move || to_reverse.notify_one());
        }
        Ok(())
    }
}

/// What a message wants of this service: of an order that is orchestrated, the commands; else the events.
enum Wish<'m> {
    Charge { order_id: OrderId, total: &'m Money, card_token: &'m str },
    Undo { order_id: OrderId, total: &'m Money, answer: bool },
}

impl<'m> Wish<'m> {
    fn of(message: &'m Incoming) -> Option<Self> {
        match message {
            Incoming::OrderPlaced(order) => (order.coordination == Coordination::Choreography)
                .then_some(Self::Charge {
                    order_id: order.order_id,
                    total: &order.total,
                    card_token: &order.card_token,
                }),
            Incoming::OrderCancelled(order) => (order.coordination == Coordination::Choreography)
                .then_some(Self::Undo {
                    order_id: order.order_id,
                    total: &order.total,
                    answer: false,
                }),
            Incoming::ChargeCard(command) => Some(Self::Charge {
                order_id: command.order_id,
                total: &command.amount,
                card_token: &command.card_token,
            }),
            Incoming::RefundPayment(command) => Some(Self::Undo {
                order_id: command.order_id,
                total: &command.amount,
                answer: true,
            }),
        }
    }
}

/// What a message says before anybody is asked: a cancellation has its turn later, together with its inbox row.
fn placed(received: &Received<Incoming>) -> Option<Entry> {
    let Some(Wish::Charge { order_id, total, .. }) = Wish::of(&received.message) else {
        return None;
    };
    let happened = Happened::Placed { key: received.header.id, total: total.clone() };
    Some(Entry { order_id, happened, cause: received.cause(), answer: false })
}

/// What is known after the processor was asked; nothing where there was nothing to ask.
fn settled(received: &Received<Incoming>, charged: &Option<Charged>) -> Option<Entry> {
    let cause = received.cause();
    match Wish::of(&received.message)? {
        Wish::Charge { order_id, .. } => {
            let happened = charged.as_ref()?.into();
            Some(Entry { order_id, happened, cause, answer: false })
        }
        Wish::Undo { order_id, total, answer } => {
            let happened = Happened::Cancelled { total: total.clone(), cause: cause.clone() };
            Some(Entry { order_id, happened, cause, answer })
        }
    }
}

impl From<&Charged> for Happened {
    fn from(charged: &Charged) -> Self {
        match charged {
            Charged::Succeeded { id } => Self::ChargeSucceeded { charge_id: id.clone() },
            Charged::Declined { reason } => Self::ChargeDeclined { reason: reason.clone() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_bound_to_what_is_handled() {
        let subscription = contracts::subscription("payment").unwrap();
        assert_eq!(subscription.routing_keys, <Incoming as contracts::Incoming>::ROUTING_KEYS);
        assert_eq!(<Incoming as contracts::Incoming>::OWNERS, ["payment"; 2]);
    }
}
