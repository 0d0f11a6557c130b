//! What is started, and how each part is told where the others are.

use std::{
    ffi::OsString,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use super::{Args, folder::Folder};

/// Everything that runs, the sandbox last: it is stopped last, so that nobody misses it.
pub(crate) const SERVICES: [&str; 5] = ["order", "payment", "inventory", "email", "sandbox"];

/// How one service is started.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// Its name.
    pub(crate) service: &'static str,
    /// What follows `shop run SERVICE`.
    pub(crate) flags: Vec<OsString>,
    /// What mustn't be in the list of processes: URLs with passwords.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// Where it serves HTTP.
    pub(crate) url: String,
    /// The file that its output is appended to.
    pub(crate) log: PathBuf,
}

/// How to start each of [`SERVICES`], in their order.
///
/// # Errors
/// When the data folder can't be named in a URL.
pub(crate) fn plan(args: &Args, folder: &Folder) -> anyhow::Result<Vec<Launch>> {
    let broker = args.place.broker()?;
    let url = |port| format!("http://{}", reachable(args.host, port));
    let ports = &args.ports;
    let mut launches = Vec::new();
    for service in SERVICES {
        let (port, own) = match service {
            "order" => {
                let mut own: Vec<OsString> = Vec::new();
                for (flag, port) in [
                    ("--payment", ports.payment_port),
                    ("--inventory", ports.inventory_port),
                    ("--email", ports.email_port),
                ] {
                    own.extend([flag.into(), url(port).into()]);
                }
                if let Some(deadline) = &args.deadline {
                    own.extend(["--deadline".into(), deadline.into()]);
                }
                (ports.order_port, own)
            }
            "payment" => {
                (ports.payment_port, vec!["--processor".into(), url(ports.sandbox_port).into()])
            }
            "inventory" => (ports.inventory_port, Vec::new()),
            "email" => {
                let smtp = format!("smtp://{}", reachable(args.host, ports.smtp_port));
                (ports.email_port, vec!["--smtp".into(), smtp.into()])
            }
            _ => {
                let smtp = SocketAddr::new(args.host, ports.smtp_port).to_string();
                let data = folder.join("sandbox").into();
                (
                    ports.sandbox_port,
                    vec!["--smtp-listen".into(), smtp.into(), "--data".into(), data],
                )
            }
        };
        let mut flags: Vec<OsString> =
            vec!["--listen".into(), SocketAddr::new(args.host, port).to_string().into()];
        flags.extend(own);
        let mut environment = Vec::new();
        if service != "sandbox" {
            environment.push(("DATABASE_URL", args.place.database(service)?));
            environment.push(("BROKER_URL", broker.clone()));
            if let Some(delays) = &args.retry_delays {
                flags.extend(["--retry-delays".into(), delays.into()]);
            }
        }
        launches.push(Launch {
            service,
            flags,
            environment,
            url: url(port),
            log: folder.log(service),
        });
    }
    Ok(launches)
}

/// Where somebody on this machine reaches what listens there: an address that means "all of them" is no destination.
fn reachable(host: IpAddr, port: u16) -> SocketAddr {
    let host = match host {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    SocketAddr::new(host, port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_reached_at_home() {
        assert_eq!(reachable([0, 0, 0, 0].into(), 1).to_string(), "127.0.0.1:1");
        assert_eq!(reachable(Ipv6Addr::UNSPECIFIED.into(), 1).to_string(), "[::1]:1");
        assert_eq!(reachable([10, 0, 0, 1].into(), 1).to_string(), "10.0.0.1:1");
    }
}
