//! Several of a service: they share the work, and do nothing twice.

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use testkit::shop::{Placed, assorted, new_key};

use super::crashes;
use crate::world::{World, of_a_new_customer};

/// How many orders are placed, and by how many customers at the same time.
const ORDERS: usize = 200;
const CUSTOMERS: usize = 16;

/// Three of payment and two of inventory under load; then one of them dies.
pub(crate) async fn scaled(world: &mut World) -> Result<()> {
    let scale = ["--scale", "payment=3", "--scale", "inventory=2"];
    world.stack.compose(&[&["up", "-d", "--wait", "--no-build"], &scale[..]].concat()).await?;
    world.find().await?;
    let customers = world.shop.customers();
    let placing = (0..ORDERS).map(async |n| -> Result<(Placed, Value)> {
        let body = of_a_new_customer(assorted(n));
        let checkout = customers.send(body.clone(), new_key()).await;
        let placed = checkout.placed().with_context(|| format!("{checkout:?}"))?;
        Ok((placed, body))
    });
    let placed: Vec<_> = stream::iter(placing).buffer_unordered(CUSTOMERS).collect().await;
    for order in placed {
        let (placed, body) = order?;
        world.books.add(placed, body);
    }
    println!("  {}", world.balance_strictly().await?);
    for name in ["payment", "payment.2", "payment.3", "inventory", "inventory.2"] {
        let applied = world.shop.metric(name, "shop_attempts_total", "outcome=\"applied\"").await;
        println!("  {name} applied {} messages", applied.unwrap_or_default());
        ensure!(applied > Some(0.0), "{name} applied nothing");
    }
    crashes::one(world, "payment.2").await
}
