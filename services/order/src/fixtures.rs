//! What the tests of several files start from.

use contracts::{Customer, Money, OrderId, Timestamp};
use store::Db;
use testkit::TestDatabase;

use crate::{POSTGRES, SQLITE, machine::State, order::Order};

/// A database of each engine that is at hand, with the service's tables.
pub(crate) async fn databases() -> Vec<(TestDatabase, Db)> {
    let mut databases = vec![testkit::sqlite_database()];
    databases.extend(testkit::postgres_database().await);
    let mut opened = Vec::new();
    for database in databases {
        let db = Db::open(&database.url, store::Options::default()).await.unwrap();
        db.migrate(&POSTGRES, &SQLITE).await.unwrap();
        opened.push((database, db));
    }
    opened
}

/// A small order in this state, whose time is up now.
pub(crate) fn order(state: State) -> Order {
    let now = Timestamp::now();
    Order {
        id: OrderId::now_v7(),
        state,
        customer: Customer { email: "ada@example.com".to_owned(), name: None },
        lines: Vec::new(),
        total: Money { amount: 1, currency: "EUR".to_owned() },
        coupon: None,
        card_token: None,
        placed_at: now,
        deadline_at: now,
        settled_at: None,
        resolution: None,
        traceparent: None,
    }
}
