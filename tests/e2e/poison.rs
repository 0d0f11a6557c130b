//! Messages that fail for good: each ends in the dead letters with its reason, after the right number of attempts, and blocks
//! nobody; an operator sees them, replays them when the cause is gone, or throws them away.

mod replayed;

use std::collections::BTreeSet;

use broker::{Broker, Message, Outcome, message_id};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    on_both,
    system::{Plan, SERVICES, Setup, System, checkout, eventually},
};

on_both! { what_nobody_can_read_is_a_dead_letter_at_once }

/// A message that can't be handled.
struct Poison {
    routing_key: &'static str,
    body: Vec<u8>,
    /// What its dead letters say.
    reason: String,
}

/// Somebody's address in a message that can't be read: it must not get into a log that way.
const SECRET: &str = "grace.hopper@example.com";

/// An envelope with all that one has, and this data.
pub(crate) fn envelope(kind: &str, source: &str, data: &Value) -> Value {
    let id = Uuid::now_v7();
    json!({
        "specversion": "1.0",
        "id": id,
        "source": source,
        "type": kind,
        "subject": id,
        "time": "2026-01-01T00:00:00Z",
        "datacontenttype": "application/json",
        "dataschema": "https://shop.example.com/schemas/any.json",
        "correlationid": id,
        "partitionkey": id,
        "data": data,
    })
}

/// Everything that can be wrong with a message, for those who listen to a routing key.
fn unreadable(routing_key: &'static str, source: &str) -> Vec<Poison> {
    let kind = format!("com.example.shop.{routing_key}.v1");
    let poison =
        |body: Vec<u8>, reason: &str| Poison { routing_key, body, reason: reason.to_owned() };
    let of_json = |body: Value, reason: &str| poison(body.to_string().into_bytes(), reason);
    // The same bytes elsewhere would have the same id.
    let mut noise = b"\x00\xff no JSON: ".to_vec();
    noise.extend(routing_key.bytes());
    let wrong = json!({"order_id": Uuid::now_v7(), "customer": SECRET, "amount": SECRET});
    let newer = format!("com.example.shop.{routing_key}.v2");
    let mut old = envelope(&kind, source, &json!({}));
    old["specversion"] = json!("0.3");
    vec![
        poison(noise, "not a CloudEvents 1.0 message: expected value at line 1 column 1"),
        of_json(json!({"hello": routing_key}), "not a CloudEvents 1.0 message: missing field"),
        of_json(old, "CloudEvents version \"0.3\" is not supported"),
        of_json(envelope(&newer, source, &json!({})), &format!("unknown message type {newer:?}")),
        of_json(
            envelope(&kind, source, &wrong),
            &format!("the data of {kind} doesn't have its form: expected struct"),
        ),
    ]
}

/// Facts that are well formed, about an order that nobody has placed.
fn about_nothing() -> [Poison; 2] {
    let order = Uuid::now_v7();
    let taken = json!({
        "order_id": order,
        "amount": {"amount": 100, "currency": "EUR"},
        "charge_id": "ch_1",
    });
    let reserved = json!({"order_id": order});
    [("payment.taken", "/payment", taken), ("stock.reserved", "/inventory", reserved)].map(
        |(routing_key, source, data)| {
            let kind = format!("com.example.shop.{routing_key}.v1");
            let body = envelope(&kind, source, &data).to_string().into_bytes();
            Poison { routing_key, body, reason: format!("there is no order {order}") }
        },
    )
}

/// Puts something on the broker.
pub(crate) async fn put(broker: &Broker, routing_key: &str, body: impl Into<Vec<u8>>) {
    let message = Message {
        exchange: contracts::Exchange::Events,
        routing_key: routing_key.to_owned(),
        body: body.into(),
    };
    assert_eq!(broker.publish(&[message]).await, [Outcome::Confirmed]);
}

