//! An order as it is kept, and the events that announce what became of it.

use contracts::{
    Cancellation, Coordination, Customer, Line, Money, OrderCancelled, OrderConfirmed, OrderId,
    Timestamp,
};

use runtime::telemetry;
use tracing::{Span, field::Empty};

use crate::machine::{Fact, Payment, State, Status, Step, Stock};

/// The answer of a step that an operator has resolved.
pub(crate) const RESOLVED: &str = "resolved";

/// An order.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) id: OrderId,
    pub(crate) state: State,
    pub(crate) customer: Customer,
    pub(crate) lines: Vec<Line>,
    pub(crate) total: Money,
    pub(crate) coupon: Option<String>,
    /// The card's opaque token, until the saga has no more need of it.
    pub(crate) card_token: Option<String>,
    pub(crate) placed_at: Timestamp,
    pub(crate) deadline_at: Timestamp,
    pub(crate) settled_at: Option<Timestamp>,
    /// How an operator has dealt with what could not be undone, if one has.
    pub(crate) resolution: Option<String>,
    /// The trace of its checkout, for what happens without a message or a request: the deadline.
    pub(crate) traceparent: Option<String>,
}

/// A line of an order's timeline.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) order_id: OrderId,
    /// The fact's name, `PaymentTaken`.
    pub(crate) fact: &'static str,
    /// Who says it.
    pub(crate) service: &'static str,
    pub(crate) at: Timestamp,
    pub(crate) detail: Option<String>,
}

impl Order {
    pub(crate) fn confirmed(&self) -> OrderConfirmed {
        OrderConfirmed {
            order_id: self.id,
            customer: self.customer.clone(),
            lines: self.lines.clone(),
            total: self.total.clone(),
        }
    }

    pub(crate) fn cancelled(&self, reason: Cancellation) -> OrderCancelled {
        OrderCancelled {
            order_id: self.id,
            customer: self.customer.clone(),
            lines: self.lines.clone(),
            total: self.total.clone(),
            reason,
            coordination: self.state.coordination,
        }
    }

    /// A span in the order's own trace, for what the current span leads to; the two link to each other.
    pub(crate) fn span(&self, name: &str) -> Span {
        let current = Span::current();
        let span = tracing::info_span!(
            parent: None, "of order", otel.name = name, otel.kind = "internal", trace_id = Empty
        );
        if !span.is_disabled() {
            telemetry::continue_trace(&span, self.traceparent.as_deref());
            telemetry::link_both(&span, &current);
        }
        span
    }

    /// An entry of this order's timeline by the order service itself.
    pub(crate) fn entry(&self, fact: &'static str, at: Timestamp, detail: Option<String>) -> Entry {
        Entry { order_id: self.id, fact, service: "order", at, detail }
    }
}

/// The words of a state, as they are kept and shown.
impl Status {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Confirmed => "confirmed",
            Self::Cancelled(_) => "cancelled",
        }
    }

    pub(crate) const fn reason(self) -> Option<Cancellation> {
        match self {
            Self::Cancelled(reason) => Some(reason),
            Self::Placed | Self::Confirmed => None,
        }
    }

    pub(crate) fn parse(status: &str, reason: Option<&str>) -> Option<Self> {
        let reasons = [
            Cancellation::PaymentDeclined,
            Cancellation::StockRejected,
            Cancellation::Customer,
            Cancellation::Deadline,
            Cancellation::NoAnswer,
            Cancellation::WrongAmount,
        ];
        match (status, reason) {
            ("placed", None) => Some(Self::Placed),
            ("confirmed", None) => Some(Self::Confirmed),
            ("cancelled", Some(reason)) => {
                reasons.into_iter().find(|r| r.as_str() == reason).map(Self::Cancelled)
            }
            _ => None,
        }
    }
}

/// The coordination of this name.
pub(crate) fn coordination(text: &str) -> Option<Coordination> {
    [Coordination::Choreography, Coordination::Orchestration, Coordination::Sync]
        .into_iter()
        .find(|coordination| coordination.as_str() == text)
}

impl Step {
    const ALL: [Self; 5] = [
        Self::ReserveStock,
        Self::ChargeCard,
        Self::RefundPayment,
        Self::ReleaseStock,
        Self::ShipStock,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::ReserveStock => "reserve_stock",
            Self::ChargeCard => "charge_card",
            Self::RefundPayment => "refund_payment",
            Self::ReleaseStock => "release_stock",
            Self::ShipStock => "ship_stock",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.as_str() == text)
    }
}

impl Fact {
    /// What it is called in a timeline and in a saga's history.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Payment(Payment::Unknown) | Self::Stock(Stock::Unknown) => "Unknown",
            Self::Payment(Payment::Taken) | Self::WrongAmount => "PaymentTaken",
            Self::Payment(Payment::Declined) => "PaymentDeclined",
            Self::Payment(Payment::Refunded) => "PaymentRefunded",
            Self::Payment(Payment::Voided) => "PaymentVoided",
            Self::Stock(Stock::Reserved) => "StockReserved",
            Self::Stock(Stock::Rejected) => "StockRejected",
            Self::Stock(Stock::Released) => "StockReleased",
            Self::CancelRequested => "given up: cancelled",
            Self::DeadlinePassed => "given up: deadline",
            Self::StepTimedOut => "given up: no answer",
            Self::CallsDone => "done",
            Self::CallFailed(_) => "failed",
            Self::Payment(Payment::Resolved) | Self::Stock(Stock::Resolved) | Self::Resolved(_) => {
                RESOLVED
            }
        }
    }
}

impl Payment {
    const ALL: [Self; 6] =
        [Self::Unknown, Self::Taken, Self::Declined, Self::Refunded, Self::Voided, Self::Resolved];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Taken => "taken",
            Self::Declined => "declined",
            Self::Refunded => "refunded",
            Self::Voided => "voided",
            Self::Resolved => "resolved",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|payment| payment.as_str() == text)
    }
}

impl Stock {
    const ALL: [Self; 5] =
        [Self::Unknown, Self::Reserved, Self::Rejected, Self::Released, Self::Resolved];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Reserved => "reserved",
            Self::Rejected => "rejected",
            Self::Released => "released",
            Self::Resolved => "resolved",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stock| stock.as_str() == text)
    }
}
