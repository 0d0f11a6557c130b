//! A trace as a tree, and the trees that are expected.

use std::{collections::BTreeMap, fmt};

use super::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

/// A span, without what differs from run to run, and those below it, sorted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    label: String,
    below: Vec<Node>,
}

/// A node with these below it.
#[must_use]
pub fn node(label: &str, below: impl IntoIterator<Item = Node>) -> Node {
    let mut below: Vec<Node> = below.into_iter().collect();
    below.sort_unstable();
    Node { label: label.to_owned(), below }
}

impl Node {
    /// The tree of a trace, from the spans that are all of it.
    ///
    /// # Panics
    /// When there isn't exactly one root, or a span's parent is missing.
    pub fn of_trace(spans: &[Span]) -> Self {
        let mut tops = Self::tops(spans);
        let texts: Vec<String> = tops.iter().map(ToString::to_string).collect();
        assert_eq!(tops.len(), 1, "one root is expected, not these:\n{}", texts.join("\n"));
        tops.remove(0)
    }

    /// The trees of whatever spans: each begins with one whose parent is not among them.
    #[must_use]
    pub fn tops(spans: &[Span]) -> Vec<Self> {
        let mut children: BTreeMap<Option<&str>, Vec<&Span>> = BTreeMap::new();
        for span in spans {
            let parent = spans.iter().find(|other| Some(&other.place.span) == span.parent.as_ref());
            children.entry(parent.map(|parent| parent.place.span.as_str())).or_default().push(span);
        }
        let tops = children.get(&None).into_iter().flatten();
        tops.map(|top| Self::of(top, &children)).collect()
    }

    fn of(span: &Span, children: &BTreeMap<Option<&str>, Vec<&Span>>) -> Self {
        let below = children.get(&Some(span.place.span.as_str())).into_iter().flatten();
        node(&label(span), below.map(|child| Self::of(child, children)))
    }

    fn write(&self, depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:width$}{}", "", self.label, width = 2 * depth)?;
        self.below.iter().try_for_each(|child| child.write(depth + 1, f))
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(0, f)
    }
}

/// `payment CONSUMER process payment order.placed`, and what is special about it.
fn label(span: &Span) -> String {
    let kind = match span.kind {
        SpanKind::Internal => "INTERNAL",
        SpanKind::Server => "SERVER",
        SpanKind::Client => "CLIENT",
        SpanKind::Producer => "PRODUCER",
        SpanKind::Consumer => "CONSUMER",
        SpanKind::Unspecified => "UNSPECIFIED",
    };
    let mut label = format!("{} {kind} {}", span.service, span.name);
    let key = span.attribute("messaging.rabbitmq.destination.routing_key");
    if !key.is_empty() {
        label += &format!(" {key}");
    }
    if !["", "1"].contains(&span.attribute("shop.attempt")) {
        label += &format!(", attempt {}", span.attribute("shop.attempt"));
    }
    if !["", "0"].contains(&span.attribute("shop.replays")) {
        label += &format!(", replay {}", span.attribute("shop.replays"));
    }
    if span.failed {
        label += &format!(": {}", span.attribute("error.type"));
    }
    label
}

/// A checkout, with what its commit leads to, and what else is in its trace.
#[must_use]
pub fn checkout(committed: impl IntoIterator<Item = Node>, more: Option<Node>) -> Node {
    let commit = node("order INTERNAL commit order", committed);
    node("order SERVER POST /checkout", [commit].into_iter().chain(more))
}

/// A message on its way from the commit to the broker.
#[must_use]
pub fn sent(service: &str, key: &str) -> Node {
    let publish = node(&format!("{service} PRODUCER publish shop.events {key}"), []);
    node(&format!("{service} INTERNAL outbox"), [publish])
}

/// A message that a service handles, with what that leads to.
#[must_use]
pub fn handled(
    service: &str,
    key: &str,
    note: &str,
    below: impl IntoIterator<Item = Node>,
) -> Node {
    node(&format!("{service} CONSUMER process {service} {key}{note}"), below)
}

/// A message that leads to a mail.
#[must_use]
pub fn mailed(key: &str) -> Node {
    handled("email", key, "", [node("email CLIENT send mail", [])])
}

/// A request to the card processor, which it answers.
#[must_use]
pub fn asked(route: &str, note: &str) -> Node {
    let server = node(&format!("sandbox SERVER POST {route}{note}"), []);
    node(&format!("payment CLIENT POST {route}{note}"), [server])
}

