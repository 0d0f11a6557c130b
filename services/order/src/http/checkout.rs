//! `POST /checkout`.

use std::{sync::Arc, time::Duration};

use ::store::idempotency::{Answer, Keyed};
use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use contracts::{Coordination, Line, Money, OrderId, Timestamp};
use runtime::{
    Problem,
    http::{Json, idempotency_key},
    telemetry,
};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tracing::{Instrument as _, Span};
use utoipa::{IntoParams, ToSchema};

use super::{
    Shop,
    keys::{self, InUse},
    sync::{self, Conducted},
};
use crate::{
    checkout::{Checkout, Item, priced_lines, total},
    machine::State as OrderState,
    order::Order,
    placing::{self, KeyedPlacement, Placed, Placement},
};

/// How long all that is read before an order is written may take together: while the database is away, a customer waits this long
/// and once more for the writer.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(2);

/// Who coordinates the order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Style {
    /// Payment and inventory react to the order by themselves.
    #[default]
    Choreography,
    /// The order's saga tells payment and inventory what to do, by messages.
    Orchestration,
    /// The others are called one after the other, and the customer waits.
    Sync,
}

impl From<Style> for Coordination {
    fn from(style: Style) -> Self {
        match style {
            Style::Choreography => Self::Choreography,
            Style::Orchestration => Self::Orchestration,
            Style::Sync => Self::Sync,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    /// Who coordinates the order.
    #[serde(default)]
    #[param(inline)]
    style: Style,
}

/// An accepted order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Accepted {
    #[schema(value_type = uuid::Uuid)]
    id: OrderId,
    #[schema(example = "placed")]
    status: &'static str,
    #[schema(value_type = Total)]
    total: Money,
    links: Links,
}

impl Accepted {
    /// How an order is answered for.
    pub(super) fn of(order: &Order) -> Self {
        Self {
            id: order.id,
            status: order.state.status.as_str(),
            total: order.total.clone(),
            links: Links { order: format!("/orders/{}", order.id) },
        }
    }
}

/// An amount of money.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes `contracts::Money` in the API's documentation")]
pub(super) struct Total {
    /// Minor units of the currency: cents.
    #[schema(example = 2400)]
    amount: i64,
    /// ISO 4217 code.
    #[schema(example = "EUR")]
    currency: String,
}

/// Where to go on.
#[derive(Debug, Serialize, ToSchema)]
struct Links {
    /// The order.
    #[serde(rename = "self")]
    order: String,
}

/// Place an order
///
/// Answers as soon as the order is committed; payment, inventory and email react on their own time. With `style=sync` they are called
/// one after the other, and the answer comes after the last. Send an `Idempotency-Key`, and
/// repeat the request with it when the answer was lost.
#[utoipa::path(
    post,
    path = "/checkout",
    params(
        Parameters,
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless: 1 to 255 characters")
    ),
    request_body = Checkout,
    responses(
        (status = 202, body = Accepted, description = "The order is placed; `Location` says where to follow it. `style=sync`: a repeated request whose first one may still be under way in another process"),
        (status = 201, body = Accepted, description = "`style=sync`: the order is confirmed"),
        (status = 400, body = Problem, description = "The request is malformed"),
        (status = 402, body = Problem, description = "`style=sync`: the card was declined"),
        (status = 408, body = Problem, description = "The body did not arrive in time"),
        (status = 409, body = Problem, description = "A request with this key is being answered; `style=sync`: out of stock"),
        (status = 413, body = Problem, description = "The body is too large"),
        (status = 415, body = Problem, description = "The body is not application/json"),
        (status = 422, body = Problem, description = "A field is wrong, or the key was used for another request"),
        (status = 502, body = Problem, description = "`style=sync`: another service has failed, or payment has charged a wrong amount; `callee` says which, `undone` and `needs_attention` what became of the rest"),
        (status = 504, body = Problem, description = "`style=sync`: another service has not answered in time, the calls took too long, or the checkout was interrupted (`checkout-interrupted`): the order is cancelled"),
        (status = 503, body = Problem, description = "Try again after `Retry-After` seconds. Nothing was written, unless `detail` says that this isn't known"),
    )
)]
pub(super) async fn checkout(
    State(shop): State<Arc<Shop>>,
    parameters: Result<Query<Parameters>, QueryRejection>,
    headers: HeaderMap,
    Json { value: checkout, hash }: Json<Checkout>,
) -> Result<Response, Problem> {
    let Query(Parameters { style }) =
        parameters.map_err(|error| Problem::invalid_field("style", error.body_text()))?;
    if shop.plumbing.outbox_rows() > shop.max_outbox {
        return Err(Problem::unavailable("too many messages wait for the broker; try again"));
    }
    // The same body in another style is another request.
    let hash = [&hash[..], Coordination::from(style).as_str().as_bytes()].concat();
    let keyed = idempotency_key(&headers, "POST /checkout", &hash)?;
    let looking_up = look_up(&shop, keyed.as_ref(), &checkout.items);
    let looked_up = timeout(LOOK_UP_TIMEOUT, looking_up).await.map_err(|_| {
        Problem::unavailable("the database doesn't answer; nothing was written; try again")
    })?;
    let (in_use, lines) = match looked_up? {
        LookedUp::New(in_use, lines) => (in_use, lines),
        LookedUp::Answered(answer) if style == Style::Sync => {
            return sync::repeated(&shop, answer).await;
        }
        LookedUp::Answered(answer) => return Ok(keys::repeat(answer)),
    };
    let percent_off = match &checkout.coupon {
        Some(code) => shop.coupons.percent_off(code).await?,
        None => 0,
    };
    let total = total(&lines, percent_off)?;
    let keyed = keyed.zip(in_use.map(Arc::new));
    let (order, card_token) = order(&shop, checkout, style.into(), lines, total);
    if style == Style::Sync {
        return Conducted { shop, order, card_token, keyed }.answer().await;
    }
    let (location, body) = (format!("/orders/{}", order.id), Accepted::of(&order));
    let before = place(&shop, order, card_token, keyed).await?;
    let accepted = || runtime::http::located(StatusCode::ACCEPTED, &location, body);
    Ok(before.map_or_else(accepted, keys::repeat))
}

