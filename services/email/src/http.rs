//! The HTTP side: which mails an order led to, and sending a receipt by a call.

use ::store::Db;
use axum::{
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use contracts::{OrderConfirmed, OrderId, Timestamp};
use garde::Validate;
use runtime::{
    Failure, Problem,
    http::{Json, located, uuid_key},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    handlers::{Incoming, Mails},
    store,
};

pub(crate) fn api(db: Db, mails: Mails) -> OpenApiRouter {
    let sending = OpenApiRouter::new().routes(routes!(send_receipt)).with_state(mails);
    OpenApiRouter::new().routes(routes!(mails_of_order)).with_state(db).merge(sending)
}

/// A confirmed order, as `OrderConfirmed` has it.
#[derive(Debug, Deserialize, Validate, ToSchema)]
struct ReceiptRequest {
    /// The order.
    #[garde(skip)]
    #[schema(value_type = Object)]
    order: OrderConfirmed,
}

/// Send the receipt of an order
///
/// Answers when the mail server has it. The same request again sends nothing again.
#[utoipa::path(
    post, path = "/mails/receipt",
    params(("Idempotency-Key" = Uuid, Header, description = "A UUID, the same for each repetition; the mail's Message-ID is made from it")),
    request_body = ReceiptRequest,
    responses(
        (status = 201, body = MailsBody, description = "It is sent"),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "The customer's address can't be used"),
        (status = 502, body = Problem, content_type = "application/problem+json",
            description = "The mail server failed; whether it has the mail isn't known"),
    )
)]
async fn send_receipt(
    State(sender): State<Mails>,
    headers: HeaderMap,
    Json { value: request, .. }: Json<ReceiptRequest>,
) -> Result<Response, Problem> {
    let key = uuid_key(&headers)?;
    let order_id = request.order.order_id;
    let event = Incoming::OrderConfirmed(request.order);
    sender.send_now(&event, key).await.map_err(problem)?;
    let mails =
        store::mails(sender.db(), order_id).await?.into_iter().map(MailBody::from).collect();
    let body = MailsBody { order_id, mails };
    Ok(located(StatusCode::CREATED, &format!("/mails/{order_id}"), body))
}

fn problem(failure: Failure) -> Problem {
    match failure {
        Failure::Store(error) => error.into(),
        Failure::Permanent(error) if !is_unknown(&error) => {
            Problem::invalid_field("customer.email", format!("the mail can't be sent: {error:#}"))
        }
        Failure::Permanent(error) | Failure::Transient(error) => {
            tracing::warn!(error = format!("{error:#}"), "a receipt could not be sent");
            Problem::new(
                StatusCode::BAD_GATEWAY,
                "mail-failed",
                "The mail server failed",
                "whether the mail was sent isn't known",
            )
        }
    }
}

fn is_unknown(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(crate::mailer::Error::Unknown(_)))
}

/// The mails of an order.
#[derive(Debug, Serialize, ToSchema)]
struct MailsBody {
    /// The order.
    order_id: Uuid,
    /// Its mails, the first one first; none while no message about the order has arrived.
    mails: Vec<MailBody>,
}

/// A mail, without addresses or names.
#[derive(Debug, Serialize, ToSchema)]
struct MailBody {
    /// What it tells: `acknowledgement`, `receipt` or `notice`.
    #[schema(example = "receipt")]
    kind: String,
    /// `sending`; `failed`, when another attempt follows or a person must replay it; `sent`.
    #[schema(example = "sent")]
    state: String,
    /// What its Message-ID is made from.
    message_id: Uuid,
    /// How often sending it was begun.
    #[schema(example = 1)]
    attempts: i64,
    /// When the mail server took it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "2026-01-31T09:30:00.123456Z")]
    sent_at: Option<Timestamp>,
}

impl From<store::Mail> for MailBody {
    fn from(mail: store::Mail) -> Self {
        Self {
            kind: mail.kind,
            state: mail.state,
            message_id: mail.message_id,
            attempts: mail.attempts,
            sent_at: mail.sent_at.map(Timestamp::from_micros),
        }
    }
}

/// The mails of an order
///
/// Which were sent, and when. An order without mails, or one that this service has not heard of, has an empty list.
#[utoipa::path(
    get, path = "/mails/{order_id}",
    params(("order_id" = Uuid, Path, description = "The order's id")),
    responses(
        (status = 200, body = MailsBody),
        (status = 400, body = Problem, content_type = "application/problem+json"),
    )
)]
async fn mails_of_order(
    State(db): State<Db>,
    order_id: Result<Path<OrderId>, PathRejection>,
) -> Result<axum::Json<MailsBody>, Problem> {
    let Path(order_id) = order_id.map_err(|_| Problem::bad_request("an order's id is a UUID"))?;
    let mails = store::mails(&db, order_id).await?.into_iter().map(MailBody::from).collect();
    Ok(axum::Json(MailsBody { order_id, mails }))
}
