//! Statements, transactions, the schema.

use futures_util::future::join_all;
use store::{Db, Error, Options};

use crate::{MIGRATIONS, on_both_engines};

on_both_engines! {
    values_come_back_as_they_were,
    many_rows_in_few_statements,
    a_dropped_transaction_leaves_nothing,
    what_waits_for_the_commit_runs_after_it_only,
    many_writers_at_once_all_succeed,
    migrating_at_the_same_time_is_fine,
    a_refused_statement_is_not_called_unavailable,
    a_reading_statement_finds_many,
}

async fn values_come_back_as_they_were(db: Db) {
    let id = uuid::Uuid::now_v7();
    type Row = (uuid::Uuid, i64, String, Vec<u8>, Option<i64>, Option<String>);
    let mut tx = db.begin().await.unwrap();
    let create = if is_postgres(&db) {
        "CREATE TABLE kinds (a UUID, b BIGINT, c TEXT, d BYTEA, e BIGINT, f TEXT)"
    } else {
        "CREATE TABLE kinds (a BLOB, b BIGINT, c TEXT, d BLOB, e BIGINT, f TEXT)"
    };
    tx.query(create).execute().await.unwrap();
    tx.query("INSERT INTO kinds VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(id)
        .bind(i64::MAX)
        .bind("naïve ☂")
        .bind(vec![0_u8, 255])
        .bind(None::<i64>)
        .bind(Some("x"))
        .execute()
        .await
        .unwrap();
    let row: Row = tx.query("SELECT a, b, c, d, e, f FROM kinds").one().await.unwrap();
    assert_eq!(row, (id, i64::MAX, "naïve ☂".into(), vec![0, 255], None, Some("x".into())));
    assert!(
        tx.query("SELECT a FROM kinds WHERE b = $1")
            .bind(0_i64)
            .optional::<(uuid::Uuid,)>()
            .await
            .unwrap()
            .is_none()
    );
}

fn is_postgres(db: &Db) -> bool {
    format!("{db:?}").contains("Postgres(")
}

async fn many_rows_in_few_statements(db: Db) {
    let rows: Vec<i64> = (0..1_000).collect();
    let mut tx = db.begin().await.unwrap();
    let insert = "INSERT INTO things (id, name) VALUES {} ON CONFLICT DO NOTHING";
    let inserted =
        tx.execute_many(insert, &rows, |row, id| row.bind(*id).bind(format!("thing {id}"))).await;
    assert_eq!(inserted.unwrap(), 1_000);
    let found: Vec<(i64,)> = tx
        .fetch_many(
            "SELECT id FROM things WHERE id IN (VALUES {}) ORDER BY id FOR UPDATE",
            &[7_i64, 3, 9_999],
            |row, id| row.bind(*id),
        )
        .await
        .unwrap();
    // One statement per power of two, each in its own order.
    assert_eq!(found, [(3,), (7,)]);
    let updated = tx
        .execute_many(
            "UPDATE things SET name = v.column2 FROM (VALUES {}) AS v WHERE things.id = v.column1",
            &[(1_i64, "one"), (2, "two"), (5_000, "none")],
            |row, (id, name)| row.bind(*id).bind(*name),
        )
        .await;
    assert_eq!(updated.unwrap(), 2);
    assert_eq!(tx.execute_many(insert, &rows[..0], |row, id| row.bind(*id)).await.unwrap(), 0);
    tx.commit().await.unwrap();
    let (name,): (String,) =
        db.read("SELECT name FROM things WHERE id = $1").bind(2_i64).one().await.unwrap();
    assert_eq!(name, "two");
}

async fn a_dropped_transaction_leaves_nothing(db: Db) {
    let mut tx = db.begin().await.unwrap();
    tx.query("INSERT INTO things (id, name) VALUES (1, 'a')").execute().await.unwrap();
    drop(tx);
    assert_eq!(db.read("SELECT count(*) FROM things").one::<(i64,)>().await.unwrap().0, 0);
}

async fn what_waits_for_the_commit_runs_after_it_only(db: Db) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut tx = db.begin().await.unwrap();
    let dropped = sender.clone();
    tx.on_commit(move || dropped.send("dropped").unwrap());
    drop(tx);
    let mut tx = db.begin().await.unwrap();
    tx.on_commit(move || sender.send("committed").unwrap());
    assert!(receiver.try_recv().is_err());
    tx.commit().await.unwrap();
    assert_eq!(receiver.iter().collect::<Vec<_>>(), ["committed"]);
}

