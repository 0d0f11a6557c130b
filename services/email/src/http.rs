//! The HTTP side: which mails an order led to.

use ::store::Db;
use axum::extract::{Path, State, rejection::PathRejection};
use contracts::{OrderId, Timestamp};
use runtime::Problem;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::store;

pub(crate) fn api(db: Db) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(mails_of_order)).with_state(db)
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
