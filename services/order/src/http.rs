//! The order service's HTTP API.

mod cancel;
mod checkout;
mod keys;
mod saga;
mod sync;
mod view;

use std::{sync::Arc, time::Duration};

use ::store::Db;
use runtime::Metrics;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{calls::Callees, checkout::Coupons, moving::Watchers, placing::Placing};

pub(crate) use keys::{InUse, KeysInUse};

/// What the requests need.
pub(crate) struct Shop {
    pub(crate) db: Db,
    pub(crate) placing: Placing,
    pub(crate) coupons: Coupons,
    pub(crate) callees: Callees,
    pub(crate) watchers: Watchers,
    pub(crate) plumbing: Metrics,
    pub(crate) keys: KeysInUse,
    pub(crate) deadline: Duration,
    pub(crate) max_outbox: u64,
}

/// The routes.
pub(crate) fn api(shop: Shop) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(checkout::checkout))
        .routes(routes!(view::order))
        .routes(routes!(cancel::cancel))
        .routes(routes!(saga::list))
        .routes(routes!(saga::show))
        .routes(routes!(saga::retry))
        .routes(routes!(saga::resolve))
        .with_state(Arc::new(shop))
}
