//! What becomes of the steps when several facts come in one transaction, on both engines.

use ::store::Db;
use contracts::Cancellation;

use super::*;
use crate::{
    fixtures,
    machine::{Payment, Stock},
    store::steps::Kept,
};

fn watchers() -> Watchers {
    let seconds = Duration::from_secs;
    let pace = Pace {
        step_timeout: seconds(60),
        compensation_retry: seconds(60),
        compensation_retry_max: seconds(600),
    };
    let metrics = Orders::register(&Metrics::default());
    Watchers { waiters: Waiters::default(), metrics, pace }
}

/// An order whose goods are reserved, cancelled by its customer; neither refunded nor released.
fn cancelled(coordination: Coordination) -> Order {
    let status = Status::Cancelled(Cancellation::Customer);
    let (payment, stock) = (Payment::Unknown, Stock::Reserved);
    fixtures::order(State { coordination, status, payment, stock })
}

/// A database of each engine that is at hand, with an order in it.
async fn databases(order: &Order) -> Vec<(testkit::TestDatabase, Db)> {
    let databases = fixtures::databases().await;
    for (_, db) in &databases {
        let mut tx = db.begin().await.unwrap();
        store::insert_orders(&mut tx, &[order]).await.unwrap();
        tx.commit().await.unwrap();
    }
    databases
}

/// Takes these facts about the order in one transaction.
async fn take(db: &Db, id: OrderId, facts: &[Fact]) {
    let watchers = watchers();
    let mut tx = db.begin().await.unwrap();
    let mut moving = Moving::lock(&mut tx, &[id], watchers.pace).await.unwrap();
    for fact in facts {
        moving.take(&mut tx, id, *fact, &Cause::default()).unwrap();
    }
    moving.save(&mut tx, &watchers).await.unwrap();
    tx.commit().await.unwrap();
}

/// The steps of the order: which, whether it is open, and the kept row.
async fn steps(db: &Db, id: OrderId) -> Vec<(Step, bool, Kept)> {
    let steps = steps::of_order(db, id).await.unwrap().all().unwrap();
    steps.into_iter().map(|kept| (kept.step, kept.answered_at.is_none(), kept)).collect()
}

fn open(steps: &[(Step, bool, Kept)]) -> Vec<Step> {
    steps.iter().filter(|(_, open, _)| *open).map(|(step, ..)| *step).collect()
}

#[tokio::test]
async fn what_is_asked_last_stays_open_whatever_came_before_in_the_same_transaction() {
    let order = cancelled(Coordination::Orchestration);
    for (_database, db) in databases(&order).await {
        // The refund is resolved, and the release asked for.
        take(&db, order.id, &[Fact::Resolved(Step::RefundPayment)]).await;
        assert_eq!(open(&steps(&db, order.id).await), [Step::ReleaseStock]);
        // The refund is asked for again, and answered at once; then the release, again.
        let facts = [Fact::Payment(Payment::Taken), Fact::Payment(Payment::Refunded)];
        take(&db, order.id, &facts).await;
        let now = steps(&db, order.id).await;
        assert_eq!(open(&now), [Step::ReleaseStock], "{now:?}");
        assert!(now.iter().all(|(_, open, kept)| kept.due_at.is_some() == *open), "{now:?}");
        take(&db, order.id, &[Fact::Stock(Stock::Released)]).await;
        assert!(open(&steps(&db, order.id).await).is_empty());
        assert!(store::order(&db, order.id).await.unwrap().unwrap().settled_at.is_some());
    }
}

#[tokio::test]
async fn a_step_that_is_open_again_begins_again() {
    let order = cancelled(Coordination::Sync);
    for (_database, db) in databases(&order).await {
        let asked = Asked {
            order_id: order.id,
            step: Step::RefundPayment,
            attempts: 7,
            at: order.placed_at,
            due_at: None,
            error: Some("payment can't be reached".to_owned()),
        };
        let mut tx = db.begin().await.unwrap();
        steps::ask(&mut tx, &[&asked]).await.unwrap();
        tx.commit().await.unwrap();
        let before = steps(&db, order.id).await.remove(0).2;
        take(&db, order.id, &[Fact::Resolved(Step::RefundPayment)]).await;
        take(&db, order.id, &[Fact::Payment(Payment::Taken)]).await;
        let (step, open, kept) = steps(&db, order.id).await.remove(0);
        assert_eq!((step, open), (Step::RefundPayment, true));
        assert_eq!((kept.attempt, kept.parked_at, kept.error), (0, None, None));
        assert!(kept.due_at.is_some(), "it is called for at once");

        // A replica that read it while it was open changes nothing once it is answered.
        take(&db, order.id, &[Fact::Payment(Payment::Refunded)]).await;
        let mut tx = db.begin().await.unwrap();
        steps::ask_again(&mut tx, &[Kept { due_at: Some(order.placed_at), ..before }])
            .await
            .unwrap();
        let (parked_at, error) = (Some(order.placed_at), "too late");
        steps::failed(&mut tx, order.id, step, error, parked_at).await.unwrap();
        tx.commit().await.unwrap();
        let (_, open, kept) = steps(&db, order.id).await.remove(0);
        assert_eq!((open, kept.due_at, kept.parked_at, kept.error), (false, None, None, None));
    }
}

#[tokio::test]
async fn a_cancellation_is_announced_again_when_a_resolved_order_was_charged_after_all() {
    let order = cancelled(Coordination::Choreography);
    for (_database, db) in databases(&order).await {
        take(&db, order.id, &[Fact::Resolved(Step::RefundPayment)]).await;
        let announced = async || {
            let sql = "SELECT count(*) FROM outbox WHERE routing_key = 'order.cancelled'";
            db.read(sql).one::<(i64,)>().await.unwrap().0
        };
        assert_eq!(announced().await, 0);
        // Whether or not the goods are released by then.
        take(&db, order.id, &[Fact::Payment(Payment::Taken)]).await;
        assert_eq!(announced().await, 1);
        let resolved = [Fact::Resolved(Step::RefundPayment), Fact::Resolved(Step::ReleaseStock)];
        take(&db, order.id, &resolved).await;
        assert!(store::order(&db, order.id).await.unwrap().unwrap().settled_at.is_some());
        take(&db, order.id, &[Fact::Payment(Payment::Taken)]).await;
        assert_eq!(announced().await, 2);
        assert!(store::order(&db, order.id).await.unwrap().unwrap().settled_at.is_none());
    }
}
