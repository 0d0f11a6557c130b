//! From the publisher to the queues.

use broker::{Error, Outcome};

use crate::fixture::*;

pub(crate) async fn everything_published_arrives_once_in_each_bound_queue(fixture: &Fixture) {
    let broker = fixture.open().await;
    let (placed, cancelled) = (orders(10), [message("order.cancelled", "cancelled")]);
    publish(&broker, &placed).await;
    publish(&broker, &cancelled).await;
    let both = [placed.as_slice(), &cancelled].concat();
    let mut payment = broker.consume("payment", 100);
    let mut email = broker.consume("email", 100);
    assert_eq!(drain(&mut payment, 11).await, bodies(&both));
    assert_eq!(drain(&mut email, 10).await, bodies(&placed));
    assert!(payment.is_connected() && email.is_connected());
}

pub(crate) async fn bytes_arrive_as_they_were(fixture: &Fixture) {
    let broker = fixture.open().await;
    let envelope = br#"{"specversion":"1.0",  "id":"0198a000-0000-7000-8000-000000000000","source":"/order",
        "type":"t","subject":"s","time":"2026-01-01T00:00:00.5Z","datacontenttype":"application/json",
        "dataschema":"","correlationid":"c","partitionkey":"p","data":{"b":1,"a":[2]}}"#;
    let large: Vec<u8> = (0..1_000_000_u32).map(|n| (n * 7 % 251) as u8).collect();
    let every_byte: Vec<u8> = (0..=255).collect();
    for body in [envelope.to_vec(), vec![], every_byte, b"\"json\"".to_vec(), large] {
        publish(&broker, &[message("order.cancelled", body.clone())]).await;
        let mut consumer = broker.consume("payment", 10);
        let delivery = take_one(&mut consumer).await;
        assert!(delivery.body == body, "{} bytes came for {}", delivery.body.len(), body.len());
        assert_eq!(delivery.routing_key, "order.cancelled");
        assert_eq!(delivery.history, broker::History::default());
        ack(&mut consumer, vec![delivery]).await;
    }
}

pub(crate) async fn unroutable_is_told_apart_from_confirmed(fixture: &Fixture) {
    let broker = fixture.open().await;
    let key = |n| if n % 3 == 0 { "nobody.listens" } else { "order.placed" };
    let batch: Vec<_> = (0..300).map(|n| message(key(n), n.to_string())).collect();
    for (n, outcome) in broker.publish(&batch).await.into_iter().enumerate() {
        let expected = if n % 3 == 0 { Outcome::Unroutable } else { Outcome::Confirmed };
        assert_eq!(outcome, expected, "message {n}");
    }
    // Few among many, whose outcome comes while others are still under way.
    let sparse = |n| n % 100 == 99;
    let key = |n| if sparse(n) { "nobody.listens" } else { "order.cancelled" };
    let many: Vec<_> = (0..1_000).map(|n| message(key(n), n.to_string())).collect();
    for (n, outcome) in broker.publish(&many).await.into_iter().enumerate() {
        let expected = if sparse(n) { Outcome::Unroutable } else { Outcome::Confirmed };
        assert_eq!(outcome, expected, "message {n}");
    }
    let only_unroutable = broker.publish(&batch[..1]).await;
    assert_eq!(only_unroutable, [Outcome::Unroutable]);
    let routed: Vec<_> = batch.into_iter().filter(|m| m.routing_key == "order.placed").collect();
    assert_eq!(drain(&mut broker.consume("email", 100), 200).await, bodies(&routed));
}

pub(crate) async fn publishers_at_the_same_time_dont_mix_up_their_outcomes(fixture: &Fixture) {
    let broker = fixture.open().await;
    let publishers = (0..6).map(|publisher| {
        let broker = broker.clone();
        let (key, expected) = match publisher % 2 {
            0 => ("nobody.listens", Outcome::Unroutable),
            _ => ("order.placed", Outcome::Confirmed),
        };
        tokio::spawn(async move {
            for n in 0..5 {
                let batch: Vec<_> =
                    (0..40).map(|m| message(key, format!("{publisher} {n} {m}"))).collect();
                assert_eq!(broker.publish(&batch).await, vec![expected.clone(); 40]);
            }
        })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        publisher.await.unwrap();
    }
    let bodies = drain(&mut broker.consume("email", 100), 600).await;
    assert!(bodies.windows(2).all(|pair| pair[0] != pair[1]), "each once");
}

pub(crate) async fn a_big_batch_is_confirmed_and_arrives(fixture: &Fixture) {
    let broker = fixture.open().await;
    let batch = orders(2_000);
    publish(&broker, &batch).await;
    assert_eq!(broker.publish(&[]).await, []);
    assert_eq!(drain(&mut broker.consume("payment", 100), 2_000).await, bodies(&batch));
}

pub(crate) async fn an_endless_routing_key_is_an_outcome(fixture: &Fixture) {
    let broker = fixture.open().await;
    let batch = [message(&"x".repeat(300), "lost"), message("order.placed", "kept")];
    let outcomes = broker.publish(&batch).await;
    assert_ne!(outcomes[0], Outcome::Confirmed);
    assert_eq!(outcomes[1], Outcome::Confirmed);
    assert_eq!(drain(&mut broker.consume("payment", 1), 1).await, [b"kept"]);
}

pub(crate) async fn declaring_again_and_at_the_same_time_changes_nothing(fixture: &Fixture) {
    let (one, other) = (fixture.open().await, fixture.open().await);
    let (first, second) = tokio::join!(one.declare(), other.declare());
    first.unwrap();
    second.unwrap();
    publish(&one, &orders(3)).await;
    fixture.open().await.declare().await.unwrap();
    one.declare().await.unwrap();
    assert_eq!(drain(&mut other.consume("payment", 10), 3).await.len(), 3);
}

pub(crate) async fn an_unknown_queue_is_refused(fixture: &Fixture) {
    let broker = fixture.open().await;
    assert!(matches!(broker.depth("nobody").await, Err(Error::Refused(_))));
    assert!(matches!(broker.dead_letters("nobody", 10).await, Err(Error::Refused(_))));
    let all = broker::Selection::All;
    assert!(matches!(broker.replay("nobody", &all).await, Err(Error::Refused(_))));
    assert!(matches!(broker.purge("nobody", &all).await, Err(Error::Refused(_))));
    broker.depth("payment").await.unwrap(); // what was refused broke nothing
}
