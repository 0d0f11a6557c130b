//! What the sandbox is told when it starts.

use std::{net::SocketAddr, path::PathBuf};

/// The configuration of the sandbox, by flags or environment.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// Where the card processor, the ledger, the mails and the faults are served over HTTP
    #[arg(long, env = "SANDBOX_LISTEN", default_value = "127.0.0.1:8084", value_name = "ADDRESS")]
    pub listen: SocketAddr,

    /// Where the mail server takes mail by SMTP
    #[arg(
        long,
        env = "SANDBOX_SMTP_LISTEN",
        default_value = "127.0.0.1:2525",
        value_name = "ADDRESS"
    )]
    pub smtp_listen: SocketAddr,

    /// The folder of the journals that make ledger and mails durable
    #[arg(long, env = "SANDBOX_DATA", default_value = "./data/sandbox", value_name = "FOLDER")]
    pub data: PathBuf,
}
