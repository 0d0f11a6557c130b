//! What must hold of every span: OpenTelemetry's semantic conventions, parents, links and times.

use std::collections::HashMap;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use testkit::otlp::{Span, SpanRef};

use crate::system::{Ground, Setup};

/// Checks the spans that are all of an order's trace.
pub(crate) fn check(spans: &[Span], setup: Setup, order: &str) {
    let by_id: HashMap<&str, &Span> =
        spans.iter().map(|span| (span.place.span.as_str(), span)).collect();
    assert_eq!(by_id.len(), spans.len(), "span ids repeat");
    for span in spans {
        check_resource(span);
        assert_eq!(span.failed, !span.attribute("error.type").is_empty(), "{span:#?}");
        match span.kind {
            SpanKind::Server => check_server(span),
            SpanKind::Client => check_client(span),
            SpanKind::Producer => check_message(span, setup, order, ["publish", "send"], ""),
            SpanKind::Consumer => {
                let queue = format!(":{}", span.service);
                check_message(span, setup, order, ["process", "process"], &queue);
                check_origin(span, spans, &by_id);
            }
            SpanKind::Internal | SpanKind::Unspecified => {}
        }
        assert!(span.time.0 <= span.time.1, "ends before it starts: {span:#?}");
        if let Some(parent) = span.parent.as_ref().and_then(|id| by_id.get(id.as_str())) {
            check_times(span, parent);
        }
    }
}

fn check_resource(span: &Span) {
    assert_eq!(span.resource["service.namespace"], "shop");
    for name in ["service.version", "service.instance.id"] {
        assert!(span.resource.contains_key(name), "{:?}", span.resource);
    }
}

fn check_attributes(span: &Span, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(span.attribute(name), *value, "{name} of {span:#?}");
    }
}

fn check_has(span: &Span, names: &[&str]) {
    for name in names {
        assert!(!span.attribute(name).is_empty(), "{name} is missing in {span:#?}");
    }
}

fn check_server(span: &Span) {
    check_has(span, &["http.request.method", "http.route", "http.response.status_code"]);
    check_has(span, &["url.path", "url.scheme"]);
    let name =
        format!("{} {}", span.attribute("http.request.method"), span.attribute("http.route"));
    assert_eq!(span.name, name);
    check_status(span);
}

fn check_client(span: &Span) {
    check_has(span, &["server.address", "server.port"]);
    if span.name == "send mail" {
        return check_attributes(span, &[("network.protocol.name", "smtp")]);
    }
    check_has(span, &["http.request.method", "http.response.status_code", "url.full"]);
    check_status(span);
}

fn check_status(span: &Span) {
    let status: u16 = span.attribute("http.response.status_code").parse().unwrap();
    let bad = if span.kind == SpanKind::Server { 500 } else { 400 };
    assert_eq!(span.failed, status >= bad, "{span:#?}");
}

fn check_message(span: &Span, setup: Setup, order: &str, operation: [&str; 2], queue: &str) {
    let key = span.attribute("messaging.rabbitmq.destination.routing_key");
    assert!(!key.is_empty(), "{span:#?}");
    // A command's key is its owner's name.
    let exchange = if key.contains('.') { "shop.events" } else { "shop.commands" };
    let system = if setup.ground == Ground::Servers { "rabbitmq" } else { "table" };
    check_attributes(
        span,
        &[
            ("messaging.system", system),
            ("messaging.operation.name", operation[0]),
            ("messaging.operation.type", operation[1]),
            ("messaging.destination.name", &format!("{exchange}:{key}{queue}")),
            ("messaging.message.conversation_id", order),
        ],
    );
    check_has(span, &["messaging.message.id"]);
}

/// A message is handled below the span in which it was created, which is where its way through the outbox hangs too, and links
/// to it.
fn check_origin(consumer: &Span, spans: &[Span], by_id: &HashMap<&str, &Span>) {
    let id = consumer.attribute("messaging.message.id");
    let published: Vec<&Span> = spans
        .iter()
        .filter(|span| {
            span.kind == SpanKind::Producer && span.attribute("messaging.message.id") == id
        })
        .collect();
    let [publish] = published[..] else {
        panic!("{} publish spans for {consumer:#?}", published.len());
    };
    let outbox = by_id[publish.parent.as_deref().unwrap()];
    assert_eq!(outbox.parent, consumer.parent, "the creation context of {consumer:#?}");
    let created =
        SpanRef { trace: consumer.place.trace.clone(), span: consumer.parent.clone().unwrap() };
    assert_eq!(consumer.links.first(), Some(&created), "{consumer:#?}");
    assert!(publish.time.0 <= consumer.time.0, "handled before it was published: {consumer:#?}");
}

fn check_times(span: &Span, parent: &Span) {
    assert!(parent.time.0 <= span.time.0, "{span:#?}\nstarts before\n{parent:#?}");
    // What a message leads to goes on after its cause has ended; a call doesn't.
    let within = match span.kind {
        SpanKind::Client | SpanKind::Server | SpanKind::Producer => true,
        SpanKind::Consumer => false,
        SpanKind::Internal | SpanKind::Unspecified => span.name == "commit order",
    };
    assert!(!within || span.time.1 <= parent.time.1, "{span:#?}\noutlasts\n{parent:#?}");
}
