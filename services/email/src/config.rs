//! What the service is told when it starts.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use lettre::message::Mailbox;
use runtime::Plumbing;
use url::Url;

/// Where the service listens when nobody says otherwise.
pub(crate) const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8083);

/// The configuration of the email service, by flags or environment.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// What every service has.
    #[command(flatten)]
    pub plumbing: Plumbing,

    /// The mail server: smtps://user:password@host, smtp://…?tls=required (STARTTLS), or smtp://host:port (in clear).
    #[arg(
        long,
        env = "SMTP_URL",
        value_name = "URL",
        hide_env_values = true,
        default_value = "smtp://127.0.0.1:2525"
    )]
    pub smtp: Url,

    /// How long it may take until a mail is handed over, connecting included. Twice this time after a crash, another replica sends the
    /// mails that it interrupted.
    #[arg(
        long,
        env = "SMTP_TIMEOUT",
        value_name = "DURATION",
        value_parser = humantime::parse_duration,
        default_value = "10s"
    )]
    pub smtp_timeout: Duration,

    /// How long the mail server may take to say whether it has accepted a mail: ten minutes by RFC 5321 (4.5.3.2.6), since giving up
    /// earlier sends it again.
    #[arg(
        long,
        env = "SMTP_ACCEPTANCE_TIMEOUT",
        value_name = "DURATION",
        value_parser = humantime::parse_duration,
        default_value = "10m"
    )]
    pub smtp_acceptance_timeout: Duration,

    /// Connections to the mail server at most: so many mails are sent at a time.
    #[arg(
        long,
        env = "SMTP_CONNECTIONS",
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u16).range(1..),
        default_value_t = 16
    )]
    pub smtp_connections: u16,

    /// Whom the mails are from; its domain ends each Message-ID.
    #[arg(
        long,
        env = "MAIL_FROM",
        value_name = "MAILBOX",
        default_value = "The Shop <orders@shop.example.com>"
    )]
    pub mail_from: Mailbox,
}
