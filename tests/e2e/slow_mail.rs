//! The mail server down, or slow: the customers don't notice at the checkout, and get their mails when it is back.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    on_both,
    system::{Checkout, Placed, Plan, Setup, System, plain},
};

on_both! { a_mail_server_that_is_down_slows_no_checkout }

/// Checkouts a second.
const LOAD: u32 = 20;
/// How long the mail server stays in one condition.
const SPELL: Duration = Duration::from_secs(3);
/// The conditions take turns, so that what else the machine does meanwhile meets all of them.
const TURNS: usize = 2;
/// What else the machine does can spoil a measurement, but hardly each of so many.
const TRIES: usize = 3;
/// What a p99 may be off by all the same: it is the second worst of a hundred.
const NOISE: Duration = Duration::from_millis(50);

/// What 99 of 100 checkouts took at most, by the condition of the mail server.
#[derive(Debug)]
struct P99 {
    healthy: Duration,
    down: Duration,
    slow: Duration,
}

async fn a_mail_server_that_is_down_slows_no_checkout(setup: Setup) {
    // Enough attempts for a mail to survive all the spells; and the first pause as long as in production, or the attempts alone would
    // keep both cores of a small machine busy.
    let delays = "1s,3s,4s,5s,6s,7s,8s,9s,10s";
    let mut system =
        Plan::new(setup).alone().mixed().env("all", "RETRY_DELAYS", delays).start().await;
    let stocks = system.stocks().await;
    let (mut orders, mut measured) = (Vec::new(), Vec::new());
    while measured.len() < TRIES && !measured.last().is_some_and(P99::is_unchanged) {
        let p99 = measure(&system, &mut orders).await;
        println!("{setup:?}: checkout's p99 by the condition of the mail server: {p99:?}");
        measured.push(p99);
    }
    assert!(measured.last().is_some_and(P99::is_unchanged), "{measured:#?}");

    let placed: Vec<Placed> = orders.iter().map(accepted).collect();
    assert_eq!(system.balance(&stocks, &placed).await, placed.len(), "all are confirmed");
    system.all_run();
}

impl P99 {
    fn of(healthy: &[Checkout], down: &[Checkout], slow: &[Checkout]) -> Self {
        let p99 = |checkouts: &[Checkout]| {
            let mut took: Vec<Duration> = checkouts.iter().map(|checkout| checkout.took).collect();
            took.sort_unstable();
            took[took.len() * 99 / 100]
        };
        Self { healthy: p99(healthy), down: p99(down), slow: p99(slow) }
    }

    fn is_unchanged(&self) -> bool {
        let limit = (self.healthy * 2).max(self.healthy + NOISE);
        self.down <= limit && self.slow <= limit
    }
}

async fn measure(system: &System, orders: &mut Vec<Checkout>) -> P99 {
    let (mut healthy, mut down, mut slow) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        healthy.extend(checkouts_with(system, json!({})).await);
        let without_mails = checkouts_with(system, json!({"down": true})).await;
        for placed in without_mails.iter().map(accepted) {
            assert_eq!(system.mails(&placed.id).await.len(), 0, "the mail server isn't down");
        }
        down.extend(without_mails);
        slow.extend(checkouts_with(system, json!({"latency_ms": 2 * SPELL.as_millis()})).await);
        system.heal().await;
    }
    let p99 = P99::of(&healthy, &down, &slow);
    orders.extend(healthy.into_iter().chain(down).chain(slow));
    p99
}

/// A spell of checkouts with the mail server in this condition, and left so.
async fn checkouts_with(system: &System, mail_server: Value) -> Vec<Checkout> {
    system.fault("mail", mail_server).await;
    let load = system.customers().keep_coming(LOAD, plain);
    sleep(SPELL).await;
    load.end().await
}

fn accepted(checkout: &Checkout) -> Placed {
    checkout.placed().unwrap_or_else(|| panic!("{checkout:?}"))
}
