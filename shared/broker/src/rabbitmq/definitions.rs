//! The topology as a file for RabbitMQ to load, with a user per service who may do no more than the service does.
//!
//! RabbitMQ's permissions: *configure* is making and deleting, *write* is publishing to an exchange, *read* is consuming
//! from a queue; and a topic permission says with which routing keys one may publish to a topic exchange. Each is a regular expression.

use contracts::{Exchange, Publication};
use serde::Serialize;

use super::topology::{Argument, Kind, Names, Plan};
use crate::Topology;

const VHOST: &str = "/";
/// What nothing matches: a resource has a name.
const NOTHING: &str = "^$";

#[derive(Serialize)]
struct User {
    name: String,
    /// An empty one never matches: passwords are set by whoever runs the broker.
    password_hash: &'static str,
    tags: Vec<&'static str>,
}

#[derive(Serialize)]
struct Permission {
    user: String,
    vhost: &'static str,
    configure: &'static str,
    write: String,
    read: String,
}

#[derive(Serialize)]
struct TopicPermission {
    user: &'static str,
    vhost: &'static str,
    exchange: String,
    write: String,
    read: &'static str,
}

#[derive(Serialize)]
struct Declared<'p> {
    name: &'p str,
    vhost: &'static str,
    #[serde(rename = "type")]
    kind: Kind,
    durable: bool,
    auto_delete: bool,
    internal: bool,
    arguments: Arguments<'p>,
}

#[derive(Serialize)]
struct Queue<'p> {
    name: &'p str,
    vhost: &'static str,
    durable: bool,
    auto_delete: bool,
    arguments: Arguments<'p>,
}

#[derive(Serialize)]
struct Binding<'p> {
    source: &'p str,
    vhost: &'static str,
    destination: &'p str,
    destination_type: &'static str,
    routing_key: &'p str,
    arguments: Arguments<'p>,
}

type Arguments<'p> = std::collections::BTreeMap<&'p str, &'p Argument>;

/// The file, in the form that `rabbitmqctl import_definitions` takes.
///
/// # Errors
/// None that could be made to happen: all of it can be written as JSON.
pub(crate) fn definitions(
    topology: &Topology,
    publications: &[Publication],
    senders: &[(&str, &str)],
) -> serde_json::Result<String> {
    let names = Names::new("");
    let plan = Plan::new(&names, topology);
    // Who has no queue has no user.
    let known = |publication: &&Publication| {
        topology.subscriptions.iter().any(|known| known.queue == publication.service)
    };
    let publications: Vec<Publication> = publications.iter().filter(known).copied().collect();
    let (users, permissions) = users(&names, topology, &publications, senders);
    let sections = [
        section("vhosts", [serde_json::json!({ "name": VHOST })])?,
        section("users", users)?,
        section("permissions", permissions)?,
        section("topic_permissions", topic_permissions(&names, &publications))?,
        section("exchanges", exchanges(&plan))?,
        section("queues", queues(&plan))?,
        section("bindings", bindings(&plan))?,
        // The queues' arguments say everything; what shall change while they exist belongs here.
        section::<()>("policies", [])?,
    ];
    Ok(format!("{{\n{}\n}}\n", sections.join(",\n")))
}

/// A list, one thing a line, so that a change is one in a diff too.
fn section<T: Serialize>(
    name: &str,
    things: impl IntoIterator<Item = T>,
) -> serde_json::Result<String> {
    let lines: Vec<String> = things
        .into_iter()
        .map(|thing| serde_json::to_string(&thing).map(|json| format!("    {json}")))
        .collect::<Result<_, _>>()?;
    if lines.is_empty() {
        return Ok(format!("  \"{name}\": []"));
    }
    Ok(format!("  \"{name}\": [\n{}\n  ]", lines.join(",\n")))
}

/// A user per service; one for people who look after dead letters; and one for everything else.
fn users(
    names: &Names,
    topology: &Topology,
    publications: &[Publication],
    senders: &[(&str, &str)],
) -> (Vec<User>, Vec<Permission>) {
    let (mut users, mut permissions) = (Vec::new(), Vec::new());
    let mut add = |name: &str, tags: Vec<&'static str>, configure, write: String, read: String| {
        let name = name.to_owned();
        users.push(User { name: name.clone(), password_hash: "", tags });
        permissions.push(Permission { user: name, vhost: VHOST, configure, write, read });
    };
    for subscription in &topology.subscriptions {
        let service = subscription.queue;
        let mut write = vec![names.failures(service)];
        if publications.iter().any(|publication| publication.service == service) {
            write.push(names.exchange(Exchange::Events));
        }
        if senders.iter().any(|(sender, _)| *sender == service) {
            write.push(names.exchange(Exchange::Commands));
        }
        // Beside its own queue, to count them: its dead letters and those that wait.
        let own = format!(r"{}(\.dead|\.retry\.[0-9]+)?", literal(&names.queue(service)));
        let read = if subscription.history {
            format!("^({own}|{})$", literal(&names.history()))
        } else {
            format!("^{own}$")
        };
        add(service, vec![], NOTHING, one_of(&write), read);
    }
    let (failures, dead) = (r"\.failures$".to_owned(), r"\.dead$".to_owned());
    add("operator", vec!["monitoring"], NOTHING, failures, dead);
    add("admin", vec!["administrator"], ".*", ".*".to_owned(), ".*".to_owned());
    (users, permissions)
}

/// Who may publish which events.
fn topic_permissions<'p>(
    names: &Names,
    publications: &'p [Publication],
) -> impl Iterator<Item = TopicPermission> + use<'p> {
    let exchange = names.exchange(Exchange::Events);
    publications.iter().map(move |publication| TopicPermission {
        user: publication.service,
        vhost: VHOST,
        exchange: exchange.clone(),
        write: one_of(publication.routing_keys),
        read: NOTHING,
    })
}

/// Matches these names and nothing else.
fn one_of(names: &[impl AsRef<str>]) -> String {
    let names: Vec<String> = names.iter().map(|name| literal(name.as_ref())).collect();
    format!("^({})$", names.join("|"))
}

/// Names here are letters, digits, '-', '_' and '.'.
fn literal(name: &str) -> String {
    name.replace('.', r"\.")
}

fn exchanges(plan: &Plan) -> impl Iterator<Item = Declared<'_>> {
    plan.exchanges.iter().map(|exchange| Declared {
        name: &exchange.name,
        vhost: VHOST,
        kind: exchange.kind,
        durable: true,
        auto_delete: false,
        internal: false,
        arguments: Arguments::new(),
    })
}

fn queues(plan: &Plan) -> impl Iterator<Item = Queue<'_>> {
    plan.queues.iter().map(|queue| Queue {
        name: &queue.name,
        vhost: VHOST,
        durable: true,
        auto_delete: false,
        arguments: queue.arguments.iter().map(|(key, argument)| (*key, argument)).collect(),
    })
}

fn bindings(plan: &Plan) -> impl Iterator<Item = Binding<'_>> {
    plan.bindings.iter().map(|binding| Binding {
        source: &binding.exchange,
        vhost: VHOST,
        destination: &binding.queue,
        destination_type: "queue",
        routing_key: &binding.routing_key,
        arguments: Arguments::new(),
    })
}
