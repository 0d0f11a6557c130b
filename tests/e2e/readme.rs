//! What the README and the API's own documentation tell a reader to do, done.

use std::process::{Command, Stdio};

use reqwest::header::{CONTENT_TYPE, LOCATION};
use serde_json::Value;

use crate::{
    on_both,
    system::{Plan, Setup, System},
};

on_both! { the_readmes_commands_work, every_service_documents_itself }

const README: &str = include_str!("../../README.md");
/// Where the README's shop is.
const ADDRESS: &str = "localhost:8080";
/// Some of each service's paths.
const PATHS: &[(&str, &[&str])] = &[
    ("order", &["/checkout", "/orders/{id}", "/orders/{id}/cancel"]),
    ("payment", &["/coupons/{code}", "/payments/{order_id}"]),
    ("inventory", &["/products", "/products/{sku}", "/reservations/{order_id}"]),
    ("email", &["/mails/{order_id}"]),
    ("sandbox", &["/charges", "/ledger/summary", "/mails", "/faults/processor"]),
];

/// The README's command, of one line or several, that contains this.
fn command(part: &str) -> &'static str {
    let blocks = README.split("```sh\n").skip(1);
    let commands = blocks.filter_map(|block| block.split("```").next());
    let found = commands.filter(|command| command.contains(part)).collect::<Vec<_>>();
    assert_eq!(found.len(), 1, "{part:?} in the README: {found:?}");
    found[0].trim()
}

/// A command's word in quotes that follows a flag.
fn quoted<'c>(command: &'c str, flag: &str) -> &'c str {
    let (_, rest) = command.split_once(&format!("{flag} '")).expect(flag);
    rest.split_once('\'').expect("the closing quote").0
}

/// Runs a command of the README at the system's address, as its reader would. None if there is no curl.
async fn run(system: &System, command: &str) -> Option<String> {
    let have = Command::new("curl").arg("--version").stdout(Stdio::null()).status();
    if !have.is_ok_and(|status| status.success()) {
        println!("there is no curl here; asking without it");
        return None;
    }
    let url = system.url("order");
    let command = command.replace(ADDRESS, url.trim_start_matches("http://"));
    assert!(!command.contains(ADDRESS));
    let running = tokio::process::Command::new("sh")
        .args(["-c", &command])
        .env("NO_PROXY", "*")
        .stdin(Stdio::null())
        .output();
    let output = running.await.unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

async fn the_readmes_commands_work(setup: Setup) {
    let system = Plan::new(setup).start().await;
    let place = command("curl -i localhost:8080/checkout");
    let location = if let Some(answer) = run(&system, place).await {
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 202 Accepted"), "{answer}");
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["status"], "placed", "{answer}");
        let header = head.lines().filter_map(|line| line.split_once(": "));
        let mut locations = header.filter(|(name, _)| name.eq_ignore_ascii_case("location"));
        locations.next().expect("a Location").1.to_owned()
    } else {
        let (kind, value) = quoted(place, "-H").split_once(": ").unwrap();
        let request = system.http().post(format!("{}/checkout", system.url("order")));
        let body = quoted(place, "-d").replace('\n', "");
        let answer = request.header(kind, value).body(body).send().await.unwrap();
        assert_eq!(answer.status(), 202);
        answer.headers()[LOCATION].to_str().unwrap().to_owned()
    };

    let follow = command("curl -H 'Prefer: wait=5'").replace("/orders/THE-ID", &location);
    assert!(follow.contains(&location), "{follow}");
    let order = if let Some(answer) = run(&system, &follow).await {
        serde_json::from_str::<Value>(&answer).unwrap()
    } else {
        let request = system.http().get(format!("{}{location}", system.url("order")));
        request.header("prefer", "wait=5").send().await.unwrap().json().await.unwrap()
    };
    assert_eq!(order["status"], "confirmed", "{order}");
    let sent: Value = serde_json::from_str(quoted(place, "-d")).unwrap();
    assert_eq!(order["lines"][0]["sku"], sent["items"][0]["sku"], "{order}");
    let id = location.strip_prefix("/orders/").expect("an order");
    assert_eq!(system.charges(id).await.len(), 1, "{order}");
}

async fn every_service_documents_itself(setup: Setup) {
    let system = Plan::new(setup).start().await;
    for (service, paths) in PATHS {
        let api = openapi(&system, service).await;
        assert!(api["openapi"].as_str().is_some_and(|version| version.starts_with("3.")), "{api}");
        for path in *paths {
            assert!(api["paths"][path].is_object(), "{service} names no {path}: {}", api["paths"]);
        }
        for path in ["/docs", "/docs/"] {
            let page = system.http().get(format!("{}{path}", system.url(service)));
            let page = page.send().await.unwrap();
            let kind = page.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
            assert_eq!(
                (page.status().as_u16(), kind.starts_with("text/html")),
                (200, true),
                "{kind}"
            );
            let text = page.text().await.unwrap().to_lowercase();
            assert!(text.contains("<!doctype html>") && text.contains("swagger-ui"), "{text}");
        }
        // The page is told where the description is.
        let script =
            system.http().get(format!("{}/docs/swagger-initializer.js", system.url(service)));
        let script = script.send().await.unwrap().text().await.unwrap();
        assert!(script.contains("/openapi.json"), "{script}");
    }

    let api = openapi(&system, "order").await;
    let example = example(&api);
    let answer = system.post_checkout(example).await.unwrap();
    let status = answer.status();
    assert_eq!(status, 202, "{example}: {}", answer.text().await.unwrap());
}

async fn openapi(system: &System, service: &str) -> Value {
    let answer = system.http().get(format!("{}/openapi.json", system.url(service))).send();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200, "{service}");
    answer.json().await.unwrap()
}

/// The body that the documentation shows for a checkout.
fn example(api: &Value) -> &Value {
    let body = &api["paths"]["/checkout"]["post"]["requestBody"]["content"]["application/json"];
    if body["example"].is_object() {
        return &body["example"];
    }
    let schema = body["schema"]["$ref"].as_str().expect("a reference to the body's schema");
    let schema = api.pointer(schema.trim_start_matches('#')).expect("the body's schema");
    assert!(schema["example"].is_object(), "no example in {schema}");
    &schema["example"]
}
