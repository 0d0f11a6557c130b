//! The HTTP side: the catalogue, and what became of an order's goods.

use axum::{
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use contracts::OrderId;
use runtime::{
    Problem,
    http::{Json, located},
    telemetry,
};
use tracing::Span;
use utoipa_axum::{router::OpenApiRouter, routes};

use ::store::Db;

use crate::{
    catalogue::{self, Listing, Product},
    handlers::{self, News},
    reservation::{Fact, Refusal, State as Reserved},
    store,
};

mod body;

use body::{ProductBody, ProductChange, ReservationBody, ReservationRequest};

pub(crate) fn api(db: Db) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list_products))
        .routes(routes!(get_product, put_product))
        .routes(routes!(reserve))
        .routes(routes!(get_reservation))
        .routes(routes!(release))
        .routes(routes!(ship))
        .with_state(db)
}

/// A segment of the path, and why it can't be read.
type Segment = Result<Path<String>, PathRejection>;

/// The products
///
/// All of them by SKU, with how many can be had.
#[utoipa::path(get, path = "/products", responses((status = 200, body = Vec<ProductBody>)))]
async fn list_products(State(db): State<Db>) -> Result<axum::Json<Vec<ProductBody>>, Problem> {
    let products = store::products(&db).await?;
    Ok(axum::Json(products.into_iter().map(ProductBody::from).collect()))
}

/// A product
#[utoipa::path(
    get, path = "/products/{sku}",
    params(("sku" = String, Path, description = "Stock keeping unit", example = "mug-blue")),
    responses(
        (status = 200, body = ProductBody),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
async fn get_product(
    State(db): State<Db>,
    sku: Segment,
) -> Result<axum::Json<ProductBody>, Problem> {
    // What can't be a SKU (it may hold characters that no text column takes) can't be one that is listed.
    let sku = sku.ok().map(|Path(sku)| sku).filter(|sku| catalogue::is_sku(sku));
    let product = match sku {
        Some(sku) => store::product(&db, &sku).await?,
        None => None,
    };
    let product = product
        .ok_or_else(|| Problem::not_found("no product has this SKU; GET /products lists them"))?;
    Ok(axum::Json(product.into()))
}

/// Create or change a product
///
/// The whole listing, and, where it is given, how many there are: `on_hand` is a count of the shelf, the reserved pieces
/// included, and replaces the count before; without it the count stays (0 for a new product). Sending the same again
/// changes nothing but the version.
#[utoipa::path(
    put, path = "/products/{sku}",
    params(("sku" = String, Path, description = "1 to 64 of a-z, 0-9 and -", example = "mug-yellow")),
    request_body = ProductChange,
    responses(
        (status = 200, body = ProductBody, description = "Changed"),
        (status = 201, body = ProductBody, description = "Created"),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "More pieces are reserved than would be on hand"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
    )
)]
async fn put_product(
    State(db): State<Db>,
    sku: Segment,
    body: Json<ProductChange>,
) -> Result<Response, Problem> {
    let sku = sku.ok().map(|Path(sku)| sku).filter(|sku| catalogue::is_sku(sku));
    let sku = sku.ok_or_else(|| {
        Problem::invalid_field("sku", "must be 1 to 64 characters of a-z, 0-9 and -")
    })?;
    let (product, created) = list_product(&db, &sku, body.value.into()).await?;
    let location = format!("/products/{sku}");
    let body = ProductBody::from(product);
    Ok(if created {
        located(StatusCode::CREATED, &location, body)
    } else {
        axum::Json(body).into_response()
    })
}

/// Creates or changes a product and announces it; whether it is new.
async fn list_product(db: &Db, sku: &str, listing: Listing) -> Result<(Product, bool), Problem> {
    let mut tx = db.begin().await?;
    // A row must be there to be locked: of two requests that create the same product, one then changes it.
    let new = store::add_products(&mut tx, &[Product::unlisted(sku)]).await?;
    let product = store::lock_product(&mut tx, sku).await?.ok_or_else(Problem::internal)?;
    let product = product.listed(listing).map_err(|below| {
        let detail = format!("{below}; wait until they have left, or give a larger number");
        Problem::conflict("below-reserved", "More are reserved", detail)
    })?;
    store::save_product(&mut tx, &product).await?;
    tx.publish(&product.announcement(), &telemetry::cause(&Span::current()))?;
    tx.commit().await?;
    Ok((product, !new.is_empty()))
}