/// What the database says of a checkout before it is written.
enum LookedUp {
    /// It is new: its key, held until it is answered, and its lines with their prices.
    New(Option<InUse>, Vec<Line>),
    /// Its key was used before; this was the answer then.
    Answered(Answer),
}

async fn look_up(shop: &Shop, keyed: Option<&Keyed>, items: &[Item]) -> Result<LookedUp, Problem> {
    let in_use = match keyed {
        None => None,
        Some(keyed) => match shop.keys.take(&shop.db, keyed).await? {
            Ok(in_use) => Some(in_use),
            Err(answer) => return Ok(LookedUp::Answered(answer)),
        },
    };
    Ok(LookedUp::New(in_use, priced_lines(&shop.db, items).await?))
}

/// The order that a checkout becomes, and the card's token.
fn order(
    shop: &Shop,
    checkout: Checkout,
    coordination: Coordination,
    lines: Vec<Line>,
    total: Money,
) -> (Order, String) {
    let now = Timestamp::now();
    let kept = coordination == Coordination::Orchestration;
    let deadline = match coordination {
        Coordination::Choreography | Coordination::Orchestration => shop.deadline,
        // By then its calls have ended, or their process has.
        Coordination::Sync => shop.deadline.min(sync::longest(&shop.callees)),
    };
    let order = Order {
        id: OrderId::now_v7(),
        state: OrderState::placed(coordination),
        customer: contracts::Customer {
            email: checkout.customer.email,
            name: checkout.customer.name,
        },
        lines,
        total,
        coupon: checkout.coupon,
        card_token: kept.then(|| checkout.card_token.clone()),
        placed_at: now,
        deadline_at: now + deadline,
        settled_at: None,
        resolution: None,
        traceparent: telemetry::traceparent(&Span::current()),
    };
    (order, checkout.card_token)
}

/// Writes the order; the answer of before, when its key was used.
pub(super) async fn place(
    shop: &Shop,
    order: Order,
    card_token: String,
    keyed: Option<(Keyed, Arc<InUse>)>,
) -> Result<Option<Answer>, Problem> {
    let keyed_placement = keyed.clone().map(|(keyed, in_use)| {
        let answer = Answer {
            fingerprint: keyed.fingerprint,
            status: i32::from(StatusCode::ACCEPTED.as_u16()),
            location: Some(format!("/orders/{}", order.id)),
            body: serde_json::to_string(&Accepted::of(&order)).unwrap_or_default(),
        };
        KeyedPlacement { in_use, answer }
    });
    let commit = tracing::info_span!("commit order", otel.kind = "internal");
    let cause = telemetry::cause(&commit);
    let placement = Placement { order, card_token, cause, keyed: keyed_placement };
    match shop.placing.place(placement).instrument(commit).await {
        Ok(Placed::Now) => Ok(None),
        Ok(Placed::Before(answer)) => match keyed {
            Some((keyed, _)) => keys::to_the_same(&keyed, answer).map(Some),
            None => Err(Problem::internal()),
        },
        Err(placing::Error::Busy) => {
            Err(Problem::unavailable("too many checkouts at once; nothing was written; try again"))
        }
        Err(placing::Error::Store(error)) => Err(error.into()),
    }
}
