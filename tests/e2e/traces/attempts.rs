//! A message that is handled again, or can't be handled at all, stays in its trace.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;
use testkit::otlp::{Collector, Span, SpanRef};

use super::{Customer, all_is_done, assert_tree, conventions, trace_of, traced, tree};
use crate::{
    on_both, poison,
    system::{Setup, eventually},
};

on_both! {
    an_attempt_links_to_the_one_before_and_a_replay_to_the_failure,
    a_commands_attempts_and_replay_are_linked_too,
    what_nobody_can_read_is_in_its_trace,
}

async fn an_attempt_links_to_the_one_before_and_a_replay_to_the_failure(setup: Setup) {
    let collector = Collector::start().await;
    let plan = traced(setup, &collector.endpoint).env("all", "RETRY_DELAYS", "100ms");
    let mut system = plan.start().await;
    let stock = system.stock("mug-blue").await;
    let customer = Customer::new();
    system.fault("processor", json!({"down": true})).await;
    let order = system.place(&customer.checkout()).await.id;
    let letter =
        eventually("payment gives up", || async { system.dead_list("payment").await.pop() }).await;
    system.heal().await;
    system.dead_prints(&["replay", letter["id"].as_str().unwrap()]).await;
    all_is_done(&system, &order, stock).await;
    system.stop().await;

    let spans = trace_of(&collector, &order);
    let failed =
        |note| tree::handled("payment", "order.placed", note, [tree::asked("/charges", ": 503")]);
    let replayed = tree::charged(", replay 1", tree::confirmed());
    assert_tree(
        &spans,
        &[tree::checkout(
            [
                tree::sent("order", "order.placed"),
                tree::mailed("order.placed"),
                tree::reserved(vec![]),
                failed(": transient"),
                failed(", attempt 2: dead_letter"),
                replayed,
            ],
            None,
        )],
    );
    conventions::check(&spans, setup, &order);
    let attempts = attempts(&spans);
    let [first, second, replay] = attempts[..] else { panic!("{attempts:#?}") };
    let origin = first.links[0].clone();
    assert_eq!(first.links, std::slice::from_ref(&origin));
    assert_eq!(second.links, [origin.clone(), first.place.clone()]);
    assert_eq!(
        replay.links,
        [origin.clone(), second.place.clone()],
        "the failure that it is a replay of"
    );
    let told = letter["traceparent"].as_str().unwrap();
    assert_eq!(SpanRef::of_traceparent(told), second.place, "an operator finds the failure");
    check_log(&system.log("payment"), &origin.trace);
    customer.is_unknown(&system, &collector);
}

async fn a_commands_attempts_and_replay_are_linked_too(setup: Setup) {
    let collector = Collector::start().await;
    let setup = setup.orchestrated();
    let plan = traced(setup, &collector.endpoint).env("all", "RETRY_DELAYS", "100ms");
    let mut system = plan.start().await;
    let stock = system.stock("mug-blue").await;
    let customer = Customer::new();
    system.fault("processor", json!({"down": true})).await;
    let order = system.place(&customer.checkout()).await.id;
    let letter =
        eventually("payment gives up", || async { system.dead_list("payment").await.pop() }).await;
    assert_eq!(letter["routing_key"], "payment", "it is the command");
    system.heal().await;
    system.dead_prints(&["replay", letter["id"].as_str().unwrap()]).await;
    all_is_done(&system, &order, stock).await;
    system.stop().await;

    let spans = trace_of(&collector, &order);
    let failed =
        |note| tree::handled("payment", "payment", note, [tree::asked("/charges", ": 503")]);
    let charged = [
        failed(": transient"),
        failed(", attempt 2: dead_letter"),
        tree::charged_by_command(", replay 1"),
    ];
    assert_tree(&spans, &[tree::orchestrated_checkout(charged)]);
    conventions::check(&spans, setup, &order);
    let mut attempts = attempts(&spans);
    // The event, which asks for nothing where a saga says what to do.
    attempts
        .retain(|span| span.attribute("messaging.rabbitmq.destination.routing_key") == "payment");
    let [first, second, replay] = attempts[..] else { panic!("{attempts:#?}") };
    let origin = first.links[0].clone();
    assert_eq!(second.links, [origin.clone(), first.place.clone()]);
    assert_eq!(replay.links, [origin, second.place.clone()]);
    customer.is_unknown(&system, &collector);
}

/// Checks that each failure is reported once, with its trace.
fn check_log(log: &str, trace: &str) {
    for report in ["the attempt failed", "the message is a dead letter"] {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(report)).collect();
        assert_eq!(lines.len(), 1, "{report:?} in {log}");
        assert!(lines[0].contains(trace), "{trace} is not in {}", lines[0]);
    }
}

/// Payment's attempts to handle the placement, one after the other.
fn attempts(spans: &[Span]) -> Vec<&Span> {
    let mut attempts: Vec<&Span> =
        spans.iter().filter(|span| span.name == "process payment").collect();
    attempts.sort_unstable_by_key(|span| span.time);
    attempts
}

async fn what_nobody_can_read_is_in_its_trace(setup: Setup) {
    let collector = Collector::start().await;
    let mut system = traced(setup, &collector.endpoint).start().await;
    let traceparent = "00-2bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let customer = Customer::new();
    let mut message =
        poison::envelope("com.example.shop.order.placed.v2", "/order", &customer.checkout());
    message["traceparent"] = json!(traceparent);
    let readers = ["email", "inventory", "payment"];
    poison::put(&system.broker().await, "order.placed", message.to_string()).await;
    for service in readers {
        eventually(&format!("{service} gives up"), || async {
            system.dead_list(service).await.pop()
        })
        .await;
    }
    system.stop().await;

    let origin = SpanRef::of_traceparent(traceparent);
    let mut spans = collector.spans();
    spans.retain(|span| span.place.trace == origin.trace);
    spans.sort_unstable_by(|a, b| a.service.cmp(&b.service));
    assert_eq!(spans.iter().map(|span| span.service.as_str()).collect::<Vec<_>>(), readers);
    for span in &spans {
        assert_eq!(
            (span.kind, span.name.as_str()),
            (SpanKind::Consumer, format!("process {}", span.service).as_str())
        );
        assert_eq!(span.parent.as_ref(), Some(&origin.span));
        assert_eq!(span.links, std::slice::from_ref(&origin));
        assert_eq!((span.failed, span.attribute("error.type")), (true, "dead_letter"));
        assert_eq!(span.attribute("messaging.message.id"), message["id"]);
    }
    customer.is_unknown(&system, &collector);
}
