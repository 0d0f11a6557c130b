//! What the tests of several crates share.
#![expect(clippy::expect_used, reason = "a test that can't be set up fails")]

mod full_disk;
pub mod otlp;
mod ports;
mod proxy;
pub mod readme;
mod servers;
pub mod shop;
pub mod wait;

pub use full_disk::SmallDisk;
pub use ports::free_port;
pub use proxy::{Proxy, server_of};
pub use servers::{
    TestDatabase, TestPostgres, TestRabbitMq, amqp_url, delete_queues, own_postgres, own_rabbitmq,
    postgres_database, sqlite_database,
};
