//! A handler that always fails: after its attempts the message is a dead letter, and a replay succeeds once the cause is gone.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{attempts, ids};
use crate::{
    in_both_styles,
    system::{Plan, Setup, System, checkout, eventually},
};

in_both_styles! {
    a_mail_that_failed_for_good_is_replayed,
    a_charge_that_failed_for_good_is_replayed,
}

/// The dead letters of a service, once there are so many.
async fn dead(system: &System, service: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{service} has {count} dead letters"), || async {
        let letters = system.dead_list(service).await;
        (letters.len() >= count).then_some(letters)
    })
    .await
}

/// Checks that a letter is one after three attempts; its id.
fn check_letter(letter: &Value, reason: &str, replays: u32) -> Uuid {
    assert_eq!(letter["failures"], 3, "one attempt and two delays: {letter}");
    assert_eq!(letter["replays"], replays, "{letter}");
    assert_eq!(letter["error"], reason, "{letter}");
    letter["id"].as_str().unwrap().parse().unwrap()
}

/// The attempt that succeeded and the replays before it, as the service's inbox has them.
async fn receipt(system: &System, service: &str, id: Uuid) -> Option<(u32, u32)> {
    let db = system.database(service).await;
    let receipt = db.receipt("/order", id).await.unwrap();
    db.close().await;
    receipt
}

async fn a_mail_that_failed_for_good_is_replayed(setup: Setup) {
    let system = Plan::new(setup).env("all", "RETRY_DELAYS", "100ms,200ms").start().await;
    system.fault("mail", json!({"error_rate": 1.0})).await;
    let placed = system.place(&checkout("mug-blue", 1)).await;
    let letters = dead(&system, "email", 2).await;
    assert_eq!(system.settled(&placed.id).await["status"], "confirmed", "without its mails");
    let reason = "the mail server refused the mail: 451";
    let messages: Vec<Uuid> = letters.iter().map(|l| check_letter(l, reason, 0)).collect();
    assert_eq!(attempts(&system, "email", "retried").await, 4.0);
    assert_eq!(attempts(&system, "email", "dead").await, 2.0);
    let [first, second] = messages[..] else { panic!("{letters:#?}") };
    check_shown(&system, first, reason, &placed.id).await;

    system.heal().await;
    system.dead_prints(&["replay", &first.to_string()]).await;
    let mails = system.mails_arrived(&placed.id, 1).await;
    assert!(mails[0]["message_id"].as_str().unwrap().contains(&first.to_string()), "{mails:?}");
    assert_eq!(ids(&system.dead_list("email").await), [second.to_string()].into());
    let printed = system.dead_prints(&["replay", "--all"]).await;
    assert!(printed.contains("1 replayed"), "{printed}");
    system.one_of_each_mail(&placed.id).await;
    for message in messages {
        let kept = eventually("the inbox has it", || receipt(&system, "email", message)).await;
        assert_eq!(kept, (1, 1), "the first attempt after one replay");
    }
    system.no_dead_letters().await;
    let again = system.dead(&["replay", &first.to_string()]).await;
    assert!(!again.status.success(), "there is nothing to replay any more");
    for name in system.names() {
        let log = system.log(&name);
        assert!(!log.contains("ada@example.com"), "the customer's address is in {name}'s log");
    }
}

/// Checks what `shop dead show` tells an operator.
async fn check_shown(system: &System, id: Uuid, reason: &str, order: &str) {
    let id = id.to_string();
    let shown = system.dead_prints(&["show", &id]).await;
    for expected in
        [id.as_str(), reason, order, "email", "com.example.shop.order.", "a***@example.com"]
    {
        assert!(shown.contains(expected), "{expected:?} is not in {shown}");
    }
    assert!(!shown.contains("ada@example.com") && !shown.contains("tok_visa"), "{shown}");
    let revealed = system.dead_prints(&["show", &id, "--reveal"]).await;
    assert!(revealed.contains("ada@example.com"), "{revealed}");
}

async fn a_charge_that_failed_for_good_is_replayed(setup: Setup) {
    let system = Plan::new(setup).env("all", "RETRY_DELAYS", "100ms,200ms").start().await;
    system.fault("processor", json!({"down": true})).await;
    let placed = system.place(&checkout("mug-blue", 1)).await;
    let letters = dead(&system, "payment", 1).await;
    let reason = "the card processor answered 503 Service Unavailable";
    let message = check_letter(&letters[0], reason, 0);
    assert_eq!(refused_charges(&system).await, 3.0, "the processor was asked so many times");
    // Nobody else is kept waiting.
    system.mails_arrived(&placed.id, 1).await;
    assert_eq!(system.order(&placed.id).await["status"], "placed");

    // The cause is still there.
    system.dead_prints(&["replay", &message.to_string()]).await;
    eventually("the processor is asked three times more", || async {
        (refused_charges(&system).await >= 6.0).then_some(())
    })
    .await;
    let letters = dead(&system, "payment", 1).await;
    assert_eq!(check_letter(&letters[0], reason, 1), message, "the same message, replayed once");

    system.heal().await;
    system.dead_prints(&["replay", "--all", "--queue", "payment"]).await;
    assert_eq!(system.audit(&[placed]).await, 1, "confirmed, charged once");
    assert_eq!(receipt(&system, "payment", message).await, Some((1, 2)));
    system.no_dead_letters().await;
}

/// How many requests the card processor has answered with 503.
async fn refused_charges(system: &System) -> f64 {
    let metric = "http_server_request_duration_seconds_count";
    system.metric("sandbox", metric, "status=\"503\"").await.unwrap()
}
