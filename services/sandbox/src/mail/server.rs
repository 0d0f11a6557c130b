//! Takes connections and lets them talk.

use std::{sync::Arc, time::Duration};

use tokio::{io::AsyncWriteExt, net::TcpListener, sync::Semaphore};
use tokio_util::task::TaskTracker;

use super::connection;
use crate::Sandbox;

/// How many clients may talk at the same time.
const MOST_CONNECTIONS: usize = 1_000;
/// After a failure to accept, which is mostly a lack of file descriptors: time for some to be closed.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves SMTP until the sandbox stops, and returns when the last connection is closed.
pub(crate) async fn serve(listener: TcpListener, sandbox: Sandbox) {
    let (connections, places) = (TaskTracker::new(), Arc::new(Semaphore::new(MOST_CONNECTIONS)));
    while let Some(accepted) = sandbox.shutdown.run_until_cancelled(listener.accept()).await {
        let mut stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "can't accept a mail connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let place = Arc::clone(&places).try_acquire_owned();
        let sandbox = sandbox.clone();
        connections.spawn(async move {
            let talked = match place {
                Ok(_place) => connection::talk(stream, &sandbox).await,
                Err(_) => stream.write_all(b"421 Too many connections\r\n").await,
            };
            if let Err(error) = talked {
                tracing::debug!(%error, "a mail connection broke");
            }
        });
    }
    connections.close();
    connections.wait().await;
}
