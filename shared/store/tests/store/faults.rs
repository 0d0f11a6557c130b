//! Connections that fall silent, that may no longer write, that their server ends; and a full disk. None of it lasts.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use store::{Db, Error, Options, Tx};
use testkit::{Proxy, SmallDisk, TestDatabase, server_of};
use tokio::time::timeout;

use crate::MIGRATIONS;

const INSERT: &str = "INSERT INTO things (id, name) VALUES (1, 'a')";
const COUNT: &str = "SELECT count(*) FROM things";

/// Short limits, and a single connection, so that one that isn't released is noticed.
const SHORT: Options = Options {
    max_connections: 1,
    acquire_timeout: Duration::from_secs(3),
    statement_timeout: Duration::from_secs(1),
};
/// Within this, every call has ended: the wait for a connection, a statement, and the clearing up of another.
const ENDED: Duration = Duration::from_secs(6);

async fn on_postgres(options: Options) -> Option<(Db, TestDatabase)> {
    let database = testkit::postgres_database().await?;
    let db = Db::open(&database.url, options).await.unwrap();
    db.migrate(&MIGRATIONS, &MIGRATIONS).await.unwrap();
    Some((db, database))
}

/// A database behind a proxy, with a connection that is in use.
async fn behind_a_proxy(options: Options) -> Option<(Db, Proxy, TestDatabase)> {
    let (db, database) = on_postgres(options).await?;
    db.close().await;
    let proxy = Proxy::start(server_of(&database.url)).await;
    let db = Db::open(&proxy.before(&database.url), options).await.unwrap();
    db.ping().await.unwrap();
    Some((db, proxy, database))
}

