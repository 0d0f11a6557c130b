//! Containers cut off from the network for a while, under load.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::sleep;

use crate::world::World;

/// How long. Nothing can be waited for instead: time is what makes it an outage.
const OUTAGE: Duration = Duration::from_secs(15);
/// The longest that a customer may wait for an answer that needs nothing of what is away.
const ANSWER: Duration = Duration::from_secs(5);

/// Cuts off a service, then RabbitMQ.
pub(crate) async fn a_service_and_rabbitmq(world: &mut World) -> Result<()> {
    for name in ["payment", "rabbitmq"] {
        one(world, name).await?;
    }
    Ok(())
}

async fn one(world: &mut World, name: &str) -> Result<()> {
    let stack = world.stack;
    let (back, seen) = world
        .under_load(async |_| {
            let cut = stack.container(name).await?.cut_off().await?;
            sleep(OUTAGE).await;
            cut.mend().await
        })
        .await?;
    println!(
        "  {name} cut off for {OUTAGE:?}: an order placed then confirmed {:.1} s later; {} checkouts, the slowest answered after {:.2} s",
        back.as_secs_f64(),
        seen.checkouts,
        seen.longest.as_secs_f64(),
    );
    // The order service was never away, and needs none of the two to take a checkout.
    ensure!(seen.repeated == 0 && seen.longest < ANSWER, "customers noticed: {seen:?}");
    println!("    {}", world.balance_strictly().await?);
    Ok(())
}
