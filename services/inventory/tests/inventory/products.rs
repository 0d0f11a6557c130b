//! The catalogue over HTTP.

use contracts::ProductListed;
use futures_util::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{databases, running::Running};

const JSON: &str = "application/json";

fn mug(amount: i64, on_hand: Option<u32>) -> String {
    let unit_price = json!({"amount": amount, "currency": "EUR"});
    json!({"name": "Mug, yellow", "unit_price": unit_price, "on_hand": on_hand}).to_string()
}

#[tokio::test]
async fn products_are_listed_created_changed_and_restocked() {
    for database in databases().await {
        let mut shop = Running::start(&database).await;
        let products = shop.get_json(&["products"]).await;
        assert_eq!(products.as_array().unwrap().len(), 10);
        let poster = shop.get_json(&["products", "poster-limited"]).await;
        let expected = json!({
            "sku": "poster-limited", "name": "Poster, limited edition",
            "unit_price": {"amount": 2500, "currency": "EUR"},
            "on_hand": 5, "reserved": 0, "available": 5, "version": 1,
        });
        assert_eq!(poster, expected);
        assert!(products.as_array().unwrap().contains(&poster));

        let created = shop.put("mug-yellow", JSON, mug(1_250, None)).await;
        assert_eq!(created.status(), 201);
        assert_eq!(created.headers()["location"], "/products/mug-yellow");
        let created: Value = created.json().await.unwrap();
        assert_eq!((&created["version"], &created["available"]), (&json!(1), &json!(0)));
        assert_eq!(shop.get_json(&["products", "mug-yellow"]).await, created);

        for (version, (amount, on_hand, expected)) in
            [(1_300, Some(7), 7), (1_400, None, 7), (1_400, Some(7), 7)].into_iter().enumerate()
        {
            let changed = shop.put("mug-yellow", JSON, mug(amount, on_hand)).await;
            assert_eq!(changed.status(), 200);
            let changed: Value = changed.json().await.unwrap();
            assert_eq!(changed["version"], version + 2);
            assert_eq!(changed["on_hand"], expected);
            assert_eq!(changed["unit_price"]["amount"], amount);
        }

        let told: Vec<ProductListed> =
            shop.told(14).await.iter().map(|envelope| envelope.data().unwrap()).collect();
        let mugs = told.iter().filter(|product| product.sku == "mug-yellow");
        let mut mugs: Vec<_> =
            mugs.map(|product| (product.version, product.unit_price.amount)).collect();
        mugs.sort_unstable();
        assert_eq!(mugs, [(1, 1_250), (2, 1_300), (3, 1_400), (4, 1_400)]);
        shop.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_changes_are_versions_of_their_own() {
    for database in databases().await {
        let shop = Running::start(&database).await;
        let puts = (0..8).map(|n| shop.put("mug-yellow", JSON, mug(n, Some(1))));
        let mut statuses = Vec::new();
        let mut versions = Vec::new();
        for response in join_all(puts).await {
            statuses.push(response.status().as_u16());
            versions.push(response.json::<Value>().await.unwrap()["version"].as_i64().unwrap());
        }
        versions.sort_unstable();
        assert_eq!(versions, (1..=8).collect::<Vec<_>>());
        assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1);
        shop.stop().await;
    }
}

#[tokio::test]
async fn what_is_not_there_is_a_404() {
    let database = testkit::sqlite_database();
    let shop = Running::start(&database).await;
    let id = Uuid::now_v7().to_string();
    for path in [
        ["products", "unheard-of"],
        ["products", "Mug Blue"],
        ["products", "mug\0"],
        ["products", "ü"],
        ["reservations", &id],
        ["reservations", "no-uuid"],
    ] {
        let response = shop.get(&path).await;
        assert_eq!(response.status(), 404, "{path:?}");
        check_problem(response, 404).await;
    }
    shop.stop().await;
}

async fn check_problem(response: runtime::client::Answer, status: u16) -> Value {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["status"], status);
    assert!(problem["detail"].is_string() && problem["type"].is_string());
    problem
}

/// A product's body with one field replaced; the field may be nested: `unit_price.amount`.
fn with(field: &str, value: Value) -> String {
    let mut body: Value = serde_json::from_str(&mug(1, Some(1))).unwrap();
    match field.split_once('.') {
        Some((outer, inner)) => body[outer][inner] = value,
        None => body[field] = value,
    }
    body.to_string()
}

