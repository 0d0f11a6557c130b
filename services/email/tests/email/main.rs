//! The service from outside: messages in by a broker, mails out by SMTP.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that goes wrong fails; clippy knows only functions marked as tests"
)]

mod claims;
mod delivery;
mod events;
mod failures;
mod queue;
mod refusing;
mod world;

use std::time::Duration;

use testkit::TestDatabase;

/// A database of each engine; without `DATABASE_URL` only SQLite, which [`testkit`] says aloud.
async fn databases() -> Vec<TestDatabase> {
    let mut databases = vec![testkit::sqlite_database()];
    databases.extend(testkit::postgres_database().await);
    databases
}

/// Asks again and again until the answer is there.
async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(30), asking).await;
    answer.unwrap_or_else(|_| panic!("it never came to pass that {what}"))
}
