//! The order service's settings.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use runtime::Plumbing;

/// Where the service listens unless it is told otherwise.
pub(crate) const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// The order service's settings.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// What every service has.
    #[command(flatten)]
    pub plumbing: Plumbing,

    /// Where the payment service is: it knows the coupons.
    #[arg(long, env = "PAYMENT_URL", value_name = "URL", default_value = "http://127.0.0.1:8081")]
    pub payment: String,

    /// How long a checkout waits for the answer about a coupon.
    #[arg(long, env = "COUPON_TIMEOUT", value_parser = humantime::parse_duration, default_value = "300ms")]
    pub coupon_timeout: Duration,

    /// An order that isn't confirmed by then is cancelled.
    #[arg(long, env = "ORDER_DEADLINE", value_parser = humantime::parse_duration, default_value = "20m")]
    pub deadline: Duration,

    /// With so many messages in the outbox, checkouts are refused until it has drained.
    #[arg(long, env = "MAX_OUTBOX", default_value_t = 200_000)]
    pub max_outbox: u64,
}
