//! The relay and the subscriber loop between a real database and a real broker.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on fails")]

mod ground;
mod relay;
mod server;
mod subscriber;

/// Makes a test of each function for each set-up.
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() { super::$test(crate::ground::Ground::embedded().await).await; })+
        }
        mod servers {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let Some(ground) = crate::ground::Ground::servers().await else { return };
                super::$test(ground).await;
            })+
        }
    };
}
use on_both;
