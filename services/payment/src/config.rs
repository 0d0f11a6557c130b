//! The service's settings.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use runtime::Plumbing;

/// Where the HTTP server listens unless it is told otherwise.
pub(crate) const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8081));

/// The configuration of the payment service, by flags or environment.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// What every service has.
    #[command(flatten)]
    pub plumbing: Plumbing,

    /// The card processor.
    #[arg(
        long,
        env = "PROCESSOR_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8084"
    )]
    pub processor: String,

    /// How long the card processor may take for an answer; after that its outcome counts as unknown, and it is asked again.
    #[arg(
        long,
        env = "PROCESSOR_TIMEOUT",
        value_name = "DURATION",
        value_parser = humantime::parse_duration,
        default_value = "5s"
    )]
    pub processor_timeout: Duration,

    /// The pause after the first failure to undo a payment; it doubles with each further one.
    #[arg(
        long,
        env = "REVERSAL_BACKOFF",
        value_name = "DURATION",
        value_parser = humantime::parse_duration,
        default_value = "1s"
    )]
    pub reversal_backoff: Duration,

    /// The longest pause between two tries to undo a payment.
    #[arg(
        long,
        env = "REVERSAL_BACKOFF_MAX",
        value_name = "DURATION",
        value_parser = humantime::parse_duration,
        default_value = "1m"
    )]
    pub reversal_backoff_max: Duration,
}
