//! What the README and the API's own documentation tell a reader to do, done.

use reqwest::header::CONTENT_TYPE;
use serde_json::Value;
use testkit::readme;

use crate::{
    on_both,
    system::{Plan, Setup, System},
};

on_both! { the_readmes_commands_work, every_service_documents_itself }

/// Some of each service's paths.
const PATHS: &[(&str, &[&str])] = &[
    ("order", &["/checkout", "/orders/{id}", "/orders/{id}/cancel"]),
    ("payment", &["/coupons/{code}", "/payments/{order_id}"]),
    ("inventory", &["/products", "/products/{sku}", "/reservations/{order_id}"]),
    ("email", &["/mails/{order_id}"]),
    ("sandbox", &["/charges", "/ledger/summary", "/mails", "/faults/processor"]),
];

async fn the_readmes_commands_work(setup: Setup) {
    let system = Plan::new(setup).start().await;
    let (_, order) = readme::checkout(&system, None).await;
    let id = order["id"].as_str().unwrap();
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
