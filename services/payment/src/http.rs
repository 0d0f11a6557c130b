//! The service's HTTP interface: coupons for the checkout, payments for whoever runs the shop, and charging by a call.

mod calls;

use axum::{
    Json,
    extract::{
        Path, Query, State as Shared,
        rejection::{PathRejection, QueryRejection},
    },
};
use contracts::Timestamp;
use runtime::Problem;
use serde::{Deserialize, Serialize};
use store::Db;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    payment::{Payment, State},
    store as sql,
};

pub(crate) use calls::Payments;

/// Longest code that a coupon can have, in bytes.
const MAX_CODE: usize = 40;
/// Payments in a list at most.
const MAX_LIMIT: u32 = 1_000;

/// A coupon that is valid now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({ "code": "WELCOME10", "percent_off": 10 }))]
struct Coupon {
    /// The code, in capitals.
    code: String,
    /// What it takes off the total.
    #[schema(minimum = 1, maximum = 100)]
    percent_off: i32,
}

/// The payment of an order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Payment)]
struct PaymentView {
    /// The order.
    order_id: Uuid,
    /// Where the payment stands.
    state: State,
    /// What the order costs, in minor units of the currency: cents.
    amount: i64,
    /// ISO 4217 code.
    #[schema(example = "EUR")]
    currency: String,
    /// The processor's name for the charge.
    #[serde(skip_serializing_if = "Option::is_none")]
    charge_id: Option<String>,
    /// Why the card was declined.
    #[serde(skip_serializing_if = "Option::is_none")]
    decline_reason: Option<String>,
    /// How often undoing it has failed so far.
    failed_reversals: u32,
    /// When undoing it is tried next.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<Timestamp>,
    /// When it was first heard of.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When its state last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Payment> for PaymentView {
    fn from(payment: Payment) -> Self {
        Self {
            order_id: payment.order_id,
            state: payment.state,
            amount: payment.amount.amount,
            currency: payment.amount.currency,
            charge_id: payment.charge_id,
            decline_reason: payment.decline_reason,
            failed_reversals: payment.failed_reversals,
            next_attempt_at: payment.due_at,
            created_at: payment.created_at,
            updated_at: payment.updated_at,
        }
    }
}

/// How much to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Page {
    /// Payments at most, 1 to 1,000.
    #[param(minimum = 1, maximum = 1_000, default = 100)]
    limit: Option<u32>,
}

/// The service's routes.
pub(crate) fn routes(payments: Payments) -> OpenApiRouter {
    let db = payments.db.clone();
    OpenApiRouter::new()
        .routes(routes!(coupon))
        .routes(routes!(payment))
        .routes(routes!(reversals))
        .with_state(db)
        .merge(calls::routes(payments))
}

/// Whether a coupon is valid, and what it takes off
///
/// Capitals and small letters are the same.
#[utoipa::path(
    get, path = "/coupons/{code}", tag = "coupons",
    params(("code" = String, Path, description = "What the customer typed", example = "welcome10")),
    responses(
        (status = OK, body = Coupon),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json", description = "There is no such coupon"),
    ),
)]
async fn coupon(
    Shared(db): Shared<Db>,
    code: Result<Path<String>, PathRejection>,
) -> Result<Json<Coupon>, Problem> {
    let unknown = || Problem::not_found("there is no such coupon");
    let Path(code) = code.map_err(|_| unknown())?;
    if code.len() > MAX_CODE || !code.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unknown());
    }
    let found = sql::coupon(&db, &code.to_ascii_uppercase()).await?;
    let (code, percent_off) = found.ok_or_else(unknown)?;
    Ok(Json(Coupon { code, percent_off }))
}

/// The payment of an order
#[utoipa::path(
    get, path = "/payments/{order_id}", tag = "payments",
    params(("order_id" = Uuid, Path, description = "The order")),
    responses(
        (status = OK, body = PaymentView),
        (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "Not an order's id"),
        (status = NOT_FOUND, body = Problem, content_type = "application/problem+json",
            description = "The order is unknown here, or its message hasn't arrived yet"),
    ),
)]
async fn payment(
    Shared(db): Shared<Db>,
    order_id: Result<Path<Uuid>, PathRejection>,
) -> Result<Json<PaymentView>, Problem> {
    let Path(order_id) = order_id
        .map_err(|_| Problem::bad_request("an order's id is a UUID, as in /orders/{id}"))?;
    let found = sql::find(&db, order_id).await?;
    let found = found.filter(|payment| payment.state != State::Barred);
    let payment = found
        .ok_or_else(|| Problem::not_found("no payment is known for this order (yet); try again"))?;
    Ok(Json(payment.into()))
}

/// Payments that must still be undone
///
/// Those that failed most often come first. Nothing needs to be done about them here: they are tried again until they
/// succeed. What they wait for is the card processor.
#[utoipa::path(
    get, path = "/reversals", tag = "payments", params(Page),
    responses(
        (status = OK, body = Vec<PaymentView>),
        (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json", description = "The limit is no number from 1 to 1,000"),
    ),
)]
async fn reversals(
    Shared(db): Shared<Db>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Vec<PaymentView>>, Problem> {
    let limit = page.map_or(0, |Query(page)| page.limit.unwrap_or(100));
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::bad_request("limit must be a number from 1 to 1000"));
    }
    let payments = sql::reversing(&db, limit).await?;
    // Those that can't be read are reported by the worker that tries them.
    Ok(Json(payments.into_iter().flatten().map(PaymentView::from).collect()))
}
