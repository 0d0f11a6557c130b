//! The messages that these tests send.

use broker::Message;
use contracts::{
    Cancellation, Cause, Coordination, Customer, Envelope, Event, Line, Money, OrderCancelled,
    OrderConfirmed, OrderPlaced, Timestamp,
};
use uuid::Uuid;

/// A message with an id of its own, and the id.
pub(crate) fn message<E: Event>(event: &E) -> (Uuid, Message) {
    let id = Uuid::now_v7();
    let envelope = Envelope::new(event, id, Timestamp::now(), &Cause::default()).unwrap();
    let body = envelope.to_bytes().unwrap();
    let (exchange, routing_key) = (contracts::Exchange::Events, E::ROUTING_KEY.to_owned());
    (id, Message { exchange, routing_key, body })
}

fn customer(email: &str, name: &str) -> Customer {
    Customer { email: email.to_owned(), name: Some(name.to_owned()) }
}

fn euro(amount: i64) -> Money {
    Money { amount, currency: "EUR".to_owned() }
}

fn lines() -> Vec<Line> {
    let line = |sku: &str, name: &str, quantity, amount| Line {
        sku: sku.to_owned(),
        name: name.to_owned(),
        quantity,
        unit_price: euro(amount),
    };
    vec![line("mug", "Blue mug", 2, 1250), line("tea", "Tea & cake", 1, 5)]
}

pub(crate) fn placed() -> OrderPlaced {
    placed_by("ada@example.com", "Ada Lovelace")
}

pub(crate) fn placed_by(email: &str, name: &str) -> OrderPlaced {
    OrderPlaced {
        order_id: Uuid::now_v7(),
        customer: customer(email, name),
        lines: lines(),
        total: euro(2505),
        card_token: "tok_secret".to_owned(),
        coordination: Coordination::Choreography,
        placed_at: Timestamp::now(),
    }
}

pub(crate) fn confirmed(order: &OrderPlaced) -> OrderConfirmed {
    OrderConfirmed {
        order_id: order.order_id,
        customer: order.customer.clone(),
        lines: order.lines.clone(),
        total: order.total.clone(),
    }
}

pub(crate) fn cancelled(order: &OrderPlaced) -> OrderCancelled {
    OrderCancelled {
        order_id: order.order_id,
        customer: order.customer.clone(),
        lines: order.lines.clone(),
        total: order.total.clone(),
        reason: Cancellation::PaymentDeclined,
        coordination: contracts::Coordination::Choreography,
    }
}

/// The Message-ID, without its angle brackets, of the mail that a message leads to.
pub(crate) fn message_id(id: Uuid) -> String {
    format!("{id}@shop.example.com")
}
