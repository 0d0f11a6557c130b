//! Charging and refunding by a call, for orders whose coordinator waits for the answer: the same use-cases as for messages.

use std::{sync::Arc, time::Duration};

use axum::{
    Json as Answer,
    extract::{Path, State as Shared, rejection::PathRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use contracts::{Cause, Money, OrderId, Timestamp};
use garde::Validate;
use runtime::{
    Failure, Problem,
    http::{Json, located, uuid_key},
    telemetry,
};
use serde::Deserialize;
use store::Db;
use tokio::{sync::Notify, time::Instant};
use tracing::Span;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::PaymentView;
use crate::{
    books::{self, Entry},
    payment::{Effect, Happened, Payment, Refused, State},
    processor::{Charge, Processor},
    store as sql,
};

/// How long a refund is waited for. It goes on after that.
const REFUND_WAIT: Duration = Duration::from_secs(2);
/// How often a refund that somebody waits for is looked at.
const LOOK: Duration = Duration::from_millis(25);

/// What charging needs. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Payments {
    pub(crate) db: Db,
    pub(crate) processor: Processor,
    /// Tells that there is something to undo.
    pub(crate) to_reverse: Arc<Notify>,
}

/// An order to charge for.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChargeRequest {
    /// The order.
    #[garde(skip)]
    order_id: Uuid,
    /// What it costs.
    #[garde(dive)]
    total: Total,
    /// The card, as the card processor's opaque token.
    #[garde(length(min = 1, max = 64))]
    #[schema(example = "tok_visa")]
    card_token: String,
}

/// An order that is not to be charged for.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct RefundRequest {
    /// What it costs.
    #[garde(dive)]
    total: Total,
}

/// An amount of money.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct Total {
    /// Minor units of the currency: cents.
    #[garde(range(min = 1))]
    #[schema(example = 2500)]
    amount: i64,
    /// ISO 4217 code.
    #[garde(custom(is_currency))]
    #[schema(example = "EUR")]
    currency: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde passes the context by reference")]
fn is_currency(text: &str, (): &()) -> garde::Result {
    if text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
        Ok(())
    } else {
        Err(garde::Error::new("must be an ISO 4217 code: three upper-case letters, such as EUR"))
    }
}

impl From<Total> for Money {
    fn from(Total { amount, currency }: Total) -> Self {
        Self { amount, currency }
    }
}

pub(super) fn routes(payments: Payments) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(charge)).routes(routes!(refund)).with_state(payments)
}

/// Charge for an order
///
/// Once for each order, however often it is asked for: the `Idempotency-Key` of the first request is the charge's.
#[utoipa::path(
    post, path = "/payments", tag = "payments",
    params(("Idempotency-Key" = Uuid, Header, description = "A UUID, the same for each repetition")),
    request_body = ChargeRequest,
    responses(
        (status = CREATED, body = PaymentView, description = "The money is taken"),
        (status = PAYMENT_REQUIRED, body = Problem, content_type = "application/problem+json", description = "The card was declined"),
        (status = CONFLICT, body = Problem, content_type = "application/problem+json", description = "The order was cancelled, or is already charged a different amount"),
        (status = BAD_GATEWAY, body = Problem, content_type = "application/problem+json",
            description = "The card processor failed; whether it has charged isn't known"),
    ),
)]
async fn charge(
    Shared(payments): Shared<Payments>,
    headers: HeaderMap,
    Json { value: request, .. }: Json<ChargeRequest>,
) -> Result<Response, Problem> {
    let key = uuid_key(&headers)?;
    let payment = payments.charge(key, request).await?;
    let order_id = payment.order_id;
    match payment.state {
        State::Taken => {
            let location = format!("/payments/{order_id}");
            Ok(located(StatusCode::CREATED, &location, PaymentView::from(payment)))
        }
        State::Declined => Err(Problem::new(
            StatusCode::PAYMENT_REQUIRED,
            "payment-declined",
            "The card was declined",
            payment.decline_reason.unwrap_or_default(),
        )),
        State::Pending | State::Voided | State::Reversing | State::Refunded | State::Barred => {
            Err(Problem::conflict(
                "order-cancelled",
                "The order was cancelled",
                "an order that was cancelled is not charged for",
            ))
        }
    }
}

