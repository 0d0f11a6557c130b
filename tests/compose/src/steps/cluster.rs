//! Three RabbitMQ nodes in place of one: any of them may end, and nobody waits long for that.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use testkit::wait::within;
use tokio::time::sleep;

use super::definitions;
use crate::{
    docker::docker,
    rabbit::nodes,
    stack::{Stack, UP_LIMIT},
    world::World,
};

/// The longest that an order may take while a node ends. Usual is a small part of a second.
const STALL: Duration = Duration::from_secs(20);

/// How a node ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// Like a crash; Docker starts it again.
    Killed,
    /// Told to, and started again by hand.
    Stopped,
}

/// Moves the shop with all its data to three nodes, and ends each of them in turn.
pub(crate) async fn any_node_may_end(world: &mut World) -> Result<()> {
    world.stack.compose(&["--profile", "*", "down"]).await?;
    world.stack = Stack::Cluster;
    world.stack.up(&[]).await?;
    world.find().await?;
    let queues = all_members(world).await?;
    println!("  {queues} queues, each with three members");
    println!("    {}", world.balance_strictly().await?);
    for node in nodes(Stack::Cluster) {
        one(world, node, End::Killed).await?;
    }
    one(world, "rabbitmq-1", End::Stopped).await?;
    definitions::loaded_again(world).await?;
    all_members(world).await.map(drop)
}

async fn one(world: &mut World, name: &str, end: End) -> Result<()> {
    let stack = world.stack;
    let (_, seen) = world
        .under_load(async |_| {
            let node = stack.container(name).await?;
            match end {
                End::Killed => node.crash(stack).await?,
                End::Stopped => {
                    docker(&["stop", node.id()]).await?;
                    // The others go on meanwhile; the time is what makes it a maintenance.
                    sleep(Duration::from_secs(5)).await;
                    docker(&["start", node.id()]).await?;
                }
            }
            stack.back(&node).await.map(drop)
        })
        .await?;
    let balance = world.balance_strictly().await?;
    println!("  {name} {end:?}: {} checkouts; {balance}", seen.checkouts);
    ensure!(seen.repeated == 0, "customers noticed: {seen:?}");
    ensure!(balance.slowest <= STALL, "an order was stalled for more than {STALL:?}");
    all_members(world).await.map(drop)
}

/// Waits until every queue has three members, all of them there; how many queues there are.
async fn all_members(world: &World) -> Result<usize> {
    let rabbitmq = world.rabbitmq().await?;
    let count = nodes(Stack::Cluster).len();
    let found = within(UP_LIMIT, "every queue has three members", || async {
        sleep(Duration::from_millis(500)).await; // asking costs the machine more than waiting
        let queues = rabbitmq.get("queues/%2F").await?;
        let queues = queues.as_array()?;
        let members = |queue: &Value, field: &str| queue[field].as_array().map(Vec::len);
        let whole = |queue: &Value| {
            members(queue, "members") == Some(count) && members(queue, "online") == Some(count)
        };
        (!queues.is_empty() && queues.iter().all(whole)).then_some(queues.len())
    })
    .await;
    Ok(found)
}
