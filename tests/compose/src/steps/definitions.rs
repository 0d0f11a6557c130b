//! RabbitMQ's definitions, loaded once more onto everything that is there: for an upgrade, or for a new password.

use anyhow::{Context as _, Result, ensure};

use crate::{docker::ROOT, rabbit::connect, stack::UP_LIMIT, world::World};

/// Whose password changes for a while: no service's.
const USER: &str = "operator";
const VARIABLE: &str = "RABBITMQ_OPERATOR_PASSWORD";

/// Makes RabbitMQ's container anew under load, with another password of a user; and once more, with the one it had.
pub(crate) async fn loaded_again(world: &mut World) -> Result<()> {
    let old = world.password(VARIABLE)?.to_owned();
    let env = std::fs::read_to_string(format!("{ROOT}/.env"))?;
    let changed = std::env::temp_dir().join(format!("shop-{}.env", std::process::id()));
    std::fs::write(&changed, format!("{env}\n{VARIABLE}=changed\n"))?;
    let changed = changed.to_str().context("a path")?.to_owned();
    recreate(world, &["--env-file", &changed]).await?;
    std::fs::remove_file(&changed)?;
    ensure!(connect(world, USER, &old).await.is_err(), "the old password still works");
    connect(world, USER, "changed").await?.close(200, "OK".into()).await?;
    recreate(world, &[]).await?;
    connect(world, USER, &old).await?.close(200, "OK".into()).await?;
    Ok(())
}

async fn recreate(world: &mut World, env: &[&str]) -> Result<()> {
    let (back, seen) = world
        .under_load(async |world| {
            let up = ["up", "-d", "--force-recreate", "--no-deps", "--no-build", "--wait"];
            world.stack.compose(&[env, &up, &["rabbitmq"]].concat()).await.map(drop)
        })
        .await?;
    ensure!(back < UP_LIMIT, "an order took {back:?} afterwards");
    let (balance, back) = (world.balance_strictly().await?, back.as_secs_f64());
    println!(
        "  RabbitMQ's container made anew: {} checkouts, an order confirmed {back:.1} s later; {balance}",
        seen.checkouts
    );
    Ok(())
}
