//! The whole system from outside: real processes, HTTP in; the processor's ledger, the mails and the traces out.
//!
//! Each test runs on both set-ups: embedded (SQLite and the jobs table) and servers (PostgreSQL and RabbitMQ).
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on fails"
)]

mod amounts;
mod bad_input;
mod crashes;
mod cut;
mod flood;
mod healing;
mod model;
mod outages;
mod outcomes;
mod poison;
mod readme;
mod repeated;
mod replicas;
mod requests;
mod saga;
mod shuffled;
mod slow_mail;
mod stopping;
mod strangers;
mod sync;
mod system;
mod traces;
mod unreadable;

/// Makes a test of each function for each set-up.
macro_rules! on_both {
    ($($(#[$meta:meta])* $test:ident),+ $(,)?) => {
        mod embedded {
            $($(#[$meta])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() { super::$test(crate::system::Setup::EMBEDDED).await; })+
        }
        mod servers {
            $($(#[$meta])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                if crate::system::have_servers() {
                    super::$test(crate::system::Setup::SERVERS).await;
                }
            })+
        }
    };
}
use on_both;

/// Makes a test of each function for each set-up, with orders of either event style.
macro_rules! in_both_styles {
    ($($test:ident),+ $(,)?) => {
        crate::on_both! { $($test),+ }
        mod embedded_orchestrated {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() { super::$test(crate::system::Setup::EMBEDDED.orchestrated()).await; })+
        }
        mod servers_orchestrated {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                if crate::system::have_servers() {
                    super::$test(crate::system::Setup::SERVERS.orchestrated()).await;
                }
            })+
        }
    };
}
use in_both_styles;
