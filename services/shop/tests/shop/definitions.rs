//! `shop definitions`, and the file that it makes.

use std::path::Path;

use serde_json::Value;

use crate::world::{Folder, run, text};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/rabbitmq/definitions.json");

#[tokio::test]
async fn the_definitions_that_are_deployed_are_those_of_the_code() {
    let output = run(Folder::new().path(), &["definitions"]).await;
    assert!(output.status.success());
    let deployed = std::fs::read_to_string(Path::new(FILE)).unwrap_or_default();
    assert!(
        deployed == text(&output.stdout),
        "deploy/rabbitmq/definitions.json is not what the code says; type:\n\n    \
         cargo run -p shop -- definitions > deploy/rabbitmq/definitions.json\n"
    );
}

#[tokio::test]
async fn each_service_may_write_its_own_and_read_its_own_and_nobody_has_a_password() {
    let output = run(Folder::new().path(), &["definitions", "--retry-delays", "7s"]).await;
    let definitions: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |section: &str, key: &str, name: &str| -> Value {
        let things = definitions[section].as_array().unwrap();
        things.iter().find(|thing| thing[key] == name).cloned().unwrap_or_default()
    };
    let payment = of("permissions", "user", "payment");
    assert_eq!(payment["configure"], "^$");
    assert_eq!(payment["write"], r"^(payment\.failures|shop\.events)$");
    assert_eq!(payment["read"], r"^payment(\.dead|\.retry\.[0-9]+)?$");
    let events = of("topic_permissions", "user", "payment");
    assert_eq!(
        events["write"],
        r"^(payment\.taken|payment\.declined|payment\.refunded|payment\.voided)$"
    );
    // It announces nothing.
    assert_eq!(of("permissions", "user", "email")["write"], r"^(email\.failures)$");
    assert_eq!(of("topic_permissions", "user", "email"), Value::Null);

    assert_eq!(of("queues", "name", "email.retry.7000")["arguments"]["x-message-ttl"], 7_000);
    assert_eq!(of("queues", "name", "email.retry.1000"), Value::Null);
    let users = definitions["users"].as_array().unwrap();
    assert_eq!(users.len(), 6);
    assert!(users.iter().all(|user| user["password_hash"] == "" && user["name"] != "guest"));
}

#[tokio::test]
async fn a_subscriber_that_came_later_is_there_when_it_is_asked_for() {
    let output = run(Folder::new().path(), &["definitions", "--with", "fraud"]).await;
    let definitions: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |section: &str, key: &str| -> Value {
        let things = definitions[section].as_array().unwrap();
        things.iter().find(|thing| thing[key] == "fraud").cloned().unwrap_or_default()
    };
    let permission = of("permissions", "user");
    assert_eq!(permission["write"], r"^(fraud\.failures|shop\.events)$");
    assert_eq!(permission["read"], r"^(fraud(\.dead|\.retry\.[0-9]+)?|shop\.history)$");
    assert_eq!(of("topic_permissions", "user")["write"], r"^(order\.flagged)$");
    assert_eq!(of("queues", "name")["arguments"]["x-queue-type"], "quorum");
}