/// A transaction that reads before it writes is what SQLite refuses with "database is locked" when it is deferred.
async fn many_writers_at_once_all_succeed(db: Db) {
    let writers = join_all((0..50_i64).map(|id| {
        let db = db.clone();
        tokio::spawn(async move {
            let mut tx = db.begin().await?;
            let (count,) = tx.query("SELECT count(*) FROM things").one::<(i64,)>().await?;
            tx.query("INSERT INTO things (id, name) VALUES ($1, $2)")
                .bind(id)
                .bind(count.to_string())
                .execute()
                .await?;
            tx.commit().await
        })
    }))
    .await;
    for writer in writers {
        writer.unwrap().unwrap();
    }
    assert_eq!(db.read("SELECT count(*) FROM things").one::<(i64,)>().await.unwrap().0, 50);
}

async fn migrating_at_the_same_time_is_fine(db: Db) {
    let (one, two) =
        tokio::join!(db.migrate(&MIGRATIONS, &MIGRATIONS), db.migrate(&MIGRATIONS, &MIGRATIONS));
    one.unwrap();
    two.unwrap();
}

async fn a_refused_statement_is_not_called_unavailable(db: Db) {
    let mut tx = db.begin().await.unwrap();
    let insert = "INSERT INTO things (id, name) VALUES (1, 'a')";
    tx.query(insert).execute().await.unwrap();
    let error = tx.query(insert).execute().await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error:?}");
}

async fn a_reading_statement_finds_many(db: Db) {
    let mut tx = db.begin().await.unwrap();
    let ids: Vec<i64> = (0..200).collect();
    tx.execute_many("INSERT INTO things (id, name) VALUES {}", &ids, |row, id| {
        row.bind(*id).bind("x")
    })
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let found: Vec<(i64,)> = db
        .read_many("SELECT id FROM things WHERE id IN (VALUES {})", &ids, |row, id| row.bind(*id))
        .await
        .unwrap();
    assert_eq!(found.len(), 200);
}

#[tokio::test]
async fn a_database_that_is_away_is_unavailable() {
    let options =
        Options { acquire_timeout: std::time::Duration::from_millis(300), ..Options::default() };
    let db = Db::open("postgres://nobody@127.0.0.1:1/none", options).await.unwrap();
    assert!(db.begin().await.err().unwrap().is_unavailable());
    assert!(db.ping().await.unwrap_err().is_unavailable());
    assert!(db.migrate(&MIGRATIONS, &MIGRATIONS).await.unwrap_err().is_unavailable());
}

#[tokio::test]
async fn an_unusable_url_is_named() {
    let error = Db::open("mysql://localhost/shop", Options::default()).await.unwrap_err();
    assert!(error.to_string().contains("postgres://"), "{error}");
}

#[tokio::test]
async fn a_reader_of_sqlite_cannot_write() {
    let (db, _database) = crate::open(testkit::sqlite_database()).await;
    assert!(db.read("INSERT INTO things (id, name) VALUES (1, 'a')").execute().await.is_err());
}

/// Services that start together make one file of jobs together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_sqlite_file_is_opened_by_many_at_once() {
    for _ in 0..100 {
        let database = testkit::sqlite_database();
        let opening = (0..8).map(|_| {
            let url = database.url.clone();
            tokio::spawn(async move {
                let db = Db::open(&url, Options::default()).await?;
                let mut tx = db.begin().await?;
                tx.query("CREATE TABLE IF NOT EXISTS things (id BIGINT)").execute().await?;
                tx.commit().await?;
                db.close().await;
                Ok::<_, Error>(())
            })
        });
        for opened in join_all(opening).await {
            opened.unwrap().unwrap();
        }
    }
}
