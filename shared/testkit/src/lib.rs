//! What the tests of several crates share.
#![expect(clippy::expect_used, reason = "a test that can't be set up fails")]

pub mod otlp;
mod servers;

pub use servers::{
    TestDatabase, TestPostgres, TestRabbitMq, amqp_url, delete_queues, own_postgres, own_rabbitmq,
    postgres_database, sqlite_database,
};
