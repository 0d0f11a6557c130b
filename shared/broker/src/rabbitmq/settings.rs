//! Which brokers, how they are connected to, and what must exist in them.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use contracts::Subscription;
use lapin::{Connection, ConnectionProperties, uri::AMQPUri};
use rand::RngExt as _;
use tokio::time::timeout;

use super::{
    declare, lossy,
    outages::Troubles,
    topology::{Names, Plan},
};
use crate::{Error, Result, Topology};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long connecting to one of several nodes may take: the next may be better.
const NODE_TIMEOUT: Duration = Duration::from_secs(2);
/// Seconds between heartbeats: a connection on which nothing comes for twice as long is dead.
const HEARTBEAT: u16 = 10;
/// Bytes of a frame at most; a larger body takes several. lapin keeps buffers of 64 frames for each connection: with the usual
/// 128 KiB those are 8 MiB.
const FRAME_MAX: u32 = 32 * 1024;

/// Which brokers, and what must exist in them.
#[derive(Debug)]
pub(super) struct Settings {
    /// The nodes of one cluster; at least one.
    nodes: Vec<AMQPUri>,
    /// Which of them the next connection tries first.
    next: AtomicUsize,
    names: Names,
    topology: Topology,
    /// Whether the program makes what is missing, or only checks that it is there.
    declares: bool,
    troubles: Troubles,
}

impl Settings {
    /// From `amqp://user:password@host:port,host:port/vhost?namespace=abc&declare=false`. The namespace, ours, is put before
    /// the name of every exchange and queue, so that several shops or tests can share a broker.
    pub(super) fn parse(url: &str, topology: Topology) -> Result<Self> {
        let (url, query) = url.split_once('?').unwrap_or((url, ""));
        let mut theirs = Vec::new();
        let (mut namespace, mut declares) = ("", true);
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("namespace", value)) => namespace = value,
                Some(("declare", value)) => {
                    declares = value
                        .parse()
                        .map_err(|_| Error::Url("declare= takes true or false".to_owned()))?;
                }
                _ => theirs.push(pair),
            }
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !namespace.chars().all(plain) || namespace.len() > 64 {
            return Err(Error::Url(
                "a namespace is up to 64 letters, digits, '-', '_' and '.'".to_owned(),
            ));
        }
        let nodes = nodes(url, &theirs.join("&"))?;
        Ok(Self {
            next: AtomicUsize::new(rand::rng().random_range(0..nodes.len())),
            nodes,
            names: Names::new(namespace),
            topology,
            declares,
            troubles: Troubles::default(),
        })
    }

    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    pub(super) fn troubles(&self) -> &Troubles {
        &self.troubles
    }

    /// Everything that the topology needs.
    pub(super) fn plan(&self) -> Plan {
        Plan::new(&self.names, &self.topology)
    }

    /// The subscription of a queue, if this program knows of it.
    pub(super) fn subscription(&self, queue: &str) -> Option<&Subscription> {
        self.topology.subscriptions.iter().find(|subscription| subscription.queue == queue)
    }

    /// The retry queue whose delay is nearest to the asked one; none when the topology has no delays.
    pub(super) fn nearest_retry_queue(&self, queue: &str, delay: Duration) -> Option<String> {
        let delays = self.topology.retry_delays.iter();
        let nearest = delays.min_by_key(|declared| declared.abs_diff(delay))?;
        Some(self.names.retry(queue, *nearest))
    }

    /// A new connection to a broker that has what it is made for: the reader of a queue needs more than others.
    ///
    /// Of several nodes each connection tries another one first, so that the connections are spread over them, and the next
    /// at once when one is away.
    pub(super) async fn connect(&self, purpose: &str, queue: Option<&str>) -> Result<Connection> {
        let first = self.next.fetch_add(1, Ordering::Relaxed) % self.nodes.len();
        let (mut away, mut refused) = (Vec::new(), None);
        for node in self.nodes.iter().cycle().skip(first).take(self.nodes.len()) {
            match self.connect_to(node, purpose, queue).await {
                Ok(connection) => return Ok(connection),
                Err(Error::Unavailable(reason)) if self.nodes.len() > 1 => {
                    away.push(format!("{}: {reason}", node.authority.host));
                }
                Err(error @ Error::Unavailable(_)) => return Err(error),
                // This is what somebody must see to, whatever else is wrong.
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.unwrap_or_else(|| Error::Unavailable(away.join("; "))))
    }

    async fn connect_to(
        &self,
        node: &AMQPUri,
        purpose: &str,
        queue: Option<&str>,
    ) -> Result<Connection> {
        let program = std::env::current_exe().ok();
        let program = program.as_deref().and_then(|path| path.file_name()).unwrap_or_default();
        let name = format!("{} {} {purpose}", program.to_string_lossy(), std::process::id());
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connecting = lossy::connect(node.clone(), properties);
        let limit = if self.nodes.len() > 1 { NODE_TIMEOUT } else { CONNECT_TIMEOUT };
        let connection = timeout(limit, connecting)
            .await
            .map_err(|_| Error::Unavailable(format!("no connection within {limit:?}")))??;
        if self.declares {
            declare::declare(&connection, &self.plan()).await?;
        } else {
            declare::check(&connection, &self.needed(queue)).await?;
        }
        Ok(connection)
    }

    /// What a connection needs of the topology. Others' queues are no business of a program that may not declare them.
    fn needed(&self, queue: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        // Who knows of no subscriptions publishes nothing.
        if !self.topology.subscriptions.is_empty() {
            plan.add_exchanges(&self.names);
        }
        if let Some(queue) = queue {
            plan.add_queues(&self.names, queue, &self.topology.retry_delays);
        }
        plan
    }

    /// Makes the whole topology, or checks that it is there.
    pub(super) async fn declare(&self, connection: &Connection) -> Result<()> {
        if self.declares {
            declare::declare(connection, &self.plan()).await
        } else {
            declare::check(connection, &self.plan()).await
        }
    }
}

