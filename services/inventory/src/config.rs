//! The service's settings.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use runtime::Plumbing;

/// Where the service listens when it isn't told.
pub(crate) const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8082));

/// The inventory service's settings: those that every service has.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// Where it listens, and what it stands on.
    #[command(flatten)]
    pub plumbing: Plumbing,
}
