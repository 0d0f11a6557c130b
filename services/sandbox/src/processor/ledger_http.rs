//! The ledger over HTTP: the truth about money. No fault applies to it.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use runtime::Problem;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Processor,
    statement::{Entry, Totals},
};
use crate::{Sandbox, page::Page, problem::bad_query};

/// Which entries to show.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only the entries with this reference: an order's id.
    reference: Option<String>,
    /// How many entries to leave out at the start (0).
    offset: Option<usize>,
    /// How many entries to show at most (1,000, and at most 10,000).
    limit: Option<usize>,
}

/// Charges, oldest first.
#[derive(Debug, Serialize, ToSchema)]
struct Statement {
    /// One page of them.
    entries: Vec<Entry>,
    /// What all of them come to, not only those on this page.
    totals: Totals,
}

/// The routes under `/ledger`.
pub(super) fn routes() -> OpenApiRouter<Sandbox> {
    OpenApiRouter::new().routes(routes!(entries)).routes(routes!(totals))
}

/// The truth about money: every charge that was made
#[utoipa::path(
    get, path = "/ledger", tag = "card processor", params(Filter),
    responses((status = OK, body = Statement), (status = BAD_REQUEST, body = Problem, description = "A parameter makes no sense")),
)]
async fn entries(
    State(sandbox): State<Sandbox>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<Statement>, Problem> {
    let Query(filter) = filter.map_err(bad_query)?;
    let page = Page::new(filter.offset, filter.limit)?;
    Ok(Json(sandbox.processor.statement(filter.reference.as_deref(), page)))
}

/// What all charges come to
#[utoipa::path(get, path = "/ledger/summary", tag = "card processor", responses((status = OK, body = Totals)))]
async fn totals(State(sandbox): State<Sandbox>) -> Json<Totals> {
    Json(sandbox.processor.totals())
}

impl Processor {
    fn statement(&self, reference: Option<&str>, page: Page) -> Statement {
        let books = self.books();
        let Some(reference) = reference else {
            let entries = books.ledger.entries(page.offset, page.limit);
            return Statement { entries, totals: books.ledger.totals() };
        };
        let (entries, totals) = books.ledger.of(reference);
        Statement { entries: page.of(entries).collect(), totals }
    }

    fn totals(&self) -> Totals {
        self.books().ledger.totals()
    }
}
