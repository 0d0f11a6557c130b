//! Every statement of the store on both engines.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]

mod database;
mod delivery;
mod faults;

use store::{Db, Options};
use testkit::TestDatabase;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("tests/store/migrations");

/// A database of the test's own; it goes when the second part is dropped.
async fn open(database: TestDatabase) -> (Db, TestDatabase) {
    let db = Db::open(&database.url, Options::default()).await.unwrap();
    db.migrate(&MIGRATIONS, &MIGRATIONS).await.unwrap();
    (db, database)
}

/// Makes a test of each function for each engine.
macro_rules! on_both_engines {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let (db, _database) = crate::open(testkit::sqlite_database()).await;
                super::$test(db).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let Some(database) = testkit::postgres_database().await else { return };
                let (db, _database) = crate::open(database).await;
                super::$test(db).await;
            })+
        }
    };
}
use on_both_engines;
