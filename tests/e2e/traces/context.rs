//! Where a trace begins, and that it survives the process in which it began.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::Value;
use testkit::otlp::Collector;
use uuid::Uuid;

use super::{Node, all_is_done, root, trace_of, traced};
use crate::{
    on_both,
    system::{Setup, System, checkout},
};

on_both! {
    a_trace_from_outside_is_continued,
    a_trace_goes_on_after_a_crash,
}

async fn a_trace_from_outside_is_continued(setup: Setup) {
    let collector = Collector::start().await;
    let mut system = traced(setup, &collector.endpoint).start().await;
    let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let continued = place_with(&system, &format!("00-{trace}-{span}-01")).await;
    let malformed = [
        "nonsense",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-5bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-6bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        "ff-7bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ];
    let mut fresh = Vec::new();
    for traceparent in malformed {
        fresh.push(place_with(&system, traceparent).await);
    }
    let unsampled = "8bf92f3577b34da6a3ce929d0e0e4736";
    let unseen = place_with(&system, &format!("00-{unsampled}-{span}-00")).await;
    system.settled(&unseen).await;
    system.stop().await;

    let spans = trace_of(&collector, &continued);
    let above = root(&spans);
    assert_eq!((above.place.trace.as_str(), above.parent.as_deref()), (trace, Some(span)));
    Node::of_trace(&spans);
    for order in &fresh {
        let spans = trace_of(&collector, order);
        let root = root(&spans);
        assert_eq!(root.parent, None);
        assert!(!malformed.iter().any(|traceparent| traceparent.contains(&root.place.trace)));
    }
    let seen = collector.spans().iter().filter(|span| span.place.trace == unsampled).count();
    assert_eq!(seen, 0, "the caller had decided not to record this trace");
}

/// Places an order in this trace, and waits until it is settled.
async fn place_with(system: &System, traceparent: &str) -> String {
    let body = checkout("mug-blue", 1);
    let answer = system
        .post_checkout_with(&body, |request| request.header("traceparent", traceparent))
        .await
        .unwrap();
    assert_eq!(answer.status(), 202, "{traceparent}");
    let order: Value = answer.json().await.unwrap();
    let order = order["id"].as_str().unwrap();
    system.settled(order).await;
    order.to_owned()
}

async fn a_trace_goes_on_after_a_crash(setup: Setup) {
    let collector = Collector::start().await;
    let mut system = traced(setup, &collector.endpoint).start().await;
    let stock = system.stock("mug-blue").await;
    system.stop_service("order").await;
    system.start_service("order", &[("CRASH_AT", "after_commit")]);
    system.service_ready("order").await;
    let trace = "1bf92f3577b34da6a3ce929d0e0e4736";
    let traceparent = format!("00-{trace}-00f067aa0ba902b7-01");
    let body = checkout("mug-blue", 1);
    let answer =
        system.post_checkout_with(&body, |request| request.header("traceparent", traceparent));
    assert!(answer.await.is_err(), "it crashed before it could answer");
    system.wait_for_crash("order").await;
    let order = only_order(&system).await;
    system.start_service("order", &[]);
    all_is_done(&system, &order, stock).await;
    system.stop().await;

    let spans = trace_of(&collector, &order);
    assert!(spans.iter().all(|span| span.place.trace == trace));
    let publish = spans.iter().find(|span| {
        span.attribute("messaging.rabbitmq.destination.routing_key") == "order.placed"
            && span.kind == SpanKind::Producer
    });
    let outbox =
        spans.iter().find(|span| Some(&span.place.span) == publish.unwrap().parent.as_ref());
    let commit = &outbox.unwrap().parent;
    let tops = spans.iter().filter(|span| span.parent == *commit);
    let mut tops: Vec<&str> = tops.map(|span| span.name.as_str()).collect();
    tops.sort_unstable();
    // The spans of the process that was killed are lost; all that hangs below its commit is there.
    assert_eq!(tops, ["outbox", "process email", "process inventory", "process payment"]);
}

/// The id of the only order in the books.
async fn only_order(system: &System) -> String {
    let db = system.database("order").await;
    let (id,) = db.read("SELECT order_id FROM orders").one::<(Uuid,)>().await.unwrap();
    db.close().await;
    id.to_string()
}
