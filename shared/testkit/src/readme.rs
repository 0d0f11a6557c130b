//! The README's commands, run as its reader would.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::process::{Command, Stdio};

use reqwest::header::LOCATION;
use serde_json::Value;

use crate::shop::Shop;

const README: &str = include_str!("../../../README.md");
/// Where the README's shop is.
const ADDRESS: &str = "localhost:8080";

/// The README's command, of one line or several, that contains this.
///
/// # Panics
/// When there isn't exactly one.
#[must_use]
pub fn command(part: &str) -> &'static str {
    let blocks = README.split("```sh\n").skip(1);
    let commands = blocks.filter_map(|block| block.split("```").next());
    let found = commands.filter(|command| command.contains(part)).collect::<Vec<_>>();
    assert_eq!(found.len(), 1, "{part:?} in the README: {found:?}");
    found[0].trim()
}

/// Places an order and follows it to its end, with the README's two commands at this shop's address; the body that was sent, and
/// the order. The first request carries the `traceparent`, if there is one.
///
/// # Panics
/// When the commands don't do what the README says.
pub async fn checkout(shop: &Shop, traceparent: Option<&str>) -> (Value, Value) {
    let place = command("curl -i localhost:8080/checkout");
    let sent: Value = serde_json::from_str(quoted(place, "-d")).unwrap();
    let location = location(shop, place, traceparent).await;
    let follow = command("curl -H 'Prefer: wait=5'").replace("/orders/THE-ID", &location);
    assert!(follow.contains(&location), "{follow}");
    let order = match run(shop, &follow).await {
        Some(answer) => serde_json::from_str::<Value>(&answer).unwrap(),
        None => {
            let request = shop.http().get(format!("{}{location}", shop.url("order")));
            request.header("prefer", "wait=5").send().await.unwrap().json().await.unwrap()
        }
    };
    assert_eq!(order["status"], "confirmed", "{order}");
    assert_eq!(order["lines"][0]["sku"], sent["items"][0]["sku"], "{order}");
    assert_eq!(location, format!("/orders/{}", order["id"].as_str().unwrap()));
    (sent, order)
}

/// Places the order; its `Location`.
async fn location(shop: &Shop, place: &str, traceparent: Option<&str>) -> String {
    let traced = traceparent.map(|header| format!("curl -H 'traceparent: {header}' -i"));
    let command = place.replace("curl -i", traced.as_deref().unwrap_or("curl -i"));
    let Some(answer) = run(shop, &command).await else {
        let (kind, value) = quoted(place, "-H").split_once(": ").unwrap();
        let request = shop.http().post(format!("{}/checkout", shop.url("order")));
        let request = request.header(kind, value).body(quoted(place, "-d").replace('\n', ""));
        let request = match traceparent {
            Some(traceparent) => request.header("traceparent", traceparent),
            None => request,
        };
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 202);
        return answer.headers()[LOCATION].to_str().unwrap().to_owned();
    };
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 202 Accepted"), "{answer}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["status"], "placed", "{answer}");
    let header = head.lines().filter_map(|line| line.split_once(": "));
    let mut locations = header.filter(|(name, _)| name.eq_ignore_ascii_case("location"));
    locations.next().expect("a Location").1.to_owned()
}

/// A command's word in quotes that follows a flag.
fn quoted<'c>(command: &'c str, flag: &str) -> &'c str {
    let (_, rest) = command.split_once(&format!("{flag} '")).expect(flag);
    rest.split_once('\'').expect("the closing quote").0
}

/// Runs a command of the README at the shop's address, as its reader would. None if there is no curl.
async fn run(shop: &Shop, command: &str) -> Option<String> {
    let have = Command::new("curl").arg("--version").stdout(Stdio::null()).status();
    if !have.is_ok_and(|status| status.success()) {
        println!("there is no curl here; asking without it");
        return None;
    }
    let command = command.replace(ADDRESS, shop.url("order").trim_start_matches("http://"));
    let running = tokio::process::Command::new("sh")
        .args(["-c", &command])
        .env("NO_PROXY", "*")
        .stdin(Stdio::null())
        .output();
    let output = running.await.unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}
