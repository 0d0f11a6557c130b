//! The service's settings.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use runtime::Plumbing;

/// Where the service listens when it isn't told.
pub(crate) const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8085));

/// The fraud service's settings.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// Where it listens, and what it stands on.
    #[command(flatten)]
    pub plumbing: Plumbing,

    /// An order with this score or more is flagged.
    #[arg(long, env = "FRAUD_THRESHOLD", value_parser = clap::value_parser!(u32).range(1..), default_value_t = 60)]
    pub threshold: u32,

    /// How much of the past is read when the service starts for the first time. The broker keeps seven days.
    #[arg(long, env = "FRAUD_HISTORY", value_parser = humantime::parse_duration, default_value = "1day")]
    pub history: Duration,
}