#[tokio::test]
async fn malformed_changes_are_refused_and_nothing_is_written() {
    let fields = [
        ("name", json!("")),
        ("name", json!("  ")),
        ("name", json!("a".repeat(201))),
        ("name", json!("two\nlines")),
        ("name", json!("nul\0")),
        ("name", json!(7)),
        ("name", Value::Null),
        ("unit_price", json!(12.5)),
        ("unit_price.amount", json!(-1)),
        ("unit_price.amount", json!(100_000_001)),
        ("unit_price.amount", json!(1.5)),
        ("unit_price.amount", json!("1")),
        ("unit_price.amount", json!(u64::MAX)),
        ("unit_price.currency", json!("eur")),
        ("unit_price.currency", json!("EURO")),
        ("unit_price.currency", json!("€€€")),
        ("unit_price.currency", json!("")),
        ("on_hand", json!(-1)),
        ("on_hand", json!(1_000_000_001)),
        ("on_hand", json!(5_000_000_000_u64)),
        ("on_hand", json!("many")),
    ];
    let database = testkit::sqlite_database();
    let mut shop = Running::start(&database).await;
    for (field, value) in fields {
        let response = shop.put("mug-yellow", JSON, with(field, value.clone())).await;
        assert_eq!(response.status(), 422, "{field} = {value}");
        let problem = check_problem(response, 422).await;
        assert_eq!(problem["errors"][0]["field"], field, "{value}: {problem}");
    }
    let too_large = format!(r#"{{"name": "{}"}}"#, "a".repeat(65 * 1024));
    let texts = [
        ("mug-yellow", JSON, String::new(), 400),
        ("mug-yellow", JSON, "no json".to_owned(), 400),
        ("mug-yellow", JSON, r#"{"name": "cut"#.to_owned(), 400),
        ("mug-yellow", JSON, mug(1, None) + "x", 400),
        ("mug-yellow", JSON, "{}".to_owned(), 422),
        ("mug-yellow", JSON, "[]".to_owned(), 422),
        ("mug-yellow", JSON, with("restock", json!(1)), 422),
        ("mug-yellow", JSON, with("unit_price.tax", json!(1)), 422),
        ("mug-yellow", JSON, too_large, 413),
        ("mug-yellow", "text/plain", mug(1, None), 415),
        ("mug-yellow", "application/x-www-form-urlencoded", "name=Mug".to_owned(), 415),
        ("Mug", JSON, mug(1, None), 422),
        ("mug yellow", JSON, mug(1, None), 422),
        ("mug\0", JSON, mug(1, None), 422),
        (&"a".repeat(65), JSON, mug(1, None), 422),
    ];
    for (sku, kind, body, status) in texts {
        let start: String = body.chars().take(60).collect();
        let response = shop.put(sku, kind, body).await;
        assert_eq!(response.status(), status, "{sku:?} {kind} {start}");
        check_problem(response, status).await;
    }
    assert_eq!(shop.get_json(&["products"]).await.as_array().unwrap().len(), 10);
    assert_eq!(shop.told(10).await.len(), 10);
    shop.stop().await;
}

#[tokio::test]
async fn the_api_is_described_and_its_examples_work() {
    let database = testkit::sqlite_database();
    let shop = Running::start(&database).await;
    let api = shop.get_json(&["openapi.json"]).await;
    let paths: Vec<_> = api["paths"].as_object().unwrap().keys().collect();
    let reservation = "/reservations/{order_id}";
    let (release, ship) = (format!("{reservation}/release"), format!("{reservation}/ship"));
    let expected = ["/products", "/products/{sku}", "/reservations", reservation, &release, &ship];
    assert_eq!(paths, expected);
    let example = &api["components"]["schemas"]["ProductChange"]["example"];
    let put = &api["paths"]["/products/{sku}"]["put"];
    let sku = put["parameters"][0]["example"].as_str().unwrap();
    let response = shop.put(sku, JSON, example.to_string()).await;
    assert_eq!(response.status(), 201, "{example}");
    let metrics = shop.get(&["metrics"]).await.text().await.unwrap();
    assert!(metrics.contains("inventory_stock_available"), "{metrics}");
    shop.stop().await;
}
