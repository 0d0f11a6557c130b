//! Many orders by several clients, each of which sends one checkout at a time.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{bail, ensure};
use tokio::time::{Instant, sleep};

use super::{
    Args,
    running::{self, Running},
};
use crate::{
    measured::{Load, Measured, Quantiles},
    process::{cores, used},
};

/// How often it is asked how far the system is, after the last checkout was answered.
const POLL: Duration = Duration::from_millis(20);
/// Without any progress for so long, it is stuck.
const STUCK: Duration = Duration::from_secs(60);
/// Orders of a warm-up, per client, and at least and at most.
const WARM_UP: (usize, usize, usize) = (50, 300, 3_000);
/// Orders of a measurement at least and at most.
const ORDERS: (f64, f64) = (100.0, 100_000.0);

/// Warms up, measures, checks the result, and prints it.
pub(super) async fn measure(args: &Args, system: &Running, clients: usize) -> anyhow::Result<()> {
    let (per_client, least, most) = WARM_UP;
    let warm = Orders::place(system, clients, (clients * per_client).clamp(least, most)).await?;
    let orders = warm.orders as f64 / warm.settled.as_secs_f64() * args.seconds;
    let orders = orders.clamp(ORDERS.0, ORDERS.1) as usize;
    let processes = system.processes()?;
    let (before, cores_before) = (processes.cpu()?, cores()?);
    let placed = Orders::place(system, clients, orders).await?;
    let (after, machine) = (processes.cpu()?, cores()? - cores_before);
    let rate = orders as f64 / placed.settled.as_secs_f64();
    eprintln!("{}: {clients} clients, {orders} orders, {rate:.0} settled per second", args.setup());
    let load = Load {
        setup: args.setup(),
        clients,
        orders,
        checkout_ms: Quantiles::of(placed.checkouts),
        placed: placed.placed.as_secs_f64(),
        settled: placed.settled.as_secs_f64(),
        done: placed.done.as_secs_f64(),
        cpu: used(&before, &after),
        machine,
    };
    Ok(Measured::Load(load).print()?)
}

/// Orders that are done with, and how long they took from the first checkout on.
struct Orders {
    orders: usize,
    /// Milliseconds of each checkout.
    checkouts: Vec<f64>,
    placed: Duration,
    settled: Duration,
    done: Duration,
}

/// How far the system is, in all its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Far {
    settled: usize,
    confirmed: usize,
    /// Messages about orders that inventory has applied: two for each that is confirmed.
    inventory: usize,
    /// Messages that email has, a mail sent for each: two as well.
    email: usize,
}

impl Far {
    async fn now(system: &Running) -> anyhow::Result<Self> {
        let orders = |status| system.metric("order", "shop_orders_total", status);
        let applied =
            |service| system.metric(service, "shop_attempts_total", "outcome=\"applied\"");
        Ok(Self {
            settled: orders("status=\"settled\"").await?,
            confirmed: orders("status=\"confirmed\"").await?,
            inventory: applied("inventory").await?,
            email: applied("email").await?,
        })
    }

    /// Where the system is after so many orders more.
    const fn after(self, orders: usize) -> Self {
        Self {
            settled: self.settled + orders,
            confirmed: self.confirmed + orders,
            inventory: self.inventory + 2 * orders,
            email: self.email + 2 * orders,
        }
    }
}

impl Orders {
    /// Places so many orders, waits until everything about them is done, and checks that it was done once.
    async fn place(system: &Running, clients: usize, orders: usize) -> anyhow::Result<Self> {
        let before = rest(system).await?;
        let charges = system.ledger().await?.charges;
        let began = Instant::now();
        let checkouts = checkouts(system, clients, orders).await?;
        let placed = began.elapsed();
        let wanted = before.after(orders);
        until(system, |far| far.settled >= wanted.settled).await?;
        let settled = began.elapsed();
        until(system, |far| far.inventory >= wanted.inventory && far.email >= wanted.email).await?;
        let done = began.elapsed();
        let far = Far::now(system).await?;
        ensure!(far == wanted, "after {orders} orders: {far:?}, expected was {wanted:?}");
        let ledger = system.ledger().await?;
        ensure!(
            ledger.charges == charges + orders && ledger.charged_twice == 0,
            "{orders} orders later than {charges} charges: {ledger:?}"
        );
        Ok(Self { orders, checkouts, placed, settled, done })
    }
}

/// Waits until nothing happens any more, as after the first order; how far the system is then.
async fn rest(system: &Running) -> anyhow::Result<Far> {
    let mut far = Far::now(system).await?;
    loop {
        sleep(10 * POLL).await;
        let now = Far::now(system).await?;
        if now == far {
            return Ok(far);
        }
        far = now;
    }
}

/// Waits until the system is so far.
async fn until(system: &Running, reached: impl Fn(Far) -> bool) -> anyhow::Result<()> {
    let mut far = Far::now(system).await?;
    let mut since = Instant::now();
    while !reached(far) {
        sleep(POLL).await;
        let now = Far::now(system).await?;
        if now != far {
            (far, since) = (now, Instant::now());
        } else if since.elapsed() > STUCK {
            bail!("nothing has happened for {STUCK:?}: {far:?}");
        }
    }
    Ok(())
}

/// Sends so many checkouts; milliseconds of each.
async fn checkouts(system: &Running, clients: usize, orders: usize) -> anyhow::Result<Vec<f64>> {
    let left = AtomicUsize::new(orders);
    let body = running::body();
    let client = async || {
        let mut times = Vec::with_capacity(orders / clients + 1);
        let one_less = |left: usize| left.checked_sub(1);
        while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            let sent = Instant::now();
            system.checkout(&body).await?;
            times.push(sent.elapsed().as_secs_f64() * 1_000.0);
        }
        anyhow::Ok(times)
    };
    let all = futures_util::future::try_join_all((0..clients).map(|_| client())).await?;
    Ok(all.concat())
}
