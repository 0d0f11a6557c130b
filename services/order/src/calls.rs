//! Calling the others, one after the other, while the customer waits: an order without events.
//!
//! Everything is one call after another, each with a time limit and a key that makes a repetition harmless. When one fails, what
//! was done before is undone by calls; what that doesn't achieve is left to an operator.

use std::time::Duration;

use contracts::{Cancellation, Money, OrderId};
use reqwest::{Method, RequestBuilder, StatusCode};
use runtime::{
    client::{Answer, Client},
    http::problem::{self, OTHER_TOTAL, UNKNOWN_ORDER},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    config::Config,
    machine::{Payment, Step, Stock},
    order::Order,
};

/// The calls of a checkout that fails at the last: goods, money and mail; the refund and the release.
const CALLS: u32 = 5;

/// The services that an order is made with.
#[derive(Debug, Clone)]
pub(crate) struct Callees {
    inventory: Client,
    payment: Client,
    email: Client,
    timeout: Duration,
}

/// Why a call did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The other service said no, and has done nothing.
    Refused {
        /// Why the order can't be.
        reason: Cancellation,
        /// What it said.
        detail: String,
    },
    /// It didn't answer, or failed.
    NoAnswer {
        /// The service.
        callee: &'static str,
        /// Whether it was asked, and so may have done it. It was not when a connection was refused, or its name not found; where
        /// connecting takes too long, that isn't known, and counts as asked.
        asked: bool,
        /// Whether the time was over.
        late: bool,
        /// What is known of it.
        detail: String,
    },
    /// Payment has charged an amount other than the order's total.
    WrongAmount {
        /// The charged amount and the expected one, if payment says so.
        charged: Option<String>,
        /// What it said.
        detail: String,
    },
}

impl Failed {
    /// Why the order is cancelled for it.
    pub(crate) const fn reason(&self) -> Cancellation {
        match self {
            Self::Refused { reason, .. } => *reason,
            Self::NoAnswer { .. } => Cancellation::NoAnswer,
            Self::WrongAmount { .. } => Cancellation::WrongAmount,
        }
    }

    /// What there is to say of it.
    pub(crate) fn detail(&self) -> &str {
        match self {
            Self::Refused { detail, .. }
            | Self::NoAnswer { detail, .. }
            | Self::WrongAmount { detail, .. } => detail,
        }
    }
}

impl Callees {
    /// The services at the addresses of the configuration.
    ///
    /// # Errors
    /// When an address can't be used.
    pub(crate) fn new(config: &Config) -> anyhow::Result<Self> {
        let timeout = config.call_timeout;
        Ok(Self {
            inventory: Client::new(&config.inventory, timeout)?,
            payment: Client::new(&config.payment, timeout)?,
            email: Client::new(&config.email, timeout)?,
            timeout,
        })
    }

    /// The longest that the calls of a checkout can take, those that undo it included.
    pub(crate) const fn longest(&self) -> Duration {
        self.timeout.saturating_mul(CALLS)
    }

    /// Puts the goods aside.
    ///
    /// # Errors
    /// When something is missing, or inventory fails.
    pub(crate) async fn reserve(&self, order: &Order) -> Result<Stock, Failed> {
        let lines: Vec<Value> = order
            .lines
            .iter()
            .map(|line| json!({"sku": line.sku, "quantity": line.quantity}))
            .collect();
        let body = json!({"order_id": order.id, "lines": lines});
        let answer =
            self.inventory.call(Method::POST, "/reservations", &["reservations"], |request| {
                keyed(request, order.id, Step::ReserveStock.as_str()).json(&body)
            });
        let answer = self.answered("inventory", answer.await)?;
        match answer.status() {
            StatusCode::CREATED => Ok(Stock::Reserved),
            StatusCode::CONFLICT => Err(Failed::Refused {
                reason: Cancellation::StockRejected,
                detail: detail(&document(answer).await),
            }),
            _ => Err(failed("inventory", answer).await),
        }
    }

    /// Charges the card.
    ///
    /// # Errors
    /// When it is declined, payment or its card processor fails, or what was charged isn't the order's total.
    pub(crate) async fn charge(&self, order: &Order, card_token: &str) -> Result<Payment, Failed> {
        let body = json!({"order_id": order.id, "total": order.total, "card_token": card_token});
        let answer = self.payment.call(Method::POST, "/payments", &["payments"], |request| {
            keyed(request, order.id, Step::ChargeCard.as_str()).json(&body)
        });
        let answer = self.answered("payment", answer.await)?;
        match answer.status() {
            StatusCode::CREATED => match answer.json::<Money>().await {
                Ok(charged) if charged == order.total => Ok(Payment::Taken),
                Ok(charged) => {
                    let charged = format!("{charged}, not {}", order.total);
                    let detail = format!("payment charged {charged}");
                    Err(Failed::WrongAmount { charged: Some(charged), detail })
                }
                Err(error) => {
                    let detail = format!("payment's answer can't be read: {error}");
                    Err(Failed::NoAnswer { callee: "payment", asked: true, late: false, detail })
                }
            },
            StatusCode::PAYMENT_REQUIRED => Err(Failed::Refused {
                reason: Cancellation::PaymentDeclined,
                detail: detail(&document(answer).await),
            }),
            status => {
                let problem = document(answer).await;
                if problem["type"] == problem::uri(OTHER_TOTAL) {
                    Err(Failed::WrongAmount { charged: None, detail: detail(&problem) })
                } else {
                    Err(failed_with("payment", status, &problem))
                }
            }
        }
    }

