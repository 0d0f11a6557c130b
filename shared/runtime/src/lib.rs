//! A service's plumbing: configuration, telemetry, HTTP, the relay that moves the outbox to the broker, the
//! loop that handles what a queue delivers, and the orderly end.
//!
//! A service is a function `run(config, listener, shutdown)` that opens a [`Service`], gives it a
//! [`Handler`] and a router, and serves until it is told to stop.

pub mod client;
mod config;
mod crash;
mod gauges;
pub mod http;
mod metrics;
mod program;
mod relay;
mod service;
mod subscriber;
pub mod telemetry;
mod watchdog;

pub use config::{Plumbing, RETRY_DELAYS};
pub use crash::CrashPoint;
pub use http::problem::Problem;
pub use metrics::Metrics;
pub use program::{Program, bind, main, program};
pub use relay::Relay;
pub use service::{Migrations, Service};
pub use store::Chain;
pub use subscriber::{Apply, Failure, Handler, Local, Received, Subscriber};
pub use watchdog::{Pulse, Stuck, Watchdog};
