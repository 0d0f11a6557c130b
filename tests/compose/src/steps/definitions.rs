//! RabbitMQ's definitions: loaded once more onto everything that is there, for an upgrade or for a new password; and into a new
//! RabbitMQ with the newer metadata store.

use anyhow::{Context as _, Result, ensure};
use lapin::types::FieldTable;
use testkit::wait::within;

use crate::{
    docker::{ROOT, docker},
    rabbit::{connect, nodes},
    stack::{Stack, UP_LIMIT},
    world::World,
};

/// Whose password changes for a while: no service's.
const USER: &str = "operator";
const VARIABLE: &str = "RABBITMQ_OPERATOR_PASSWORD";

/// What is taken away, to be made again: all events go into the history.
const HISTORY: &str = "shop.history";
const EVENTS: &str = "shop.events";

/// Makes the container of the first RabbitMQ anew under load, with another password of a user; and once more, with the one it had.
pub(crate) async fn loaded_again(world: &mut World) -> Result<()> {
    let old = world.password(VARIABLE)?.to_owned();
    let admin = connect(world, "admin", world.password("RABBITMQ_ADMIN_PASSWORD")?).await?;
    let channel = admin.create_channel().await?;
    channel.queue_unbind(HISTORY.into(), EVENTS.into(), "#".into(), FieldTable::default()).await?;
    ensure!(!keeps_events(world).await?, "the binding is still there");
    let env = std::fs::read_to_string(format!("{ROOT}/.env"))?;
    let changed = std::env::temp_dir().join(format!("shop-{}.env", std::process::id()));
    std::fs::write(&changed, format!("{env}\n{VARIABLE}=changed\n"))?;
    let path = changed.to_str().context("a path")?;
    let recreated = recreate(world, &["--env-file", path]).await;
    std::fs::remove_file(&changed)?;
    recreated?;
    ensure!(keeps_events(world).await?, "the binding was not made again");
    ensure!(connect(world, USER, &old).await.is_err(), "the old password still works");
    connect(world, USER, "changed").await?.close(200, "OK".into()).await?;
    recreate(world, &[]).await?;
    connect(world, USER, &old).await?.close(200, "OK".into()).await?;
    Ok(())
}

/// Starts a new RabbitMQ that keeps its metadata in Khepri, as all do from 4.2 on, and has the definitions imported there.
pub(crate) async fn imported_into_khepri(world: &mut World) -> Result<()> {
    world.stack.down().await?;
    Stack::Single.down().await?; // its volume is named by its own file only
    let plain = ["run", "-d", "--no-deps", "rabbitmq", "docker-entrypoint.sh", "rabbitmq-server"];
    let id = Stack::Single.compose(&plain).await?.trim().to_owned();
    let tool = ["exec", &id, "gosu", "rabbitmq", "rabbitmqctl", "-q"];
    within(UP_LIMIT, "RabbitMQ starts", || async {
        docker(&[&tool[..], &["await_startup"]].concat()).await.ok()
    })
    .await;
    docker(&[&tool[..], &["enable_feature_flag", "--opt-in", "khepri_db"]].concat()).await?;
    docker(&["rm", "-f", &id]).await?;
    // It is healthy only when everything was imported.
    let up = ["up", "-d", "--wait", "--no-build", "--no-deps", "rabbitmq"];
    Stack::Single.compose(&up).await?;
    let ctl = ["exec", "-T", "rabbitmq", "gosu", "rabbitmq", "rabbitmqctl", "-q"];
    let flags = Stack::Single.compose(&[&ctl[..], &["list_feature_flags"]].concat()).await?;
    ensure!(flags.contains("khepri_db\tenabled"), "it doesn't use Khepri: {flags}");
    let permitted =
        Stack::Single.compose(&[&ctl[..], &["list_topic_permissions"]].concat()).await?;
    ensure!(permitted.contains(r"order\.placed"), "{permitted}");
    Stack::Single.down().await
}

async fn keeps_events(world: &World) -> Result<bool> {
    let path = format!("bindings/%2F/e/{EVENTS}/q/{HISTORY}");
    let bindings = world.rabbitmq().await?.get(&path).await.context("the bindings")?;
    Ok(bindings.as_array().is_some_and(|bindings| !bindings.is_empty()))
}

async fn recreate(world: &mut World, env: &[&str]) -> Result<()> {
    let (back, seen) = world
        .under_load(async |world| {
            let node = nodes(world.stack)[0];
            let up = ["up", "-d", "--force-recreate", "--no-deps", "--no-build", "--wait"];
            world.stack.compose(&[env, &up, &[node]].concat()).await.map(drop)
        })
        .await?;
    let (balance, back) = (world.balance_strictly().await?, back.as_secs_f64());
    println!(
        "  RabbitMQ's container made anew: {} checkouts, an order confirmed {back:.1} s later; {balance}",
        seen.checkouts
    );
    Ok(())
}
