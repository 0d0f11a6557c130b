//! Nobody collects the spans.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use super::{all_is_done, traced};
use crate::{
    on_both,
    system::{SERVICES, Setup, checkout, free_port},
};

on_both! { a_collector_that_is_away_costs_only_the_spans }

async fn a_collector_that_is_away_costs_only_the_spans(setup: Setup) {
    // For some nobody is there; for the others somebody who never answers.
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let deaf = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let silent = format!("http://{}", deaf.local_addr().unwrap());
    let mut plan = traced(setup, &nobody);
    for service in ["order", "email"] {
        plan = plan.env(service, "OTEL_EXPORTER_OTLP_ENDPOINT", &silent);
    }
    // Whoever waited for the collector would wait long.
    let mut system = plan.env("all", "OTEL_EXPORTER_OTLP_TIMEOUT", "60000").start().await;
    let stock = system.stock("mug-blue").await;
    let started = Instant::now();
    let order = system.place(&checkout("mug-blue", 1)).await;
    let took = started.elapsed();
    assert!(took < Duration::from_secs(1), "the checkout took {took:?}");
    all_is_done(&system, &order.id, stock).await;
    let started = Instant::now();
    system.stop().await;
    let took = started.elapsed();
    assert!(took < Duration::from_secs(5), "stopping took {took:?}");
    for name in SERVICES {
        let log = system.log(name);
        let complaints: Vec<&str> =
            log.lines().filter(|line| !line.contains(r#""level":"INFO""#)).collect();
        assert!(complaints.len() <= 3, "{name} complains too much: {complaints:#?}");
    }
}