/// Give back what was charged for an order
///
/// If anything was; and charge nothing after this. It is tried until it succeeds, also when that takes longer than this answer. An order
/// that payment hasn't heard of is answered with 404; if it comes later, it isn't charged either.
#[utoipa::path(
    post, path = "/payments/{order_id}/refund", tag = "payments",
    params(("order_id" = Uuid, Path, description = "The order")),
    request_body = RefundRequest,
    responses(
        (status = OK, body = PaymentView, description = "Nothing is kept of the order's money"),
        (status = ACCEPTED, body = PaymentView, description = "It is being given back"),
        (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "Not an order's id"),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json", description = "The order is unknown"),
    ),
)]
async fn refund(
    Shared(payments): Shared<Payments>,
    order_id: Result<Path<Uuid>, PathRejection>,
    Json { value: request, .. }: Json<RefundRequest>,
) -> Result<Response, Problem> {
    let Path(order_id) = order_id.map_err(|_| Problem::bad_request("an order's id is a UUID"))?;
    let payment = payments.refund(order_id, request.total.into()).await?;
    let status =
        if payment.state == State::Reversing { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, Answer(PaymentView::from(payment))).into_response())
}

impl Payments {
    /// Writes down what is about to be charged, charges it, and writes down what came of it.
    async fn charge(&self, key: Uuid, request: ChargeRequest) -> Result<Payment, Problem> {
        let order_id = request.order_id;
        let placed = Happened::Placed { key, total: request.total.into() };
        for duty in self.record(order_id, placed).await? {
            let (Effect::Charge, Some(key)) = (duty.effect, duty.payment.charge_key) else {
                continue;
            };
            let (amount, card_token) = (&duty.payment.amount, request.card_token.as_str());
            let charge = Charge { key, amount, card_token, order_id };
            let charged = self.processor.charge(&charge).await.map_err(problem)?;
            self.record(order_id, (&charged).into()).await?;
        }
        self.payment(order_id).await
    }

    /// Marks the payment as to be undone, and waits a while until it is.
    async fn refund(&self, order_id: OrderId, total: Money) -> Result<Payment, Problem> {
        let cause = telemetry::cause(&Span::current());
        self.record(order_id, Happened::RefundCalled { total, cause }).await?;
        self.to_reverse.notify_one();
        let until = Instant::now() + REFUND_WAIT;
        loop {
            let payment = self.payment(order_id).await?;
            match payment.state {
                State::Barred => return Err(Problem::unknown_order()),
                State::Reversing if Instant::now() < until => {}
                _ => return Ok(payment),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn record(
        &self,
        order_id: OrderId,
        happened: Happened,
    ) -> Result<Vec<books::Duty>, Problem> {
        let cause: Cause = telemetry::cause(&Span::current());
        let entry = Entry { order_id, happened, cause, answer: false };
        let mut tx = self.db.begin().await?;
        let duties = books::record(&mut tx, &[entry], Timestamp::now()).await.map_err(refused)?;
        tx.commit().await?;
        Ok(duties)
    }

    async fn payment(&self, order_id: OrderId) -> Result<Payment, Problem> {
        sql::find(&self.db, order_id).await?.ok_or_else(Problem::internal)
    }
}

fn refused(error: books::Error) -> Problem {
    match error {
        books::Error::Store(error) => error.into(),
        books::Error::Refused { order_id, refused } => {
            tracing::warn!(%order_id, error = %refused, "a call contradicts the books");
            let detail = refused.to_string();
            match refused {
                Refused::OtherTotal { .. } => Problem::other_total(detail),
                Refused::Contradiction(_) => {
                    Problem::conflict("contradiction", "It can't be", detail)
                }
            }
        }
    }
}

fn problem(failure: Failure) -> Problem {
    match failure {
        Failure::Store(error) => error.into(),
        Failure::Transient(error) | Failure::Permanent(error) => {
            tracing::warn!(error = format!("{error:#}"), "a call could not be carried out");
            Problem::new(
                StatusCode::BAD_GATEWAY,
                "processor-failed",
                "The card processor failed",
                "whether the card was charged isn't known; ask again with the same key, or for a refund",
            )
        }
    }
}
