//! Every SQL statement, on both engines.

use std::time::Duration;

use contracts::{Cause, Timestamp};
use payment::{
    payment::{Payment, State},
    store as sql,
};
use store::{Db, Options};
use uuid::Uuid;

use crate::world::{databases, money};

const NOW: Timestamp = Timestamp::from_micros(1_795_000_000_123_456);
const MINUTE: Duration = Duration::from_secs(60);
/// Later than this nothing can be due at `NOW`.
const LATEST: Timestamp = Timestamp::from_micros(NOW.as_micros() + 600_000_000);

fn payment(state: State) -> Payment {
    Payment {
        order_id: Uuid::now_v7(),
        state,
        amount: money(4200),
        charge_key: Some(Uuid::now_v7()),
        charge_id: None,
        decline_reason: None,
        failed_reversals: 0,
        due_at: (state == State::Reversing).then_some(NOW),
        cause: Cause::default(),
        created_at: NOW,
        updated_at: NOW,
    }
}

/// Runs `test` on an empty database of each engine.
async fn on_each(test: impl AsyncFn(&Db)) {
    for database in databases().await {
        let db = Db::open(&database.url, Options::default()).await.unwrap();
        let migrations = sql::MIGRATIONS;
        db.migrate(migrations.postgres, migrations.sqlite).await.unwrap();
        test(&db).await;
        db.close().await;
    }
}

