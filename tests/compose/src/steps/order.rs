//! The README's order: confirmed, the receipt in Mailpit, and all of it one trace in Jaeger.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::Value;
use testkit::{
    otlp::{
        Span, SpanRef,
        tree::{Node, confirmed_checkout},
    },
    readme,
    shop::Placed,
    wait::within,
};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::world::World;

/// Each program sends its spans every five seconds.
const TRACE_LIMIT: Duration = Duration::from_secs(60);

/// Types what the README says, and looks at what comes of it.
pub(crate) async fn of_the_readme(world: &mut World) -> Result<()> {
    let address = world.shop.url("order");
    ensure!(address == "http://127.0.0.1:8080", "the README's shop is not at {address}");
    let trace = Uuid::now_v7().simple().to_string();
    let traceparent = format!("00-{trace}-00000000000000ff-01");
    let (sent, order) = readme::checkout(&world.shop, Some(&traceparent)).await;
    let id = order["id"].as_str().context("an id")?.to_owned();
    let total = order["total"]["amount"].as_i64().context("a total")?;
    world.books.add(Placed { id: id.clone(), total }, sent.clone());
    let to = sent["customer"]["email"].as_str().context("an address")?;
    receipt(world, to, &id).await?;
    one_trace(world, &trace).await
}

/// Waits for the receipt, and reads it.
async fn receipt(world: &World, to: &str, id: &str) -> Result<()> {
    let mailpit = &world.mailpit;
    let receipt = within(TRACE_LIMIT, "the receipt is in Mailpit", || async {
        let mut mails = mailpit.to(to).into_iter();
        mails.find(|mail| mail.subject.contains("receipt") && mail.subject.contains(id))
    })
    .await;
    let mail = mailpit.read(&receipt.id).await.context("the receipt can be read")?;
    let text = mail["Text"].as_str().unwrap_or_default();
    ensure!(text.contains("Paid: 25.00 EUR") && text.contains(id), "{mail}");
    println!("  {:?} is in Mailpit", receipt.subject);
    Ok(())
}

/// Waits until Jaeger has the whole trace, each hop once and in its place.
async fn one_trace(world: &World, trace: &str) -> Result<()> {
    let jaeger = world.address("jaeger", 16686).await?;
    let url = format!("http://{jaeger}/api/traces/{trace}");
    let expected = confirmed_checkout();
    let began = Instant::now();
    loop {
        let spans = match world.shop.http().get(&url).send().await?.json::<Value>().await {
            Ok(answer) => spans(&answer["data"][0]),
            Err(_) => Vec::new(),
        };
        let trees = Node::tops(&spans);
        if let [tree] = &trees[..]
            && expected.contains(tree)
        {
            println!("  Jaeger has its trace: {} spans", spans.len());
            return Ok(());
        }
        let (is, should) = (shown(&trees), shown(&expected[..1]));
        ensure!(began.elapsed() < TRACE_LIMIT, "Jaeger has\n{is}\nbut should have\n{should}");
        sleep(Duration::from_millis(500)).await;
    }
}

fn shown(trees: &[Node]) -> String {
    trees.iter().map(ToString::to_string).collect()
}

/// The spans of a trace in Jaeger's JSON.
fn spans(trace: &Value) -> Vec<Span> {
    let spans = trace["spans"].as_array().into_iter().flatten();
    spans.map(|span| read(span, &trace["processes"])).collect()
}

fn read(span: &Value, processes: &Value) -> Span {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let place =
        |value: &Value| SpanRef { trace: text(&value["traceID"]), span: text(&value["spanID"]) };
    let references = || span["references"].as_array().into_iter().flatten();
    let links = references().filter(|reference| reference["refType"] == "FOLLOWS_FROM");
    let attributes = span["tags"].as_array().into_iter().flatten().map(|tag| {
        let value = &tag["value"];
        (text(&tag["key"]), value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    });
    let attributes: std::collections::BTreeMap<_, _> = attributes.collect();
    let started = span["startTime"].as_u64().unwrap_or_default();
    let ended = started + span["duration"].as_u64().unwrap_or_default();
    Span {
        service: text(&processes[text(&span["processID"])]["serviceName"]),
        resource: Default::default(),
        place: place(span),
        // Jaeger puts the parent first, and calls it FOLLOWS_FROM if the span also links to it.
        parent: references().next().map(|parent| place(parent).span),
        name: text(&span["operationName"]),
        kind: match attributes.get("span.kind").map(String::as_str) {
            Some("server") => SpanKind::Server,
            Some("client") => SpanKind::Client,
            Some("producer") => SpanKind::Producer,
            Some("consumer") => SpanKind::Consumer,
            _ => SpanKind::Internal,
        },
        time: (started * 1_000, ended * 1_000),
        links: links.map(place).collect(),
        failed: attributes.get("error").is_some_and(|error| error == "true"),
        attributes,
    }
}
