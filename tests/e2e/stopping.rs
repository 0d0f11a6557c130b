//! Services told to stop (SIGTERM) under load: they end in order, and go on where they were.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    on_both,
    system::{Plan, SERVICES, Setup, assorted},
};

on_both! { a_service_that_is_told_to_stop_loses_nothing }

/// Checkouts a second.
const LOAD: u32 = 25;
/// How long the load lasts at least.
const LONG_ENOUGH: Duration = Duration::from_secs(3);
/// The longest that a service may take to end.
const STOP: Duration = Duration::from_secs(10);

async fn a_service_that_is_told_to_stop_loses_nothing(setup: Setup) {
    let mut system = Plan::new(setup).mixed().start().await;
    let stocks = system.stocks().await;
    let customers = system.customers();
    let load = customers.keep_coming(LOAD, assorted);
    // Each at least twice: what was delivered to the one that stopped first must find its way too.
    let started = Instant::now();
    for (n, service) in SERVICES.into_iter().cycle().enumerate() {
        if n >= 2 * SERVICES.len() && started.elapsed() > LONG_ENOUGH {
            break;
        }
        let told = Instant::now();
        system.stop_service(service).await;
        assert!(told.elapsed() < STOP, "{service} took {:?} to stop", told.elapsed());
        system.start_service(service, &[]);
        system.service_ready(service).await;
    }
    let checkouts = load.end().await;

    assert!(checkouts.len() >= 40, "{} checkouts are no load", checkouts.len());
    // What was under way when the order service was told to stop was finished, not turned away.
    for checkout in &checkouts {
        let detail =
            checkout.answer.as_ref().ok().and_then(|answer| answer.body["detail"].as_str());
        assert!(!detail.unwrap_or_default().contains("too many checkouts at once"), "{checkout:?}");
    }
    // The order service was away for a moment; a customer who heard nothing asks again.
    let orders = customers.all_placed(checkouts).await;
    assert!(system.balance(&stocks, &orders).await > orders.len() / 2);
    system.all_run();
}