async fn what_nobody_can_read_is_a_dead_letter_at_once(setup: Setup) {
    let system = Plan::new(setup).start().await;
    let mut poisons = unreadable("order.placed", "/order");
    poisons.extend(unreadable("payment.taken", "/payment"));
    poisons.extend(about_nothing());
    let broker = system.broker().await;
    for poison in &poisons {
        put(&broker, poison.routing_key, poison.body.clone()).await;
    }
    // A command that nobody can read is its owner's alone.
    let unreadable = b"no command".to_vec();
    let command = Message {
        exchange: contracts::Exchange::Commands,
        routing_key: "payment".to_owned(),
        body: unreadable.clone(),
    };
    assert_eq!(broker.publish(&[command]).await, [Outcome::Confirmed]);
    let command = Poison {
        routing_key: "payment",
        body: unreadable,
        reason: "not a CloudEvents 1.0 message: expected ident at line 1 column 2".to_owned(),
    };
    let placed = system.place(&checkout("mug-blue", 1)).await;
    let order = system.settled(&placed.id).await;
    assert_eq!(order["status"], "confirmed", "what comes behind is not blocked: {order}");
    system.one_of_each_mail(&placed.id).await;

    for service in SERVICES {
        let heard =
            |poison: &&Poison| (poison.routing_key == "order.placed") == (service != "order");
        let mut expected: Vec<&Poison> = poisons.iter().filter(heard).collect();
        expected.extend((service == "payment").then_some(&command));
        check_letters(&system, service, &expected).await;
    }
    for service in SERVICES {
        assert!(!system.log(service).contains(SECRET), "{SECRET} is in {service}'s log");
    }
    purge(&system).await;
}

/// Checks that a service's dead letters are these, each after one attempt, and that its metrics say so.
async fn check_letters(system: &System, service: &str, expected: &[&Poison]) {
    let letters = eventually(&format!("{service} has given up"), || async {
        let letters = system.dead_list(service).await;
        (letters.len() >= expected.len()).then_some(letters)
    })
    .await;
    assert_eq!(letters.len(), expected.len(), "{service}: {letters:#?}");
    for Poison { routing_key, body, reason } in expected {
        let id = message_id(body).to_string();
        let letter = letters.iter().find(|letter| letter["id"] == json!(id));
        let letter = letter.unwrap_or_else(|| panic!("{id} is not in {letters:#?}"));
        let error = letter["error"].as_str().unwrap();
        assert!(error.starts_with(reason), "{error:?} should begin with {reason:?}");
        assert_eq!(letter["routing_key"], *routing_key, "{letter}");
        assert_eq!((&letter["failures"], &letter["replays"]), (&json!(1), &json!(0)), "{letter}");
        assert!(letter["first_failed_at"].is_string(), "{letter}");
    }
    let count = expected.len() as f64;
    assert_eq!(attempts(system, service, "dead").await, count, "dead attempts of {service}");
    assert_eq!(attempts(system, service, "retried").await, 0.0, "retried attempts of {service}");
    eventually(&format!("shop_dead_letters of {service} is {count}"), || async {
        (system.metric(service, "shop_dead_letters", "").await == Some(count)).then_some(())
    })
    .await;
}

/// How many attempts of a service had this outcome.
async fn attempts(system: &System, service: &str, outcome: &str) -> f64 {
    let label = format!("outcome=\"{outcome}\"");
    system.metric(service, "shop_attempts_total", &label).await.unwrap()
}

/// Throws dead letters away: not without `--yes`, then one, then all.
async fn purge(system: &System) {
    let before = system.dead_list("email").await;
    let refused = system.dead(&["purge", "--all"]).await;
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--yes"), "{refused:?}");
    assert_eq!(ids(&system.dead_list("email").await), ids(&before));

    let one = before[0]["id"].as_str().unwrap();
    system.dead_prints(&["purge", one, "--yes", "--queue", "email"]).await;
    let mut left = ids(&before);
    left.remove(one);
    assert_eq!(ids(&system.dead_list("email").await), left);

    system.dead_prints(&["purge", "--all", "--yes"]).await;
    system.no_dead_letters().await;
}

fn ids(letters: &[Value]) -> BTreeSet<String> {
    letters.iter().map(|letter| letter["id"].as_str().unwrap().to_owned()).collect()
}