    /// Sends the receipt.
    ///
    /// # Errors
    /// When email or its mail server fails.
    pub(crate) async fn send_receipt(&self, order: &Order) -> Result<(), Failed> {
        let answer =
            self.email.call(Method::POST, "/mails/receipt", &["mails", "receipt"], |request| {
                keyed(request, order.id, "send_receipt").json(&json!({"order": order.confirmed()}))
            });
        let answer = self.answered("email", answer.await)?;
        match answer.status() {
            StatusCode::CREATED => Ok(()),
            // The address can't be used: no other try helps.
            StatusCode::UNPROCESSABLE_ENTITY => {
                let detail = "no mail can be sent to this address".to_owned();
                Err(Failed::Refused { reason: Cancellation::NoAnswer, detail })
            }
            _ => Err(failed("email", answer).await),
        }
    }

    /// Has what was charged given back; what is known of it then. Payment goes on with it by itself when that takes longer. An order that
    /// payment doesn't know was not charged, and after this call never will be.
    ///
    /// # Errors
    /// When payment fails.
    pub(crate) async fn refund(&self, order: &Order) -> Result<Payment, Failed> {
        let id = order.id.to_string();
        let path = ["payments", id.as_str(), "refund"];
        let body = json!({"total": order.total});
        let answer =
            self.payment.call(Method::POST, "/payments/{order_id}/refund", &path, |request| {
                keyed(request, order.id, Step::RefundPayment.as_str()).json(&body)
            });
        let answer = self.answered("payment", answer.await)?;
        match answer.status() {
            StatusCode::OK | StatusCode::ACCEPTED => {
                let payment: Value = answer.json().await.unwrap_or_default();
                Ok(payment["state"].as_str().and_then(Payment::parse).unwrap_or(Payment::Unknown))
            }
            StatusCode::NOT_FOUND => unknown("payment", answer).await.map(|()| Payment::Voided),
            _ => Err(failed("payment", answer).await),
        }
    }

    /// Has the goods put back. Of an order that inventory doesn't know, nothing was reserved, and after this call never will be.
    ///
    /// # Errors
    /// When inventory fails.
    pub(crate) async fn release(&self, order: &Order) -> Result<Stock, Failed> {
        let route = "/reservations/{order_id}/release";
        let answer = self.of_reservation(order, Step::ReleaseStock, route, "release").await?;
        match answer.status() {
            StatusCode::OK => Ok(Stock::Released),
            StatusCode::NOT_FOUND => unknown("inventory", answer).await.map(|()| Stock::Released),
            _ => Err(failed("inventory", answer).await),
        }
    }

    /// Has the goods taken off the books.
    ///
    /// # Errors
    /// When inventory fails.
    pub(crate) async fn ship(&self, order: &Order) -> Result<(), Failed> {
        let route = "/reservations/{order_id}/ship";
        let answer = self.of_reservation(order, Step::ShipStock, route, "ship").await?;
        match answer.status() {
            StatusCode::OK => Ok(()),
            _ => Err(failed("inventory", answer).await),
        }
    }

    async fn of_reservation(
        &self,
        order: &Order,
        step: Step,
        route: &'static str,
        action: &str,
    ) -> Result<Answer, Failed> {
        let id = order.id.to_string();
        let path = ["reservations", id.as_str(), action];
        let answer = self
            .inventory
            .call(Method::POST, route, &path, |request| keyed(request, order.id, step.as_str()));
        self.answered("inventory", answer.await)
    }

    fn answered(
        &self,
        callee: &'static str,
        answer: reqwest::Result<Answer>,
    ) -> Result<Answer, Failed> {
        answer.map_err(|error| {
            let (asked, late) = (!error.is_connect(), error.is_timeout());
            let detail = if late {
                format!("{callee} didn't answer within {:?}", self.timeout)
            } else {
                format!("{callee} can't be reached")
            };
            Failed::NoAnswer { callee, asked, late, detail }
        })
    }
}

/// The key of a call: the same for each repetition, and another for each step of each order.
fn keyed(request: RequestBuilder, order: OrderId, step: &str) -> RequestBuilder {
    request.header("Idempotency-Key", Uuid::new_v5(&order, step.as_bytes()).to_string())
}

async fn failed(callee: &'static str, answer: Answer) -> Failed {
    failed_with(callee, answer.status(), &document(answer).await)
}

fn failed_with(callee: &'static str, status: StatusCode, problem: &Value) -> Failed {
    let detail = format!("{callee} answered {status}: {}", detail(problem));
    Failed::NoAnswer { callee, asked: true, late: false, detail }
}

/// Makes sure that a 404 says that the order is unknown. Something else between here and there may not know the path.
///
/// # Errors
/// When it says something else.
async fn unknown(callee: &'static str, answer: Answer) -> Result<(), Failed> {
    let (status, problem) = (answer.status(), document(answer).await);
    if problem["type"] == problem::uri(UNKNOWN_ORDER) {
        return Ok(());
    }
    Err(failed_with(callee, status, &problem))
}

/// The problem document of an answer, if it is one.
async fn document(answer: Answer) -> Value {
    answer.json().await.unwrap_or_default()
}

fn detail(problem: &Value) -> String {
    problem["detail"].as_str().unwrap_or("no reason given").to_owned()
}
