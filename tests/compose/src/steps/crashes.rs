//! Each container killed in turn, while customers keep coming.

use anyhow::{Result, ensure};

use crate::world::World;

/// Of these, the death may leave it open whether a mail was sent: then it is sent again, with the Message-ID that it had.
const MAILS_MAY_REPEAT: [&str; 3] = ["email", "mailpit", "postgres"];

/// Kills each container; Docker starts it again, and nobody does anything by hand.
pub(crate) async fn each_container(world: &mut World) -> Result<()> {
    let containers = world.stack.containers().await?;
    for container in &containers {
        one(world, &container.name()).await?;
    }
    Ok(())
}

/// Kills a container under load, waits until it is back, and checks that everything balances.
pub(crate) async fn one(world: &mut World, name: &str) -> Result<()> {
    let (stack, before) = (world.stack, world.mailpit.losses());
    let mut up = None;
    let (back, seen) = world
        .under_load(async |_| {
            let container = stack.container(name).await?;
            container.crash(stack).await?;
            up = Some(stack.back(&container).await?);
            Ok(())
        })
        .await?;
    let up = up.unwrap_or_default().as_secs_f64();
    println!(
        "  {name} killed: healthy again after {up:.1} s, an order placed then confirmed {:.1} s later; of {} checkouts {} were sent again",
        back.as_secs_f64(),
        seen.checkouts,
        seen.repeated,
    );
    let balance = world.balance().await?;
    println!("    {balance}");
    if world.mailpit.losses() > before {
        println!("    Mailpit forgot its mails: it keeps them in memory here");
    }
    ensure!(balance.repeats == 0 || MAILS_MAY_REPEAT.contains(&name), "mails came twice");
    Ok(())
}
