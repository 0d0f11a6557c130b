//! One order is one trace: the tests collect the spans of all processes, rebuild the tree, and compare it with the expected one.

mod attempts;
mod away;
mod context;
mod conventions;
mod customer;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;
use testkit::otlp::{
    Collector, Span,
    tree::{self, Node, assert_tree},
};

use crate::{
    on_both,
    system::{Plan, Setup, System, eventually},
};
use customer::Customer;

on_both! {
    a_checkout_is_one_trace,
    an_orchestrated_checkout_is_one_trace,
    a_checkout_by_calls_is_one_trace,
    a_refund_is_in_the_orders_trace,
}

/// A system that exports its spans.
fn traced(setup: Setup, endpoint: &str) -> Plan {
    Plan::new(setup)
        .env("all", "OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("sandbox", "OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("all", "OTEL_BSP_SCHEDULE_DELAY", "100")
        .env("sandbox", "OTEL_BSP_SCHEDULE_DELAY", "100")
}

/// The spans of the trace that an order is in. Every span that knows of the order must be in it.
fn trace_of(collector: &Collector, order: &str) -> Vec<Span> {
    let spans = collector.spans();
    let of_order = |span: &&Span| span.attribute("messaging.message.conversation_id") == order;
    let mut traces: Vec<&str> =
        spans.iter().filter(of_order).map(|span| span.place.trace.as_str()).collect();
    traces.sort_unstable();
    traces.dedup();
    let [trace] = traces[..] else { panic!("order {order} is in {} traces", traces.len()) };
    spans.iter().filter(|span| span.place.trace == trace).cloned().collect()
}

/// Waits until all that follows from a checkout has happened: the two mails are there, the goods have left.
async fn all_is_done(system: &System, order: &str, stock: (i64, i64)) {
    let settled = system.settled(order).await;
    assert_eq!(settled["status"], "confirmed", "{settled}");
    system.mails_arrived(order, 2).await;
    eventually("the goods leave", || async {
        (system.stock("mug-blue").await == (stock.0 - 1, stock.1)).then_some(())
    })
    .await;
}

async fn a_checkout_is_one_trace(setup: Setup) {
    let collector = Collector::start().await;
    let mut system = traced(setup, &collector.endpoint).start().await;
    let stock = system.stock("mug-blue").await;
    let customer = Customer::new();
    let order = system.place(&customer.checkout()).await.id;
    all_is_done(&system, &order, stock).await;
    system.stop().await;

    let spans = trace_of(&collector, &order);
    assert_tree(&spans, &tree::confirmed_checkout());
    assert_eq!(root(&spans).parent, None);
    conventions::check(&spans, setup, &order);
    for consumer in spans.iter().filter(|span| span.kind == SpanKind::Consumer) {
        assert_eq!(
            consumer.links.len(),
            1,
            "a first attempt links only to the origin: {consumer:#?}"
        );
    }
    customer.is_unknown(&system, &collector);
}

async fn an_orchestrated_checkout_is_one_trace(setup: Setup) {
    let collector = Collector::start().await;
    let setup = setup.orchestrated();
    let mut system = traced(setup, &collector.endpoint).start().await;
    let stock = system.stock("mug-blue").await;
    let customer = Customer::new();
    let order = system.place(&customer.checkout()).await.id;
    all_is_done(&system, &order, stock).await;
    system.stop().await;

    let spans = trace_of(&collector, &order);
    assert_tree(&spans, &[tree::orchestrated_checkout([tree::charged_by_command("")])]);
    conventions::check(&spans, setup, &order);
    for (step, answer) in [("reserve_stock", "StockReserved"), ("charge_card", "PaymentTaken")] {
        let span = spans.iter().find(|span| span.attribute("shop.saga.step") == step).unwrap();
        assert_eq!(span.attribute("shop.saga.answer"), answer);
        assert_eq!(span.attribute("shop.saga.attempts"), "1");
    }
    customer.is_unknown(&system, &collector);
}

async fn a_checkout_by_calls_is_one_trace(setup: Setup) {
    let collector = Collector::start().await;
    let mut system = traced(setup, &collector.endpoint).start().await;
    let customer = Customer::new();
    let (status, answer) = crate::sync::by_calls(&system, &customer.checkout()).await;
    assert_eq!(status, 201, "{answer}");
    let order = answer["id"].as_str().unwrap().to_owned();
    eventually("the facts are taken note of", || async {
        let timeline = system.order(&order).await["timeline"].as_array()?.len();
        (timeline == 4 && system.metric("order", "shop_attempts_total", "applied").await? >= 12.0)
            .then_some(())
    })
    .await;
    system.stop().await;

    let spans = trace_of(&collector, &order);
    assert_tree(&spans, &[tree::called_checkout()]);
    conventions::check(&spans, setup, &order);
    customer.is_unknown(&system, &collector);
}

/// The SERVER span of the checkout.
fn root(spans: &[Span]) -> &Span {
    spans.iter().find(|span| span.name == "POST /checkout").unwrap()
}

async fn a_refund_is_in_the_orders_trace(setup: Setup) {
    let collector = Collector::start().await;
    let plan = traced(setup, &collector.endpoint).env("payment", "PROCESSOR_TIMEOUT", "30s");
    let mut system = plan.start().await;
    let customer = Customer::new();
    // The processor has the charge for a while before it decides, and so the reversal too: it comes after the charge.
    system.fault("processor", json!({"latency_ms": 6000})).await;
    let order = system.place(&customer.checkout()).await.id;
    system.charge_is_under_way().await;
    eventually("the goods are reserved", || async {
        (system.order(&order).await["stock"] == "reserved").then_some(())
    })
    .await;
    assert_eq!(system.cancel(&order).await.status(), 202);
    assert_eq!(system.settled(&order).await["payment"], "refunded");
    system.mails_arrived(&order, 2).await;
    system.stop().await;

    let spans = trace_of(&collector, &order);
    assert_tree(&spans, &[cancelled()]);
    conventions::check(&spans, setup, &order);
    customer.is_unknown(&system, &collector);

    let all = collector.spans();
    let request = all.iter().find(|span| span.name == "POST /orders/{id}/cancel").unwrap();
    let cancel = spans.iter().find(|span| span.name == "cancel order").unwrap();
    assert_eq!(
        cancel.links.as_slice(),
        std::slice::from_ref(&request.place),
        "the request that asked for it"
    );
    assert_eq!(
        request.links.as_slice(),
        std::slice::from_ref(&cancel.place),
        "what the request led to"
    );
}

/// A checkout that is cancelled while its card is being charged.
fn cancelled() -> Node {
    use tree::{asked, handled, mailed, node, sent};
    let (placed, key) = ("order.placed", "order.cancelled");
    let charge = handled("payment", placed, "", [asked("/charges", "")]);
    let reversal = node(
        "payment INTERNAL reverse payment",
        [
            asked("/charges/{key}/reverse", ""),
            sent("payment", "payment.refunded"),
            handled("order", "payment.refunded", "", []),
        ],
    );
    let released =
        [sent("inventory", "stock.released"), handled("order", "stock.released", "", [])];
    let cancel = node(
        "order INTERNAL cancel order",
        [
            sent("order", key),
            mailed(key),
            handled("payment", key, "", [reversal]),
            handled("inventory", key, "", released),
        ],
    );
    tree::checkout(
        [sent("order", placed), mailed(placed), tree::reserved(vec![]), charge],
        Some(cancel),
    )
}
