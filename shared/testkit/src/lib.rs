//! What the tests of several crates share.
#![expect(clippy::expect_used, reason = "a test that can't be set up fails")]

pub mod otlp;
mod ports;
pub mod readme;
mod servers;
pub mod shop;
pub mod wait;

pub use ports::free_port;
pub use servers::{
    TestDatabase, TestPostgres, TestRabbitMq, amqp_url, delete_queues, own_postgres, own_rabbitmq,
    postgres_database, sqlite_database,
};
