//! Commands, which go to their owner alone; and the history, from which a queue that came later is filled.

use std::time::Duration;

use broker::{Broker, Error, Message, Outcome, Topology};
use contracts::{
    Cause, Coordination, Customer, Envelope, Exchange, Money, OrderId, OrderPlaced, Subscription,
    Timestamp,
};
use uuid::Uuid;

use crate::fixture::*;

const HOUR: Duration = Duration::from_secs(60 * 60);
/// A subscriber that came later.
const LATER: Subscription = Subscription::to("later", &["order.placed"]).with_history();

fn command(owner: &str, body: &str) -> Message {
    let (exchange, routing_key) = (Exchange::Commands, owner.to_owned());
    Message { exchange, routing_key, body: body.into() }
}

pub(crate) async fn a_command_goes_to_its_owner_alone(fixture: &Fixture) {
    let broker = fixture.open().await;
    // Events, commands, and what has no owner, in one batch.
    let batch = [
        command("payment", "charge"),
        message("order.placed", "placed"),
        command("email", "nobody takes commands there"),
        command("nobody", "?"),
        message("order.cancelled", "cancelled"),
    ];
    let outcomes = broker.publish(&batch).await;
    let (yes, no) = (Outcome::Confirmed, Outcome::Unroutable);
    assert_eq!(outcomes, [yes.clone(), yes.clone(), no.clone(), no, yes]);
    let mut payment = broker.consume("payment", 10);
    let taken = take(&mut payment, 3).await;
    let charge = taken.iter().find(|delivery| delivery.body == b"charge").unwrap();
    assert_eq!(charge.routing_key, "payment");
    ack(&mut payment, taken).await;
    assert_eq!(drain(&mut broker.consume("email", 10), 1).await, [b"placed"]);
}

/// The topology with a history, and with the later subscriber or without.
pub(crate) fn remembering(later: bool) -> Topology {
    let mut topology = Topology { history: true, ..topology() };
    if later {
        topology.subscriptions.push(LATER);
    }
    topology
}

/// A placed order that was announced so long ago.
fn placed(ago: Duration) -> Message {
    let order = OrderPlaced {
        order_id: OrderId::now_v7(),
        customer: Customer { email: "ada@example.com".to_owned(), name: None },
        lines: Vec::new(),
        total: Money { amount: 1, currency: "EUR".to_owned() },
        card_token: "tok_visa".to_owned(),
        coordination: Coordination::Choreography,
        placed_at: Timestamp::now() - ago,
    };
    let (id, time) = (Uuid::now_v7(), order.placed_at);
    let body = Envelope::new(&order, id, time, &Cause::default()).unwrap().to_bytes().unwrap();
    message("order.placed", body)
}

/// Opens a broker that declares, whatever the fixture's kind: the topology of these cases is their own.
async fn open(fixture: &Fixture, topology: Topology) -> Broker {
    let broker = Broker::open(&fixture.url, topology).await.unwrap();
    broker.declare().await.unwrap();
    broker
}

pub(crate) async fn a_later_queue_is_filled_from_the_history(fixture: &Fixture) {
    let broker = open(fixture, remembering(false)).await;
    let before: Vec<Message> = (0..1_200).map(|_| placed(HOUR)).collect();
    publish(&broker, &before).await;
    publish(&broker, &[message("order.cancelled", "not asked for")]).await;
    publish(&broker, &[command("payment", "no event")]).await;

    let later = open(fixture, remembering(true)).await;
    let now = placed(Duration::ZERO);
    publish(&broker, std::slice::from_ref(&now)).await;
    let since = Timestamp::now() - 2 * HOUR;
    let recalled = later.recall("later", since).await.unwrap();
    // What came in between came by itself too: the reader's inbox knows it.
    assert_eq!(recalled, 1_201);
    let mut expected = before.clone();
    expected.extend([now.clone(), now]);
    let mut consumer = later.consume("later", 500);
    assert_eq!(drain(&mut consumer, 1_202).await, bodies(&expected));
    // Nobody else hears anything again.
    assert_eq!(later.depth("email").await.unwrap().ready, 1_201);
    drop(consumer);
    later.close().await;
    tidy(fixture).await;
}

pub(crate) async fn what_is_too_old_is_not_recalled(fixture: &Fixture) {
    let broker = open(fixture, remembering(true)).await;
    drain(&mut broker.consume("later", 10), 0).await;
    assert_eq!(broker.recall("later", Timestamp::now()).await.unwrap(), 0, "there is nothing yet");
    publish(&broker, &[placed(Duration::ZERO)]).await;
    assert_eq!(broker.recall("later", Timestamp::now() + HOUR).await.unwrap(), 0);
    assert_eq!(broker.recall("later", Timestamp::now() - HOUR).await.unwrap(), 1);
    tidy(fixture).await;
}

pub(crate) async fn an_event_that_nobody_hears_is_kept_all_the_same(fixture: &Fixture) {
    let broker = open(fixture, remembering(true)).await;
    publish(&broker, &[message("nobody.listens", "x")]).await;
    assert_eq!(broker.publish(&[command("nobody", "x")]).await, [Outcome::Unroutable]);
    let refused = broker.recall("email", Timestamp::now()).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "email may not read the history");
    tidy(fixture).await;
}

/// Deletes what these cases have beyond the fixture.
async fn tidy(fixture: &Fixture) {
    if fixture.kind == Kind::RabbitMq {
        let topology = Topology { subscriptions: vec![LATER], ..remembering(false) };
        testkit::delete_queues(&fixture.url, &topology).await.unwrap();
    }
}
