//! The order service's settings.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use runtime::Plumbing;

use crate::moving::Pace;

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

    /// Where the inventory service is; only for orders that are made by calls.
    #[arg(
        long,
        env = "INVENTORY_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8082"
    )]
    pub inventory: String,

    /// Where the email service is; only for orders that are made by calls.
    #[arg(long, env = "EMAIL_URL", value_name = "URL", default_value = "http://127.0.0.1:8083")]
    pub email: String,

    /// How long each call of an order that is made by calls may take: longer than those who are called wait in turn for the card
    /// processor, for a refund (2 s at payment) and for the mail server.
    #[arg(long, env = "CALL_TIMEOUT", value_parser = humantime::parse_duration, default_value = "15s")]
    pub call_timeout: Duration,

    /// A step of a saga that isn't answered by then is given up, and the order cancelled.
    #[arg(long, env = "STEP_TIMEOUT", value_parser = humantime::parse_duration, default_value = "18m")]
    pub step_timeout: Duration,

    /// When a saga asks once more for what must be undone; the pause doubles each time.
    #[arg(long, env = "COMPENSATION_RETRY", value_parser = humantime::parse_duration, default_value = "1m")]
    pub compensation_retry: Duration,

    /// The longest such pause.
    #[arg(long, env = "COMPENSATION_RETRY_MAX", value_parser = humantime::parse_duration, default_value = "10m")]
    pub compensation_retry_max: Duration,

    /// With so many messages in the outbox, checkouts are refused until it has drained.
    #[arg(long, env = "MAX_OUTBOX", default_value_t = 200_000)]
    pub max_outbox: u64,
}

impl Config {
    pub(crate) const fn pace(&self) -> Pace {
        Pace {
            step_timeout: self.step_timeout,
            compensation_retry: self.compensation_retry,
            compensation_retry_max: self.compensation_retry_max,
        }
    }
}
