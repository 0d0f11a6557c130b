//! A message that failed for good: the alert, the mail about it, and the operator who clears it.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use lapin::options::{BasicGetOptions, BasicRejectOptions};
use serde_json::Value;
use testkit::{shop::plain, wait::within};
use tokio::time::{Instant, sleep};

use crate::{
    docker::ROOT,
    rabbit::{connect, count, waiting},
    world::{World, of_a_new_customer},
};

/// The alert, and whose queue it is about.
const ALERT: &str = "DeadLetter";
const SERVICE: &str = "payment";
/// How long an alert may take to fire, to be mailed and to resolve: scraping, the rules, and Alertmanager's waits.
const ALERT_LIMIT: Duration = Duration::from_secs(180);
/// More than the deliveries without an answer after which RabbitMQ gives a message up.
const DELIVERIES: usize = 500;

/// `promtool` and `amtool` find nothing wrong, and the rules' own tests pass.
pub(crate) async fn rules(world: &mut World) -> Result<()> {
    let mounted = format!("{ROOT}/deploy:/deploy:ro");
    let check = async |service: &'static str, words: &[&str]| {
        let run = ["--profile", "ops", "run", "--rm", "--no-deps", "-T", "-v", &mounted];
        let entry = ["--workdir", "/deploy", "--entrypoint", words[0], service];
        world.stack.compose(&[&run[..], &entry, &words[1..]].concat()).await
    };
    check("prometheus", &["promtool", "check", "config", "/deploy/prometheus/prometheus.yml"])
        .await?;
    check("prometheus", &["promtool", "check", "rules", "/deploy/prometheus/rules.yml"]).await?;
    let tested = check("prometheus", &["promtool", "test", "rules", RULES_TEST]).await?;
    ensure!(tested.contains("SUCCESS"), "{tested}");
    check("alertmanager", &["amtool", "check-config", "/deploy/alertmanager/alertmanager.yml"])
        .await?;
    println!("  promtool and amtool agree with the configuration; the rules' tests pass");
    Ok(())
}

const RULES_TEST: &str = "/deploy/prometheus/rules_test.yml";

/// Two dead letters, one of bytes that nobody can read and one of an order; both cleared from a terminal.
pub(crate) async fn dead_letters(world: &mut World) -> Result<()> {
    watch(world).await?;
    ensure!(!firing(world).await?, "{ALERT} fires before there is a reason");
    let poison = poison(world).await?;
    let order = kill_the_readers(world).await?;
    let letters = letters(world, 2).await?;
    cleared(world, &letters, &poison, &order).await
}

/// Starts Prometheus, Alertmanager and Grafana.
pub(crate) async fn watch(world: &World) -> Result<()> {
    world.stack.up(&["--profile", "ops"]).await
}

/// Puts bytes into the queue by hand that no service can read, and waits until somebody has been told; the letter's id.
async fn poison(world: &World) -> Result<String> {
    world.rabbitmq().await?.put(SERVICE, "this is no message").await?;
    let put = Instant::now();
    until(world, "the alert fires in Prometheus", firing).await?;
    let fired = put.elapsed();
    until(world, "the alert reaches Alertmanager", notified).await?;
    let reached = put.elapsed();
    let mail = within(ALERT_LIMIT, "the mail about the alert", || async {
        let mut mails = world.mailpit.by_address().into_values().flatten();
        mails.find(|mail| mail.subject.contains(ALERT))
    })
    .await;
    println!(
        "  poison: the alert after {:.0} s, at Alertmanager after {:.0} s, the mail {:?} after {:.0} s",
        fired.as_secs_f64(),
        reached.as_secs_f64(),
        mail.subject,
        put.elapsed().as_secs_f64()
    );
    let text = world.mailpit.read(&mail.id).await.context("the mail about the alert")?;
    let advice = format!("docker compose run --rm shop dead list --queue {SERVICE}");
    ensure!(text.to_string().contains(&advice), "the mail doesn't say what to type: {text}");
    let letters = letters(world, 1).await?;
    let id = letters[0]["id"].as_str().context("an id")?;
    Ok(id.to_owned())
}