/// The nodes of `amqp://user:password@host:port,host:port/vhost`.
fn nodes(url: &str, query: &str) -> Result<Vec<AMQPUri>> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("amqp", url));
    if rest.contains("://") {
        return Err(Error::Url(
            "several nodes are named in one URL: amqp://user:password@one:5672,other:5672/vhost"
                .to_owned(),
        ));
    }
    let (authority, vhost) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    if hosts.contains(',') && hosts.split(',').any(str::is_empty) {
        return Err(Error::Url(format!("one of the nodes in {hosts:?} has no name")));
    }
    let node = |host| {
        let mut uri: AMQPUri = format!("{scheme}://{user}{host}{vhost}?{query}")
            .parse()
            .map_err(|error| Error::Url(format!("the AMQP URL can't be read: {error}")))?;
        if uri.vhost.is_empty() {
            uri.vhost = "/".to_owned(); // "amqp://host/" is meant like "amqp://host"
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        uri.query.frame_max.get_or_insert(FRAME_MAX);
        Ok(uri)
    };
    hosts.split(',').map(node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Result<Settings> {
        Settings::parse(url, Topology::default())
    }

    #[test]
    fn a_url_names_one_node_or_several_with_everything_else_once() {
        let settings =
            parsed("amqp://me:a,b%40c@one:1,two,three:3/shop?declare=false&namespace=x").unwrap();
        let nodes: Vec<_> = settings.nodes.iter().map(|node| &node.authority).collect();
        let hosts: Vec<_> = nodes.iter().map(|node| (node.host.as_str(), node.port)).collect();
        assert_eq!(hosts, [("one", 1), ("two", 5672), ("three", 3)]);
        assert!(nodes.iter().all(|node| node.userinfo.username == "me"));
        assert!(nodes.iter().all(|node| node.userinfo.password == "a,b@c"));
        assert!(settings.nodes.iter().all(|node| node.vhost == "shop"));
        assert!(!settings.declares);
        assert_eq!(settings.names.queue("payment"), "x.payment");

        let plain = parsed("amqp://localhost?heartbeat=5").unwrap();
        assert_eq!((plain.nodes.len(), plain.nodes[0].query.heartbeat), (1, Some(5)));
        assert!(plain.declares);
        assert_eq!((plain.nodes[0].vhost.as_str(), plain.names.dead("a")), ("/", "a.dead".into()));
        assert_eq!(parsed("amqp://a:b@rabbitmq:5672?declare=false").unwrap().nodes[0].vhost, "/");
    }

    #[test]
    fn a_url_that_cant_be_used_says_why_and_not_its_password() {
        for (url, why) in [
            ("amqp://a:secret@one,/", "has no name"),
            ("amqp://a:secret@one,amqp://a:secret@two", "named in one URL"),
            ("amqp://a:secret@one:x", "can't be read"),
            ("amqp://a:secret@one?declare=no", "true or false"),
            ("amqp://a:secret@one?namespace=a/b", "a namespace is"),
        ] {
            let Err(Error::Url(said)) = parsed(url) else { panic!("{url} was taken") };
            assert!(said.contains(why) && !said.contains("secret"), "{said}");
        }
    }
}