async fn create(db: &Db, payments: &[Payment]) {
    let mut tx = db.begin().await.unwrap();
    assert_eq!(sql::create(&mut tx, payments).await.unwrap().len(), payments.len());
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_comes_back_as_it_was_written() {
    on_each(async |db| {
        let full = Payment {
            charge_id: Some("ch_1".to_owned()),
            decline_reason: Some("card_declined".to_owned()),
            failed_reversals: u32::MAX,
            cause: Cause {
                message: Some(Uuid::now_v7()),
                traceparent: Some(
                    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
                ),
            },
            ..payment(State::Reversing)
        };
        // Of the two tombstones, a message has left one, and a call the other.
        let cause = Cause { message: Some(Uuid::now_v7()), traceparent: None };
        let tombstone = Payment { charge_key: None, cause, ..payment(State::Voided) };
        let barred = Payment { charge_key: None, ..payment(State::Barred) };
        let others = [State::Pending, State::Taken, State::Declined, State::Refunded];
        let mut payments = vec![full, tombstone, barred];
        payments.extend(others.map(payment));
        create(db, &payments).await;
        for payment in &payments {
            assert_eq!(sql::find(db, payment.order_id).await.unwrap().as_ref(), Some(payment));
        }
        assert_eq!(sql::find(db, Uuid::now_v7()).await.unwrap(), None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_has_one_payment_and_the_first_stays() {
    on_each(async |db| {
        let first = payment(State::Pending);
        create(db, std::slice::from_ref(&first)).await;
        let second = Payment { order_id: first.order_id, ..payment(State::Voided) };
        let other = payment(State::Pending);
        let mut tx = db.begin().await.unwrap();
        let created = sql::create(&mut tx, &[second, other.clone()]).await.unwrap();
        assert_eq!(created.into_iter().collect::<Vec<_>>(), [other.order_id]);
        assert!(sql::create(&mut tx, &[]).await.unwrap().is_empty());
        tx.commit().await.unwrap();
        assert_eq!(sql::find(db, first.order_id).await.unwrap(), Some(first));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_payments_are_locked_and_saved_at_once() {
    on_each(async |db| {
        let before: Vec<Payment> = (0..300).map(|_| payment(State::Pending)).collect();
        create(db, &before).await;
        let mut order_ids: Vec<Uuid> = before.iter().map(|payment| payment.order_id).collect();
        order_ids.push(Uuid::now_v7());
        let mut tx = db.begin().await.unwrap();
        let mut payments = sql::lock(&mut tx, &order_ids).await.unwrap();
        payments.sort_unstable_by_key(|payment| payment.order_id);
        assert_eq!(payments, before);
        for payment in &mut payments {
            payment.state = State::Taken;
            payment.charge_id = Some("ch_1".to_owned());
            payment.updated_at = NOW + MINUTE;
        }
        sql::save(&mut tx, &payments).await.unwrap();
        sql::save(&mut tx, &[]).await.unwrap();
        tx.commit().await.unwrap();
        for payment in &payments {
            assert_eq!(sql::find(db, payment.order_id).await.unwrap().as_ref(), Some(payment));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_claimed_once() {
    on_each(async |db| {
        let due = payment(State::Reversing);
        let sooner = Payment {
            due_at: Some(Timestamp::from_micros(NOW.as_micros() - 1)),
            failed_reversals: 3,
            ..payment(State::Reversing)
        };
        let later = Payment { due_at: Some(NOW + MINUTE), ..payment(State::Reversing) };
        create(db, &[due.clone(), sooner.clone(), later.clone(), payment(State::Taken)]).await;

        let backlog = sql::backlog(db, NOW, LATEST, 3).await.unwrap();
        assert_eq!(backlog, sql::Backlog { due: true, failing: 1 });
        let listed = readable(sql::reversing(db, 2).await.unwrap());
        assert_eq!(listed, [sooner.clone(), due.clone()]);

        assert_eq!(claim(db, 1).await, [leased(sooner)]);
        assert_eq!(claim(db, 9).await, [leased(due)]);
        assert_eq!(claim(db, 9).await, []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_clock_that_was_set_back_has_put_off_is_due() {
    on_each(async |db| {
        let hour_ahead = Some(NOW + MINUTE * 60);
        let ahead = Payment { due_at: hour_ahead, ..payment(State::Reversing) };
        create(db, std::slice::from_ref(&ahead)).await;
        assert!(sql::backlog(db, NOW, LATEST, 3).await.unwrap().due);
        assert_eq!(claim(db, 9).await, [leased(ahead)]);
        assert!(!sql::backlog(db, NOW, LATEST, 3).await.unwrap().due);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_cannot_be_read_costs_no_other() {
    on_each(async |db| {
        let (good, bad) = (payment(State::Reversing), payment(State::Reversing));
        create(db, &[good.clone(), bad.clone()]).await;
        let mut tx = db.begin().await.unwrap();
        let foreign = "UPDATE payments SET failed_reversals = -1 WHERE order_id = $1";
        tx.query(foreign).bind(bad.order_id).execute().await.unwrap();
        tx.commit().await.unwrap();

        let listed = sql::reversing(db, 10).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        let claimed = sql::claim_due(&mut tx, NOW, LATEST, MINUTE, 10).await.unwrap();
        tx.commit().await.unwrap();
        for (payments, good) in [(listed, good.clone()), (claimed, leased(good))] {
            let (read, unreadable): (Vec<_>, Vec<_>) =
                payments.into_iter().partition(Result::is_ok);
            assert_eq!(readable(read), [good]);
            assert_eq!(unreadable[0].as_ref().unwrap_err().0, bad.order_id);
        }
    })
    .await;
}

/// Claims what is due at `NOW`.
async fn claim(db: &Db, limit: usize) -> Vec<Payment> {
    let mut tx = db.begin().await.unwrap();
    let claimed = sql::claim_due(&mut tx, NOW, LATEST, MINUTE, limit).await.unwrap();
    tx.commit().await.unwrap();
    readable(claimed)
}

fn readable(payments: Vec<sql::Readable>) -> Vec<Payment> {
    payments.into_iter().map(|payment| payment.unwrap()).collect()
}

fn leased(payment: Payment) -> Payment {
    Payment { due_at: Some(NOW + MINUTE), ..payment }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_table_has_no_backlog() {
    on_each(async |db| {
        let backlog = sql::backlog(db, NOW, LATEST, 3).await.unwrap();
        assert_eq!(backlog, sql::Backlog { due: false, failing: 0 });
        assert!(sql::reversing(db, 10).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seeded_coupons_are_there() {
    on_each(async |db| {
        let coupon = sql::coupon(db, "SPRING25").await.unwrap();
        assert_eq!(coupon, Some(("SPRING25".to_owned(), 25)));
        assert_eq!(sql::coupon(db, "spring25").await.unwrap(), None);
    })
    .await;
}