/// Places an order, and has its message delivered to readers who die over it until RabbitMQ gives it up: what a bug in the service would
/// do, until a release mends it. The order's id.
async fn kill_the_readers(world: &mut World) -> Result<String> {
    world.stack.compose(&["stop", SERVICE]).await?;
    let order = world.place(of_a_new_customer(plain(0))).await.id;
    within(ALERT_LIMIT, "the message waits", || async {
        (waiting(world, SERVICE).await.ok()? == 1).then_some(())
    })
    .await;
    let admin = connect(world, "admin", world.password("RABBITMQ_ADMIN_PASSWORD")?).await?;
    let channel = admin.create_channel().await?;
    let dead = format!("{SERVICE}.dead");
    for _ in 0..DELIVERIES {
        if count(&channel, &dead).await? == 2 {
            break;
        }
        // It takes the broker a moment to have it ready again.
        let Some(message) = channel.basic_get(SERVICE.into(), BasicGetOptions::default()).await?
        else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "it alone counts as a failure in every version"
        )]
        message.reject(BasicRejectOptions { requeue: true }).await?;
    }
    ensure!(count(&channel, &dead).await? == 2, "RabbitMQ doesn't give the message up");
    admin.close(200, "OK".into()).await?;
    ensure!(waiting(world, SERVICE).await? == 0, "the message is in both places");
    world.stack.up(&[]).await?;
    world.find().await?;
    ensure!(world.shop.order(&order).await["status"] == "placed", "the order waits");
    Ok(order)
}

/// Replays the order's message, throws the poison away, and waits until nobody is alarmed any more.
async fn cleared(world: &mut World, letters: &[Value], poison: &str, order: &str) -> Result<()> {
    let ids = letters.iter().filter_map(|letter| letter["id"].as_str());
    let other = ids.filter(|id| *id != poison).collect::<Vec<_>>();
    let [placed] = other[..] else { bail!("{letters:#?}") };
    let shown = dead(world, &["show", placed]).await?;
    ensure!(shown.contains(order), "{shown}");
    let replayed = dead(world, &["replay", placed]).await?;
    ensure!(replayed.contains("1 replayed"), "{replayed}");
    let view = world.shop.settled(order).await;
    ensure!(view["status"] == "confirmed", "{view}");
    ensure!(firing(world).await?, "the other letter is still there");
    // To replay what nobody can read would only bring it back.
    dead(world, &["purge", poison, "--yes"]).await?;
    let purged = Instant::now();
    until(world, "the alert resolves in Prometheus", async |world| Ok(!firing(world).await?))
        .await?;
    until(world, "the alert resolves in Alertmanager", async |world| Ok(!notified(world).await?))
        .await?;
    println!("  replayed and purged: resolved after {:.0} s", purged.elapsed().as_secs_f64());
    until(world, "nothing is alarming", async |world| Ok(alerts(world).await?.is_empty())).await?;
    println!("    {}", world.balance_strictly().await?);
    Ok(())
}

/// The queue's dead letters, once there are so many, as the operator sees them.
async fn letters(world: &World, count: usize) -> Result<Vec<Value>> {
    let printed = dead(world, &["list", "--json", "--queue", SERVICE]).await?;
    let letters: Vec<Value> = serde_json::from_str(&printed).context(printed)?;
    ensure!(letters.len() == count, "{letters:#?}");
    Ok(letters)
}

/// `docker compose run --rm shop dead …`.
async fn dead(world: &World, words: &[&str]) -> Result<String> {
    world.stack.compose(&[&["run", "--rm", "-T", "shop", "dead"], words].concat()).await
}

/// Waits until something is so, looking once a second: these look through several programs.
async fn until(
    world: &World,
    what: &str,
    look: impl AsyncFn(&World) -> Result<bool>,
) -> Result<()> {
    let began = Instant::now();
    while !look(world).await? {
        ensure!(began.elapsed() < ALERT_LIMIT, "waited {ALERT_LIMIT:?} in vain: {what}");
        sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// Whether the alert fires in Prometheus.
async fn firing(world: &World) -> Result<bool> {
    let alerts = alerts(world).await?;
    Ok(alerts.iter().any(|alert| is_ours(alert) && alert["state"] == "firing"))
}

/// Every alert that fires in Prometheus, or will if its reason stays.
async fn alerts(world: &World) -> Result<Vec<Value>> {
    let address = world.address("prometheus", 9090).await?;
    let mut answer = get(world, &format!("http://{address}/api/v1/alerts")).await?;
    let Value::Array(alerts) = answer["data"]["alerts"].take() else { bail!("{answer}") };
    Ok(alerts)
}

/// Whether the alert is active in Alertmanager.
async fn notified(world: &World) -> Result<bool> {
    let address = world.address("alertmanager", 9093).await?;
    let answer: Value = get(world, &format!("http://{address}/api/v2/alerts?active=true")).await?;
    Ok(answer.as_array().context("alerts")?.iter().any(is_ours))
}

fn is_ours(alert: &Value) -> bool {
    alert["labels"]["alertname"] == ALERT && alert["labels"]["service"] == SERVICE
}

async fn get(world: &World, url: &str) -> Result<Value> {
    Ok(world.shop.http().get(url).send().await?.error_for_status()?.json().await?)
}
