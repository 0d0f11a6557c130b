//! What is left to a person, looked after as docs/operations.md says.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use testkit::shop::{new_key, plain};
use tokio::time::sleep;

use crate::{
    docker::docker,
    world::{World, of_a_new_customer},
};

/// How soon a checkout by calls comes to its charge, on a slow machine.
const CHARGING: Duration = Duration::from_secs(60);

/// Kills payment in the middle of a charge, so that a checkout by calls can't undo it; a person sees that, and retries.
pub(crate) async fn a_person_looks_after_one(world: &mut World) -> Result<()> {
    let id = left_to_a_person(world).await?;
    let parked = saga(world, &["list", "--parked"]).await?;
    ensure!(parked[0]["order_id"] == json!(id), "{parked}");
    let shown = saga(world, &["show", &id]).await?;
    ensure!(shown["settled"] == false, "{shown}");
    let again = saga(world, &["retry", &id]).await?;
    ensure!(again["order_id"] == json!(id), "{again}");
    let order = world.shop.settled(&id).await;
    ensure!(order["needs_attention"] == Value::Null, "{order}");
    let parked = saga(world, &["list", "--parked"]).await?;
    ensure!(parked == json!([]), "{parked}");
    ensure!(world.shop.net(&id).await == 0, "the customer has paid");
    println!(
        "  an order that needed attention: listed, shown, retried; payment {}",
        order["payment"]
    );
    Ok(())
}

/// An order whose charge was under way when payment died; its id.
async fn left_to_a_person(world: &World) -> Result<String> {
    world.shop.fault("processor", json!({"latency_ms": 10_000})).await;
    let mut db = PgConnection::connect(&world.database_url("payment", "payment").await?).await?;
    let mut payments = async || -> Result<i64> {
        Ok(sqlx::query_scalar("SELECT count(*) FROM payments").fetch_one(&mut db).await?)
    };
    let before = payments().await?;
    let payment = world.stack.container("payment").await?;
    let asking = tokio::spawn({
        let url = format!("{}/checkout?style=sync", world.shop.url("order"));
        let request = world.shop.http().post(url).header("idempotency-key", new_key());
        request.json(&of_a_new_customer(plain(0))).send()
    });
    let began = Instant::now();
    while payments().await? == before {
        ensure!(began.elapsed() < CHARGING, "no charge is under way");
        sleep(Duration::from_millis(20)).await;
    }
    // A kill by Docker's own command is somebody's wish: it stays dead.
    docker(&["kill", payment.id()]).await?;
    let problem: Value = asking.await??.json().await?;
    docker(&["start", payment.id()]).await?;
    world.stack.back(&payment).await?;
    world.shop.heal().await;
    let left = problem["needs_attention"].as_array().context("what is left")?;
    ensure!(left.len() == 1 && problem["callee"] == "payment", "{problem}");
    let order = problem["order"].as_str().context("the order")?;
    Ok(order.trim_start_matches("/orders/").to_owned())
}

/// `docker compose run --rm shop saga …`; what it prints as JSON.
async fn saga(world: &World, words: &[&str]) -> Result<Value> {
    let run = ["run", "--rm", "-T", "shop", "saga"];
    let printed = world.stack.compose(&[&run[..], words, &["--json"]].concat()).await?;
    serde_json::from_str(&printed).with_context(|| printed)
}
