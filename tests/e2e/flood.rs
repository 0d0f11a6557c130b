//! More clients than a service has file descriptors, none of which ever finishes its request.

use std::time::Duration;

use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::system::{Plan, Setup, checkout, eventually, within};

/// How many files order may have open.
const FILES: u32 = 200;
/// How long it waits for the head of a request, and some more.
const PATIENCE: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_sent_requests_do_not_shut_a_service_for_good() {
    let mut system = Plan::new(Setup::EMBEDDED).start().await;
    system.limit_files("order", FILES).await;
    let address = system.url("order").trim_start_matches("http://").to_owned();
    let mut clients = Vec::new();
    for _ in 0..FILES + 4 {
        let mut client = TcpStream::connect(&address).await.unwrap();
        client.write_all(b"POST /checkout HTTP/1.1\r\nHost: localhost\r\n").await.unwrap();
        clients.push(client);
    }
    eventually("order says that it can't accept connections", || async {
        system.log("order").contains("connections can't be accepted").then_some(())
    })
    .await;
    // They are still there, and hold nothing any more: not only the connections that were there before are served.
    within(PATIENCE, "order serves a new connection", || async {
        let url = format!("{}/livez", system.url("order"));
        let another = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(1));
        let asked = another.build().unwrap().get(url).send().await;
        asked.ok()?.status().is_success().then_some(())
    })
    .await;
    let placed = system.place(&checkout("mug-blue", 1)).await;
    assert_eq!(system.settled(&placed.id).await["status"], "confirmed");
    drop(clients);
    system.all_run();
}
