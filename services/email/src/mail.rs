//! The mails: what each says about which event. Pure; no I/O.
//!
//! Everything that came from a customer is hostile until shown otherwise: a name becomes one line of bounded length,
//! and is escaped in HTML. Subjects hold nothing of a customer's.

mod body;
mod money;
mod words;

use contracts::{Cancellation, Customer, Line, Money, OrderId};

use crate::handlers::Incoming;
use body::Letter;

pub use words::one_line;

/// The longest name that a mail addresses, in characters.
const MAX_NAME: usize = 80;

/// What a mail tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The order has arrived.
    Acknowledgement,
    /// It is paid, and the goods are on their way.
    Receipt,
    /// It was cancelled.
    Notice,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Acknowledgement, Self::Receipt, Self::Notice];

    /// Its name in the database and over HTTP.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acknowledgement => "acknowledgement",
            Self::Receipt => "receipt",
            Self::Notice => "notice",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// Which mail: an order leads to one of each kind at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The order.
    pub order_id: OrderId,
    /// The mail's kind.
    pub kind: Kind,
}

impl Key {
    /// The key of a row; none for a kind that this version doesn't know.
    pub(crate) fn read(order_id: OrderId, kind: &str) -> Option<Self> {
        Kind::named(kind).map(|kind| Self { order_id, kind })
    }

    /// The mail that an event leads to.
    #[must_use]
    pub const fn of(event: &Incoming) -> Self {
        match event {
            Incoming::OrderPlaced(order) => {
                Self { order_id: order.order_id, kind: Kind::Acknowledgement }
            }
            Incoming::OrderConfirmed(order) => {
                Self { order_id: order.order_id, kind: Kind::Receipt }
            }
            Incoming::OrderCancelled(order) => {
                Self { order_id: order.order_id, kind: Kind::Notice }
            }
        }
    }
}

/// A mail, ready to be put into its envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Which it is.
    pub key: Key,
    /// Where it goes, as the customer gave it: not checked.
    pub address: String,
    /// Whom it addresses; one line, not escaped.
    pub name: Option<String>,
    /// The subject.
    pub subject: String,
    /// The body as plain text; lines end with CR LF.
    pub text: String,
    /// The body as HTML; lines end with CR LF.
    pub html: String,
}

impl Mail {
    /// The mail that an event leads to.
    #[must_use]
    pub fn of(event: &Incoming) -> Self {
        let key = Key::of(event);
        let id = key.order_id;
        match event {
            Incoming::OrderPlaced(order) => Self::new(
                key,
                Order::new(&order.customer, &order.lines, &order.total),
                format!("We have received your order {id}"),
                "Thank you for your order. As soon as it is paid and the goods are put aside for you, we send you the receipt."
                    .to_owned(),
                "To be charged",
            ),
            Incoming::OrderConfirmed(order) => Self::new(
                key,
                Order::new(&order.customer, &order.lines, &order.total),
                format!("Your receipt for order {id}"),
                "Your order is confirmed: it is paid, and the goods are on their way to you. This is your receipt."
                    .to_owned(),
                "Paid",
            ),
            Incoming::OrderCancelled(order) => Self::new(
                key,
                Order::new(&order.customer, &order.lines, &order.total),
                format!("Your order {id} was cancelled"),
                format!(
                    "Your order was cancelled {}. If your card was charged, the whole amount is given back to it.",
                    because(order.reason)
                ),
                "Not to be paid",
            ),
        }
    }

    fn new(
        key: Key,
        order: Order<'_>,
        subject: String,
        message: String,
        total_label: &'static str,
    ) -> Self {
        let name = order.customer.name.as_deref().map(|name| one_line(name, MAX_NAME));
        let name = name.filter(|name| !name.is_empty());
        let letter = Letter {
            order_id: key.order_id,
            name: name.as_deref(),
            subject: &subject,
            message: &message,
            lines: order.lines,
            total: order.total,
            total_label,
        };
        let (text, html) = (letter.text(), letter.html());
        Self { key, address: order.customer.email.clone(), name, subject, text, html }
    }
}

/// What the three events have in common.
struct Order<'o> {
    customer: &'o Customer,
    lines: &'o [Line],
    total: &'o Money,
}

impl<'o> Order<'o> {
    const fn new(customer: &'o Customer, lines: &'o [Line], total: &'o Money) -> Self {
        Self { customer, lines, total }
    }
}

/// The reason as the end of "Your order was cancelled …".
const fn because(reason: Cancellation) -> &'static str {
    match reason {
        Cancellation::PaymentDeclined => "because your card was declined",
        Cancellation::StockRejected => "because something in it is out of stock",
        Cancellation::Customer => "as you asked",
        Cancellation::Deadline | Cancellation::NoAnswer => {
            "because it could not be confirmed in time"
        }
        Cancellation::WrongAmount => "because a wrong amount was charged",
    }
}

#[cfg(test)]
mod tests;
