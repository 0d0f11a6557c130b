//! The service's books, seeding and HTTP on both engines, and its messages through a broker.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that can't be set up fails; clippy knows only functions marked #[test] for tests"
)]

mod books;
mod concurrency;
mod messages;
mod products;
mod running;
mod seeding;

use inventory::MIGRATIONS;
use store::{Db, Options};
use testkit::{TestDatabase, postgres_database, sqlite_database};

/// A database of each engine; without `DATABASE_URL` only SQLite, which testkit says.
async fn databases() -> Vec<TestDatabase> {
    [Some(sqlite_database()), postgres_database().await].into_iter().flatten().collect()
}

/// Opens it as a replica does: with pools of its own.
async fn open(database: &TestDatabase) -> Db {
    let db = Db::open(&database.url, Options::default()).await.unwrap();
    db.migrate(MIGRATIONS.postgres, MIGRATIONS.sqlite).await.unwrap();
    db
}

/// What the outbox holds, as type and subject, in the order of writing.
async fn announced(db: &Db) -> Vec<(String, String)> {
    let rows = db.lease_outbox(100_000).await.unwrap().rows;
    let headers = rows.iter().map(|row| contracts::Header::of(&row.body).unwrap());
    headers.map(|header| (short(&header.kind), header.subject)).collect()
}

/// `stock.reserved` of `com.example.shop.stock.reserved.v1`.
fn short(kind: &str) -> String {
    let kind = kind.strip_prefix("com.example.shop.").unwrap();
    kind.strip_suffix(".v1").unwrap().to_owned()
}
