//! The ports that the services listen on.

use std::net::{IpAddr, SocketAddr, TcpListener};

use anyhow::bail;
use uuid::Uuid;

/// A port for each thing that listens.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Ports {
    /// The order service's port: the shop's own API
    #[arg(long, default_value_t = 8080, value_name = "PORT", value_parser = port())]
    pub(crate) order_port: u16,

    /// The payment service's port
    #[arg(long, default_value_t = 8081, value_name = "PORT", value_parser = port())]
    pub(crate) payment_port: u16,

    /// The inventory service's port
    #[arg(long, default_value_t = 8082, value_name = "PORT", value_parser = port())]
    pub(crate) inventory_port: u16,

    /// The email service's port
    #[arg(long, default_value_t = 8083, value_name = "PORT", value_parser = port())]
    pub(crate) email_port: u16,

    /// The sandbox's port for HTTP
    #[arg(long, default_value_t = 8084, value_name = "PORT", value_parser = port())]
    pub(crate) sandbox_port: u16,

    /// The sandbox's port for mail
    #[arg(long, default_value_t = 2525, value_name = "PORT", value_parser = port())]
    pub(crate) smtp_port: u16,
}

fn port() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..)
}

/// Where free ports are looked for: below those that Linux gives to outgoing connections, so that none of these takes a
/// service's port while the service is down.
const SEARCHED: std::ops::Range<u16> = 12_000..30_000;

impl Ports {
    /// Ports that nobody listens on at the moment.
    ///
    /// # Errors
    /// When there don't seem to be any.
    pub(crate) fn free(host: IpAddr) -> anyhow::Result<Self> {
        let places = u128::from(SEARCHED.end - SEARCHED.start) / 6;
        let mut tried = Ok(());
        for _ in 0..100 {
            // The random part of a UUID.
            let place = u16::try_from(Uuid::now_v7().as_u128() % places)?;
            let first = SEARCHED.start + place * 6;
            let ports = Self {
                order_port: first,
                payment_port: first + 1,
                inventory_port: first + 2,
                email_port: first + 3,
                sandbox_port: first + 4,
                smtp_port: first + 5,
            };
            tried = ports.check(host);
            if tried.is_ok() {
                return Ok(ports);
            }
        }
        tried?;
        bail!("no free ports")
    }

    fn all(&self) -> [(&'static str, u16); 6] {
        [
            ("--order-port", self.order_port),
            ("--payment-port", self.payment_port),
            ("--inventory-port", self.inventory_port),
            ("--email-port", self.email_port),
            ("--sandbox-port", self.sandbox_port),
            ("--smtp-port", self.smtp_port),
        ]
    }

    /// Sees to it that all are free, by listening on all for a moment.
    ///
    /// # Errors
    /// Names every port that isn't free, and the flag that chooses another.
    pub(crate) fn check(&self, host: IpAddr) -> anyhow::Result<()> {
        let mut held: Vec<(&str, u16, TcpListener)> = Vec::new();
        let mut wrong = Vec::new();
        for (flag, port) in self.all() {
            if let Some((other, ..)) = held.iter().find(|(_, taken, _)| *taken == port) {
                wrong.push(format!("port {port} is given twice, by {other} and {flag}"));
                continue;
            }
            match TcpListener::bind(SocketAddr::new(host, port)) {
                Ok(listener) => held.push((flag, port, listener)),
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                    wrong.push(format!("port {port} is taken; choose another with {flag}"));
                }
                Err(error) => {
                    wrong.push(format!("can't listen on {host}, port {port} (of {flag}): {error}"))
                }
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        bail!("{}", wrong.join("\n      "))
    }
}
