//! The mails over HTTP: the truth about mail. No fault applies to it.

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::StatusCode,
};
use runtime::Problem;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    index::{Summary, Wanted},
    mailbox::{Listed, Mail},
};
use crate::{Sandbox, page::Page, problem::bad_query};

/// Which mails to show.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only mails to this address.
    to: Option<String>,
    /// Only mails with this `X-Order-Id`.
    order_id: Option<String>,
    /// Only mails with this `Message-ID`, with or without its angle brackets.
    message_id: Option<String>,
    /// How many mails to leave out at the start (0).
    offset: Option<usize>,
    /// How many mails to show at most (1,000, and at most 10,000).
    limit: Option<usize>,
}

/// Mails, newest last.
#[derive(Debug, Serialize, ToSchema)]
struct Mails {
    /// How many fit the filter.
    total: usize,
    /// One page of them.
    mails: Vec<Listed>,
}

/// The routes under `/mails`.
pub(crate) fn routes() -> OpenApiRouter<Sandbox> {
    OpenApiRouter::new().routes(routes!(list, clear)).routes(routes!(summary)).routes(routes!(mail))
}

/// The truth about mail: every mail that the server kept, newest last
#[utoipa::path(
    get, path = "/mails", tag = "mail server", params(Filter),
    responses((status = OK, body = Mails), (status = BAD_REQUEST, body = Problem, description = "A parameter makes no sense")),
)]
async fn list(
    State(sandbox): State<Sandbox>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<Mails>, Problem> {
    let Query(Filter { to, order_id, message_id, offset, limit }) = filter.map_err(bad_query)?;
    let page = Page::new(offset, limit)?;
    let wanted = Wanted { to, order_id, message_id };
    let (total, mails) = read_disk(move || sandbox.mailbox.list(&wanted, page)).await?;
    Ok(Json(Mails { total, mails }))
}

/// One mail with all that it says
#[utoipa::path(
    get, path = "/mails/{number}", tag = "mail server",
    params(("number" = usize, Path, description = "Its place in the order of arrival, from 1", example = 1)),
    responses((status = OK, body = Mail), (status = NOT_FOUND, body = Problem, description = "There aren't as many")),
)]
async fn mail(
    State(sandbox): State<Sandbox>,
    number: Result<Path<usize>, PathRejection>,
) -> Result<Json<Mail>, Problem> {
    let not_found = || Problem::not_found("there is no mail with this number");
    let Path(number) = number.map_err(|_| not_found())?;
    let mail = read_disk(move || sandbox.mailbox.mail(number)).await?;
    mail.map(Json).ok_or_else(not_found)
}

/// How many mails there are, and how many came more than once
#[utoipa::path(get, path = "/mails/summary", tag = "mail server", responses((status = OK, body = Summary)))]
async fn summary(State(sandbox): State<Sandbox>) -> Json<Summary> {
    Json(sandbox.mailbox.summary())
}

/// Throws all mails away
#[utoipa::path(delete, path = "/mails", tag = "mail server", responses((status = NO_CONTENT)))]
async fn clear(State(sandbox): State<Sandbox>) -> Result<StatusCode, Problem> {
    sandbox.mailbox.clear()?;
    Ok(StatusCode::NO_CONTENT)
}

/// A page may be thousands of reads: not on the threads that serve the charges.
async fn read_disk<T: Send + 'static>(
    read: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Problem> {
    let failed = |error: std::io::Error| {
        tracing::error!(%error, "can't read the mails");
        Problem::internal()
    };
    tokio::task::spawn_blocking(read).await.map_err(|error| failed(error.into()))?.map_err(failed)
}