/// The order is confirmed: the receipt is sent, the goods leave.
#[must_use]
pub fn confirmed() -> Vec<Node> {
    let key = "order.confirmed";
    vec![sent("order", key), mailed(key), handled("inventory", key, "", [])]
}

/// Inventory reserves the goods, and the order hears of it.
#[must_use]
pub fn reserved(then: Vec<Node>) -> Node {
    let key = "stock.reserved";
    let told = handled("order", key, "", then);
    handled("inventory", "order.placed", "", [sent("inventory", key), told])
}

/// Payment charges the card, and the order hears of it.
#[must_use]
pub fn charged(note: &str, then: Vec<Node>) -> Node {
    let key = "payment.taken";
    let told = handled("order", key, "", then);
    let charge = asked("/charges", "");
    handled("payment", "order.placed", note, [charge, sent("payment", key), told])
}

/// A checkout that is confirmed: the second of the two facts, whichever it is, does it.
#[must_use]
pub fn confirmed_checkout() -> [Node; 2] {
    let expected = |after_payment, after_stock| {
        let (placed, acknowledged) = (sent("order", "order.placed"), mailed("order.placed"));
        let (payment, stock) = (charged("", after_payment), reserved(after_stock));
        checkout([placed, acknowledged, payment, stock], None)
    };
    [expected(confirmed(), vec![]), expected(vec![], confirmed())]
}

/// A command on its way from the commit to the broker.
#[must_use]
pub fn commanded(owner: &str) -> Node {
    node(
        "order INTERNAL outbox",
        [node(&format!("order PRODUCER publish shop.commands {owner}"), [])],
    )
}

/// An event that a service hears and leaves to the commands.
#[must_use]
pub fn unmoved(service: &str, key: &str) -> Node {
    handled(service, key, "", [])
}

/// Payment charges the card, as it was told to, and the order hears of it and is confirmed.
#[must_use]
pub fn charged_by_command(note: &str) -> Node {
    let told = handled("order", "payment.taken", "", confirmed());
    let below = [asked("/charges", ""), sent("payment", "payment.taken"), told];
    handled("payment", "payment", note, below)
}

/// A checkout that its saga conducts, until it is confirmed; with all attempts to charge the card.
#[must_use]
pub fn orchestrated_checkout(charges: impl IntoIterator<Item = Node>) -> Node {
    let reserved = [commanded("payment")].into_iter().chain(charges);
    let told = handled("order", "stock.reserved", "", reserved);
    let placed = "order.placed";
    let commit = node(
        "order INTERNAL commit order",
        [
            sent("order", placed),
            mailed(placed),
            unmoved("payment", placed),
            unmoved("inventory", placed),
            commanded("inventory"),
            handled("inventory", "inventory", "", [sent("inventory", "stock.reserved"), told]),
        ],
    );
    let steps = ["reserve_stock", "charge_card"]
        .map(|step| node(&format!("order INTERNAL saga {step}"), []));
    node("order SERVER POST /checkout", [commit].into_iter().chain(steps))
}

/// A checkout that is made by calls.
#[must_use]
pub fn called_checkout() -> Node {
    let call = |service: &str, route: &str, below: Vec<Node>| {
        let server = node(&format!("{service} SERVER POST {route}"), below);
        node(&format!("order CLIENT POST {route}"), [server])
    };
    let heard =
        |service: &str, key: &str| [sent(service, key), handled("order", key, "", [])].into_iter();
    let charged = [asked("/charges", "")].into_iter().chain(heard("payment", "payment.taken"));
    node(
        "order SERVER POST /checkout",
        [
            node("order INTERNAL commit order", []),
            call("inventory", "/reservations", heard("inventory", "stock.reserved").collect()),
            call("payment", "/payments", charged.collect()),
            call("email", "/mails/receipt", vec![node("email CLIENT send mail", [])]),
            call("inventory", "/reservations/{order_id}/ship", vec![]),
        ],
    )
}

/// Checks that the spans, which are all of a trace, are one of the expected trees.
///
/// # Panics
/// When they aren't.
pub fn assert_tree(spans: &[Span], expected: &[Node]) {
    let tree = Node::of_trace(spans);
    let expected_text: Vec<String> = expected.iter().map(ToString::to_string).collect();
    assert!(
        expected.contains(&tree),
        "is\n{tree}\nbut should be\n{}",
        expected_text.join("\nor\n")
    );
}
