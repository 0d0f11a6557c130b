//! What clients may get wrong: each answered by the right problem document, and nothing written.

use reqwest::{RequestBuilder, header::CONTENT_TYPE};
use serde_json::{Value, json};
use store::{Db, Options};

use crate::{
    on_both,
    system::{Plan, Setup, System, checkout},
};

on_both! { bad_input_gets_the_right_problem_and_writes_nothing }

/// A request: what it shows, how it is made, the status and the field that the problem names ("" for none).
type Case = (&'static str, fn(Ask) -> RequestBuilder, u16, &'static str);

/// Makes requests to the order service.
struct Ask<'s>(&'s System);

impl Ask<'_> {
    fn post(&self, path: &str) -> RequestBuilder {
        self.0.http().post(format!("{}{path}", self.0.url("order")))
    }

    fn raw(&self, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.post("/checkout").header(CONTENT_TYPE, "application/json").body(body)
    }

    /// A good checkout with one thing changed.
    fn with(&self, pointer: &str, value: Value) -> RequestBuilder {
        let mut body = checkout("mug-blue", 1);
        match body.pointer_mut(pointer) {
            Some(place) => *place = value,
            None => body[pointer.trim_start_matches('/')] = value,
        }
        self.post("/checkout").json(&body)
    }

    fn without(&self, field: &str) -> RequestBuilder {
        let mut body = checkout("mug-blue", 1);
        body.as_object_mut().unwrap().remove(field);
        self.post("/checkout").json(&body)
    }

    fn with_key(&self, key: &[u8]) -> RequestBuilder {
        self.post("/checkout").header("idempotency-key", key).json(&checkout("mug-blue", 1))
    }
}

fn item(quantity: &Value) -> Value {
    json!([{"sku": "mug-blue", "quantity": quantity}])
}

