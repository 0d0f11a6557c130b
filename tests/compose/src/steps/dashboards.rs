//! Grafana's dashboards: every query gets data from Prometheus.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::future::join_all;
use serde_json::Value;
use testkit::shop::assorted;
use tokio::time::{Instant, sleep};

use super::alerts;
use crate::{
    docker::ROOT,
    world::{World, of_a_new_customer},
};

const FOLDER: &str = "deploy/grafana/dashboards";
/// A rate needs a few scrapes with something between them.
const DATA_LIMIT: Duration = Duration::from_secs(90);
/// What Grafana puts in for its own variables, at any zoom.
const VARIABLES: [(&str, &str); 6] = [
    ("$__rate_interval", "1m"),
    ("${__rate_interval}", "1m"),
    ("$__interval", "15s"),
    ("${__interval}", "15s"),
    ("$__range", "15m"),
    ("${__range}", "15m"),
];

/// A panel's query.
#[derive(Debug)]
struct Query {
    panel: String,
    expression: String,
}

/// Asks Prometheus what each panel of each dashboard asks.
pub(crate) async fn have_data(world: &mut World) -> Result<()> {
    alerts::watch(world).await?;
    let mut queries = Vec::new();
    let mut titles = Vec::new();
    for entry in std::fs::read_dir(format!("{ROOT}/{FOLDER}")).context(FOLDER)? {
        let text = std::fs::read_to_string(entry?.path())?;
        let dashboard: Value = serde_json::from_str(&text)?;
        titles.push(dashboard["title"].as_str().context("a title")?.to_owned());
        collect(&dashboard, &dashboard, &mut queries)?;
    }
    ensure!(!queries.is_empty(), "no query in {FOLDER}");
    let began = Instant::now();
    let mut orders = 0;
    loop {
        // Something must happen between two scrapes.
        let body = of_a_new_customer(assorted(orders));
        world.place(body).await;
        orders += 1;
        let answers = join_all(queries.iter().map(|query| ask(world, query))).await;
        let answers = answers.into_iter().collect::<Result<Vec<usize>>>()?;
        let empty: Vec<&Query> = queries
            .iter()
            .zip(&answers)
            .filter(|(_, series)| **series == 0)
            .map(|(q, _)| q)
            .collect();
        if empty.is_empty() {
            let series: usize = answers.iter().sum();
            println!("  {} queries of {titles:?} show {series} series", queries.len());
            break;
        }
        ensure!(began.elapsed() < DATA_LIMIT, "no data for {empty:#?}");
        sleep(Duration::from_secs(1)).await;
    }
    grafana_has(world, &titles).await
}

/// The queries of the panels, those in rows included.
fn collect(part: &Value, dashboard: &Value, queries: &mut Vec<Query>) -> Result<()> {
    for panel in part["panels"].as_array().into_iter().flatten() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().context("a query")?;
            let panel = panel["title"].as_str().context("a panel's title")?.to_owned();
            queries.push(Query { panel, expression: filled(expression, dashboard)? });
        }
        collect(panel, dashboard, queries)?;
    }
    Ok(())
}

/// The query with Grafana's variables filled in; those of the dashboard stand for everything.
fn filled(expression: &str, dashboard: &Value) -> Result<String> {
    let mut filled = expression.to_owned();
    for (variable, value) in VARIABLES {
        filled = filled.replace(variable, value);
    }
    for variable in dashboard["templating"]["list"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().context("a variable's name")?;
        for written in [format!("${{{name}}}"), format!("${name}")] {
            filled = filled.replace(&written, ".+");
        }
    }
    ensure!(!filled.contains('$'), "a variable is left in {filled}");
    Ok(filled)
}

/// How many series Prometheus answers a query with.
async fn ask(world: &World, query: &Query) -> Result<usize> {
    let address = world.address("prometheus", 9090).await?;
    let url = reqwest::Url::parse_with_params(
        &format!("http://{address}/api/v1/query"),
        [("query", &query.expression)],
    )?;
    let answer: Value = world.shop.http().get(url).send().await?.json().await?;
    let result = answer["data"]["result"].as_array();
    let result = result.with_context(|| format!("{}: {answer}", query.panel))?;
    // A quotient of nothing by nothing is no data either.
    let number = |series: &&Value| {
        let value = series["value"][1].as_str().and_then(|text| text.parse::<f64>().ok());
        value.is_some_and(|value| !value.is_nan())
    };
    Ok(result.iter().filter(number).count())
}

/// Grafana is healthy, and was given the dashboards.
async fn grafana_has(world: &World, titles: &[String]) -> Result<()> {
    let address = world.address("grafana", 3000).await?;
    let get = |path: &str| world.shop.http().get(format!("http://{address}{path}")).send();
    let health: Value = get("/api/health").await?.json().await?;
    ensure!(health["database"] == "ok", "{health}");
    let search = get("/api/search?type=dash-db").await?;
    if search.status() == 404 {
        println!("  this Grafana draws nothing: whether it reads the dashboards CAN'T BE SEEN");
        return Ok(());
    }
    let Value::Array(found) = search.json().await? else { bail!("no list of dashboards") };
    for title in titles {
        ensure!(found.iter().any(|dashboard| dashboard["title"] == **title), "{found:?}");
    }
    Ok(())
}