async fn things(db: &Db) -> i64 {
    db.read(COUNT).one::<(i64,)>().await.unwrap().0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_falls_silent_is_replaced() {
    let Some((db, proxy, _database)) = behind_a_proxy(SHORT).await else { return };
    proxy.silence();
    let error = timeout(ENDED, db.ping()).await.expect("an end").unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    timeout(ENDED, db.ping()).await.expect("an end").unwrap();
    assert_eq!(proxy.accepted(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_that_fell_silent_cost_their_next_user_nothing() {
    let acquire_timeout = Duration::from_secs(20);
    let options = Options { max_connections: 8, acquire_timeout, ..SHORT };
    let Some((db, proxy, _database)) = behind_a_proxy(options).await else { return };
    join_all((0..8).map(|_| db.read("SELECT pg_sleep(0.3)").execute())).await;
    assert_eq!(proxy.accepted(), 8);
    proxy.silence();
    // Long enough for the pool to doubt that they still answer.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    db.ping().await.unwrap();
    // And not the eight seconds of a ping on each.
    assert!(began.elapsed() < ENDED, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_without_an_answer_is_of_unknown_outcome() {
    let Some((db, proxy, _database)) = behind_a_proxy(SHORT).await else { return };
    let mut tx = db.begin().await.unwrap();
    tx.query(INSERT).execute().await.unwrap();
    proxy.silence();
    let error = timeout(ENDED, tx.commit()).await.expect("an end").unwrap_err();
    assert!(matches!(error, Error::CommitUnknown(_)), "{error:?}");
    assert_eq!(things(&db).await, 0, "it didn't arrive");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_is_dropped_on_a_silent_connection_keeps_no_place() {
    let Some((db, proxy, _database)) = behind_a_proxy(SHORT).await else { return };
    let mut tx = db.begin().await.unwrap();
    tx.query(INSERT).execute().await.unwrap();
    proxy.silence();
    drop(tx);
    timeout(ENDED, db.ping()).await.expect("an end").unwrap();
}

/// As of a process that is frozen, or cut off, in the middle of one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_transaction_frees_its_rows() {
    let Some((db, database)) = on_postgres(Options { max_connections: 2, ..SHORT }).await else {
        return;
    };
    let mut frozen = db.begin().await.unwrap();
    frozen.query(INSERT).execute().await.unwrap();
    let other = Db::open(&database.url, Options::default()).await.unwrap();
    let began = Instant::now();
    let mut tx = other.begin().await.unwrap();
    tx.query(INSERT).execute().await.unwrap();
    tx.commit().await.unwrap();
    assert!(began.elapsed() < ENDED, "{:?}", began.elapsed());
    let error = frozen.query(COUNT).execute().await.unwrap_err();
    assert!(error.is_unavailable(), "25P03 may succeed later: {error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_too_long_may_succeed_later() {
    let Some((db, _database)) = on_postgres(Options { max_connections: 2, ..SHORT }).await else {
        return;
    };
    let slow = db.read("SELECT pg_sleep(60)").execute().await.unwrap_err();
    assert!(slow.is_unavailable(), "57014: {slow:?}");
    assert!(store::Chain(&slow).to_string().contains("statement timeout"), "{slow:?}");
    let mut holder = db.begin().await.unwrap();
    holder.query(INSERT).execute().await.unwrap();
    let locked = db.begin().await.unwrap().query(INSERT).execute().await.unwrap_err();
    assert!(locked.is_unavailable(), "55P03: {locked:?}");
    assert!(store::Chain(&locked).to_string().contains("lock timeout"), "{locked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_wait_for_each_other_may_succeed_later() {
    let options = Options { statement_timeout: Duration::from_secs(10), ..Options::default() };
    let Some((db, _database)) = on_postgres(options).await else { return };
    let mut tx = db.begin().await.unwrap();
    tx.query("INSERT INTO things (id, name) VALUES (1, 'a'), (2, 'b')").execute().await.unwrap();
    tx.commit().await.unwrap();
    let (first, second) =
        ("UPDATE things SET name = 'c' WHERE id = 1", "UPDATE things SET name = 'c' WHERE id = 2");
    let (mut one, mut two) = (db.begin().await.unwrap(), db.begin().await.unwrap());
    one.query(first).execute().await.unwrap();
    two.query(second).execute().await.unwrap();
    let (one, two) = tokio::join!(last_of(one, second), last_of(two, first));
    let deadlock = one.and(two).unwrap_err();
    assert!(deadlock.is_unavailable(), "40P01: {deadlock:?}");
}

/// Ends a transaction after one more statement.
async fn last_of(mut tx: Tx, sql: &'static str) -> store::Result<u64> {
    tx.query(sql).execute().await
}

/// As after a failover, when the server that was the primary has become a standby.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_became_read_only_is_replaced() {
    let Some((db, _database)) = on_postgres(SHORT).await else { return };
    db.read("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY").execute().await.unwrap();
    let mut tx = db.begin().await.unwrap();
    let error = tx.query(INSERT).execute().await.unwrap_err();
    assert!(error.is_unavailable(), "25006: {error:?}");
    drop(tx);
    let mut tx = db.begin().await.unwrap();
    tx.query(INSERT).execute().await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_with_an_internal_error_is_replaced() {
    let Some((db, _database)) = on_postgres(SHORT).await else { return };
    let process = "SELECT pg_backend_pid()";
    let before = db.read(process).one::<(i32,)>().await.unwrap();
    let raise = "DO $$ BEGIN RAISE EXCEPTION 'broken' USING ERRCODE = 'XX000'; END $$";
    db.read(raise).execute().await.unwrap_err();
    assert_ne!(db.read(process).one::<(i32,)>().await.unwrap(), before);
}

#[tokio::test]
async fn a_login_that_is_refused_says_why() {
    let Some(database) = testkit::postgres_database().await else { return };
    let (_, server) = database.url.rsplit_once('@').unwrap();
    let url = format!("postgres://nobody:wrong@{server}");
    let db = Db::open(&url, SHORT).await.unwrap();
    let error = db.ping().await.unwrap_err();
    assert!(matches!(error, Error::LoginRefused(_)), "{error:?}");
    assert!(store::Chain(&error).to_string().contains("nobody"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_forgotten_when_there_is_space_again() {
    let Some(disk) = SmallDisk::new(4) else { return };
    let url = format!("sqlite://{}", disk.folder.join("test.db").display());
    let options = Options { acquire_timeout: Duration::from_millis(300), ..SHORT };
    let db = Db::open(&url, options).await.unwrap();
    db.migrate(&MIGRATIONS, &MIGRATIONS).await.unwrap();
    disk.fill();
    for _ in 0..5 {
        // It fails at the commit, or earlier, when it doesn't fit into what is kept in memory.
        let written = async {
            let mut tx = db.begin().await?;
            tx.query("INSERT INTO things (id, name) VALUES (2, $1)")
                .bind("x".repeat(200_000))
                .execute()
                .await?;
            tx.commit().await
        };
        let error = written.await.unwrap_err();
        assert!(error.is_unavailable(), "{error:?}");
        assert!(db.probe().await.unwrap_err().is_unavailable());
    }
    disk.free();
    db.probe().await.unwrap();
    let mut tx = db.begin().await.unwrap();
    tx.query(INSERT).execute().await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(things(&db).await, 1);
}