const CASES: &[Case] = &[
    ("no body", |ask| ask.raw(""), 400, ""),
    ("no JSON", |ask| ask.raw("{\"customer\": "), 400, ""),
    (
        "something after the JSON",
        |ask| ask.raw(format!("{} {{}}", checkout("mug-blue", 1))),
        400,
        "",
    ),
    ("bytes that are no UTF-8", |ask| ask.raw(vec![b'"', 0xff, 0xfe, b'"']), 400, ""),
    ("an unfinished escape", |ask| ask.raw(r#"{"card_token": "\ud800"}"#), 400, ""),
    ("JSON nested without end", |ask| ask.raw("[".repeat(60_000)), 422, ""),
    ("no content type", |ask| ask.post("/checkout").body("{}"), 415, ""),
    (
        "a form",
        |ask| {
            ask.post("/checkout")
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body("a=1")
        },
        415,
        "",
    ),
    ("text", |ask| ask.post("/checkout").header(CONTENT_TYPE, "text/plain").body("{}"), 415, ""),
    ("a body beyond the limit", |ask| ask.raw(" ".repeat(200_000)), 413, ""),
    ("an array", |ask| ask.raw("[]"), 422, ""),
    ("null", |ask| ask.raw("null"), 422, ""),
    ("an empty object", |ask| ask.raw("{}"), 422, ""),
    ("no customer", |ask| ask.without("customer"), 422, ""),
    ("no items", |ask| ask.without("items"), 422, ""),
    ("no card", |ask| ask.without("card_token"), 422, ""),
    ("a field that nobody knows", |ask| ask.with("/discount", json!(100)), 422, "discount"),
    (
        "a price of the client's own",
        |ask| ask.with("/items", json!([{"sku": "mug-blue", "quantity": 1, "unit_price": 1}])),
        422,
        "items[0].unit_price",
    ),
    (
        "a number as mail address",
        |ask| ask.with("/customer/email", json!(7)),
        422,
        "customer.email",
    ),
    ("an empty mail address", |ask| ask.with("/customer/email", json!("")), 422, "customer.email"),
    (
        "a mail address without @",
        |ask| ask.with("/customer/email", json!("ada")),
        422,
        "customer.email",
    ),
    (
        "two mail addresses",
        |ask| ask.with("/customer/email", json!("a@example.com,b@example.com")),
        422,
        "customer.email",
    ),
    (
        "a mail address with a line break",
        |ask| ask.with("/customer/email", json!("a@example.com\r\nBcc: b@example.com")),
        422,
        "customer.email",
    ),
    (
        "a mail address with two dots in a row",
        |ask| ask.with("/customer/email", json!("a..b@example.com")),
        422,
        "customer.email",
    ),
    (
        "a mail address that begins with a dot",
        |ask| ask.with("/customer/email", json!(".a@example.com")),
        422,
        "customer.email",
    ),
    (
        "a mail address with a dot before the @",
        |ask| ask.with("/customer/email", json!("a.@example.com")),
        422,
        "customer.email",
    ),
    (
        "a mail address too long",
        |ask| ask.with("/customer/email", json!(format!("{}@example.com", "a".repeat(300)))),
        422,
        "customer.email",
    ),
    ("an empty name", |ask| ask.with("/customer/name", json!("")), 422, ""),
    (
        "a name with control characters",
        |ask| ask.with("/customer", json!({"email": "a@example.com", "name": "A\u{0}\r\nB"})),
        422,
        "customer.name",
    ),
    (
        "a name too long",
        |ask| ask.with("/customer", json!({"email": "a@example.com", "name": "☂".repeat(201)})),
        422,
        "customer.name",
    ),
    ("nothing ordered", |ask| ask.with("/items", json!([])), 422, "items"),
    (
        "too many lines",
        |ask| ask.with("/items", json!(vec![json!({"sku": "mug-blue", "quantity": 1}); 51])),
        422,
        "items",
    ),
    ("quantity 0", |ask| ask.with("/items", item(&json!(0))), 422, "items[0].quantity"),
    ("quantity −1", |ask| ask.with("/items", item(&json!(-1))), 422, "items[0].quantity"),
    ("quantity 1.5", |ask| ask.with("/items", item(&json!(1.5))), 422, "items[0].quantity"),
    ("quantity as text", |ask| ask.with("/items", item(&json!("1"))), 422, "items[0].quantity"),
    ("quantity too large", |ask| ask.with("/items", item(&json!(1_001))), 422, "items[0].quantity"),
    (
        "quantity beyond 32 bits",
        |ask| ask.with("/items", item(&json!(4_294_967_297_u64))),
        422,
        "items[0].quantity",
    ),
    (
        "quantity beyond 64 bits",
        |ask| ask.with("/items", item(&json!(1e300))),
        422,
        "items[0].quantity",
    ),
    ("no quantity", |ask| ask.with("/items", json!([{"sku": "mug-blue"}])), 422, "items[0]"),
    (
        "an unknown product",
        |ask| ask.with("/items", json!([{"sku": "mug-green-with-ears", "quantity": 1}])),
        422,
        "items[0].sku",
    ),
    (
        "SQL as product",
        |ask| ask.with("/items", json!([{"sku": "'; DROP TABLE orders; --", "quantity": 1}])),
        422,
        "items[0].sku",
    ),
    (
        "a product named in other letters",
        |ask| ask.with("/items", json!([{"sku": "ｍｕｇ-blue", "quantity": 1}])),
        422,
        "items[0].sku",
    ),
    (
        "a product twice",
        |ask| {
            ask.with(
                "/items",
                json!([{"sku": "mug-blue", "quantity": 1}, {"sku": "mug-blue", "quantity": 2}]),
            )
        },
        422,
        "items[1].sku",
    ),
    (
        "a total beyond the limit",
        |ask| ask.with("/items", json!([{"sku": "gold-bar", "quantity": 1_000}])),
        422,
        "items",
    ),
    ("an empty card token", |ask| ask.with("/card_token", json!("")), 422, "card_token"),
    ("a card number", |ask| ask.with("/card_token", json!("4111111111111111")), 422, "card_token"),
    (
        "a card token too long",
        |ask| ask.with("/card_token", json!("t".repeat(65))),
        422,
        "card_token",
    ),
    ("an unknown coupon", |ask| ask.with("/coupon", json!("NOT-A-COUPON")), 422, "coupon"),
    ("a coupon that is a path", |ask| ask.with("/coupon", json!("../payments")), 422, "coupon"),
    (
        "an unknown style",
        |ask| ask.post("/checkout?style=telepathy").json(&checkout("mug-blue", 1)),
        422,
        "style",
    ),
    (
        "an unknown parameter",
        |ask| ask.post("/checkout?fast=yes").json(&checkout("mug-blue", 1)),
        422,
        "style",
    ),
    ("an empty key", |ask| ask.with_key(b""), 400, ""),
    ("a key too long", |ask| ask.with_key(&[b'k'; 256]), 400, ""),
    ("a key that is no ASCII", |ask| ask.with_key("schlüssel".as_bytes()), 400, ""),
    ("two keys", |ask| ask.with_key(b"a").header("idempotency-key", "b"), 400, ""),
    ("another method", |ask| ask.0.http().put(format!("{}/checkout", ask.0.url("order"))), 405, ""),
    ("a path that isn't there", |ask| ask.post("/checkouts").json(&json!({})), 404, ""),
    (
        "cancelling what isn't there",
        |ask| ask.post("/orders/00000000-0000-7000-8000-000000000000/cancel"),
        404,
        "",
    ),
    ("cancelling no UUID", |ask| ask.post("/orders/1/cancel"), 400, ""),
];

async fn bad_input_gets_the_right_problem_and_writes_nothing(setup: Setup) {
    let system = Plan::new(setup).start().await;
    // What one of them costs is beyond what an order may cost.
    let gold = json!({"name": "Gold bar", "unit_price": {"amount": 6_500_000, "currency": "EUR"}, "on_hand": 5_000});
    let listed =
        system.http().put(format!("{}/products/gold-bar", system.url("inventory"))).json(&gold);
    assert!(listed.send().await.unwrap().status().is_success());
    crate::system::eventually("the gold's price reaches the order service", || async {
        let mut body = checkout("gold-bar", 1);
        body["coupon"] = json!("NOT-A-COUPON");
        let answer: Value = system.post_checkout(&body).await.ok()?.json().await.ok()?;
        (answer["errors"][0]["field"] == "coupon").then_some(())
    })
    .await;

    let mut wrong = Vec::new();
    for (what, request, status, field) in CASES {
        let answer = request(Ask(&system)).send().await.unwrap();
        let (got, kind) = (answer.status().as_u16(), answer.headers().get(CONTENT_TYPE).cloned());
        let text = answer.text().await.unwrap();
        let problem: Value = serde_json::from_str(&text).unwrap_or_default();
        let named = problem["errors"][0]["field"].as_str().unwrap_or_default();
        let complete = ["type", "title", "detail"].iter().all(|part| problem[part].is_string());
        let is_problem = kind.is_some_and(|kind| kind == "application/problem+json");
        let names_it = field.is_empty() || named == *field;
        if got != *status || !complete || !is_problem || !names_it || problem["status"] != got {
            wrong.push(format!("{what}: {got}, not {status} {field}: {text}"));
        }
        let lower = text.to_lowercase();
        if ["select ", "insert ", "panicked", "sqlx", ".rs:"]
            .iter()
            .any(|leak| lower.contains(leak))
        {
            wrong.push(format!("{what}: says too much: {text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let db = Db::open(system.database_url("order"), Options::default()).await.unwrap();
    for table in [
        "SELECT count(*) FROM orders",
        "SELECT count(*) FROM outbox",
        "SELECT count(*) FROM idempotency_keys",
    ] {
        assert_eq!(db.read(table).one::<(i64,)>().await.unwrap().0, 0, "{table}");
    }
    assert_eq!(system.ledger_summary().await["charges"], 0);
}