/// Put the goods of an order aside
///
/// All lines or none, once for each order: the same request again has the same answer.
#[utoipa::path(
    post, path = "/reservations",
    request_body = ReservationRequest,
    responses(
        (status = 201, body = ReservationBody, description = "They are put aside"),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "Something is missing, or the order was cancelled"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
    )
)]
async fn reserve(
    State(db): State<Db>,
    body: Json<ReservationRequest>,
) -> Result<Response, Problem> {
    let (order_id, lines) = body.value.into_parts();
    let body = apply(&db, order_id, Fact::Placed(lines)).await?;
    match body.state() {
        Reserved::Reserved | Reserved::Shipped => {
            Ok(located(StatusCode::CREATED, &format!("/reservations/{order_id}"), body))
        }
        Reserved::Rejected => Err(Problem::conflict(
            "out-of-stock",
            "Out of stock",
            "there are fewer than were ordered of at least one product; GET /products says how many",
        )),
        Reserved::New | Reserved::Released | Reserved::Barred => Err(Problem::conflict(
            "order-cancelled",
            "The order was cancelled",
            "nothing is put aside for an order that was cancelled",
        )),
    }
}

/// Put the goods of an order back
///
/// If they were reserved; and never reserve them after this. An order that inventory hasn't heard of is answered with 404; if it comes
/// later, nothing is reserved for it either.
#[utoipa::path(
    post, path = "/reservations/{order_id}/release",
    params(("order_id" = uuid::Uuid, Path, description = "The order's id")),
    responses(
        (status = 200, body = ReservationBody, description = "Nothing is put aside"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "The order is unknown, or this is not an order's id"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "They have left"),
    )
)]
async fn release(
    State(db): State<Db>,
    order_id: Segment,
) -> Result<axum::Json<ReservationBody>, Problem> {
    let order_id = some_order(order_id)?;
    let released = apply(&db, order_id, Fact::ReleaseCalled).await?;
    match released.state() {
        Reserved::Barred => Err(Problem::unknown_order()),
        _ => Ok(axum::Json(released)),
    }
}

/// Take the goods of an order off the books
///
/// They leave; they must have been put aside.
#[utoipa::path(
    post, path = "/reservations/{order_id}/ship",
    params(("order_id" = uuid::Uuid, Path, description = "The order's id")),
    responses(
        (status = 200, body = ReservationBody, description = "They have left"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "The order is unknown, or this is not an order's id"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "They are not put aside"),
    )
)]
async fn ship(
    State(db): State<Db>,
    order_id: Segment,
) -> Result<axum::Json<ReservationBody>, Problem> {
    Ok(axum::Json(apply(&db, some_order(order_id)?, Fact::Confirmed).await?))
}

/// The same use-case as for a message.
async fn apply(db: &Db, order_id: OrderId, fact: Fact) -> Result<ReservationBody, Problem> {
    let cause = telemetry::cause(&Span::current());
    let mut tx = db.begin().await?;
    let news = News { order_id, fact, cause, answer: false };
    handlers::apply(&mut tx, &[news]).await.map_err(|error| match error {
        handlers::Error::Refused(Refusal::Contradiction {
            state: Reserved::New | Reserved::Barred,
            ..
        }) => Problem::unknown_order(),
        handlers::Error::Refused(refusal) => {
            Problem::conflict("contradiction", "It can't be", refusal.to_string())
        }
        handlers::Error::Store(error) => error.into(),
    })?;
    tx.commit().await?;
    let found = store::reservation(db, order_id).await?;
    let (reservation, updated_at) = found.ok_or_else(Problem::internal)?;
    Ok(ReservationBody::new(reservation, updated_at))
}

fn some_order(order_id: Segment) -> Result<OrderId, Problem> {
    let order_id = order_id.ok().and_then(|Path(text)| text.parse().ok());
    order_id.ok_or_else(|| Problem::not_found("an order's id is a UUID"))
}

/// What became of an order's goods
///
/// For an operator: `reserved` (put aside), `rejected` (something was missing), `released` (nothing is put aside any
/// more) or `shipped`.
#[utoipa::path(
    get, path = "/reservations/{order_id}",
    params(("order_id" = uuid::Uuid, Path, description = "The order's id")),
    responses(
        (status = 200, body = ReservationBody),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    )
)]
async fn get_reservation(
    State(db): State<Db>,
    order_id: Segment,
) -> Result<axum::Json<ReservationBody>, Problem> {
    let order_id: Option<OrderId> = order_id.ok().and_then(|Path(text)| text.parse().ok());
    let found = match order_id {
        Some(order_id) => store::reservation(&db, order_id).await?,
        None => None,
    };
    let found = found.filter(|(reservation, _)| reservation.state != Reserved::Barred);
    let (reservation, updated_at) = found.ok_or_else(|| {
        Problem::not_found("nothing is known of such an order here; it may not have arrived yet")
    })?;
    Ok(axum::Json(ReservationBody::new(reservation, updated_at)))
}
