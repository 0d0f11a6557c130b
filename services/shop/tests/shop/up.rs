//! `shop up` with everything that it starts.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::world::{
    Folder, PORTS, Up, assert_contains, client, free_ports, lives, run, send, text, until,
};

#[tokio::test]
async fn a_killed_service_comes_back_and_ctrl_c_stops_all() {
    let folder = Folder::new();
    let up = Up::start(folder.path(), free_ports(), &[]).await;
    let (_, code) = up.checkout(&[]).await;
    assert_eq!(code, 0, "confirmed");

    let before = up.pid("payment").unwrap();
    send(before, Signal::SIGKILL);
    until("payment runs again", async || up.pid("payment").filter(|pid| *pid != before)).await;
    let (order, code) = up.checkout(&[]).await;
    assert_eq!(code, 0, "confirmed, by the payment service that was started again");
    assert_eq!(up.look(&order).await.1["status"], "confirmed");

    let output = up.stop().await;
    assert_contains(&output, &["payment was ended by SIGKILL", "order stopped", "sandbox stopped"]);
    let services_first = output.find("sandbox stopped") > output.rfind("order stopped");
    assert!(services_first, "{output}");
    assert!(!folder.path().join("data/shop.json").exists());
}

#[tokio::test]
async fn data_survive_a_restart_and_not_a_fresh_start() {
    let folder = Folder::new();
    let mut ports = free_ports();
    let up = Up::start(folder.path(), ports, &[]).await;
    let (order, _) = up.checkout(&[]).await;
    up.stop().await;

    let up = Up::start(folder.path(), ports, &[]).await;
    let (status, before) = up.look(&order).await;
    assert_eq!((status, &before["status"]), (200, &Value::from("confirmed")));
    up.stop().await;

    let mine = folder.path().join("data/mine.txt");
    std::fs::write(&mine, "not the shop's").unwrap();
    ports = free_ports();
    let up = Up::start(folder.path(), ports, &["--fresh"]).await;
    assert_eq!(up.look(&order).await.0, 404);
    assert!(mine.exists());
    up.stop().await;
}

#[tokio::test]
async fn nothing_outlives_a_killed_supervisor() {
    let folder = Folder::new();
    let up = Up::start(folder.path(), free_ports(), &[]).await;
    let pids = up.pids();
    up.signal(Signal::SIGKILL);
    until("all are gone", async || (!pids.iter().any(|pid| lives(*pid))).then_some(())).await;
}

#[tokio::test]
async fn a_folder_has_one_shop_at_a_time() {
    let folder = Folder::new();
    let up = Up::start(folder.path(), free_ports(), &[]).await;
    let ports = free_ports().map(|port| port.to_string());
    let mut arguments = vec!["up", "--fresh"];
    arguments.extend(PORTS.iter().zip(&ports).flat_map(|(flag, port)| [*flag, port.as_str()]));
    let second = run(folder.path(), &arguments).await;
    assert_eq!(second.status.code(), Some(1));
    assert_contains(text(&second.stderr), &["--data"]);
    assert_eq!(up.checkout(&[]).await.1, 0, "the first one has noticed nothing");
    up.stop().await;
}

#[tokio::test]
async fn a_checkout_is_shown_to_its_end() {
    let (folder, ports) = (Folder::new(), free_ports());
    let up = Up::start(folder.path(), ports, &[]).await;

    let output = run(folder.path(), &["checkout", "--url", &up.url]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let facts = ["OrderPlaced", "PaymentTaken", "StockReserved", "OrderConfirmed", " ms"];
    assert_contains(text(&output.stdout), &facts);
    // What is to be cancelled must not be confirmed before that.
    let slowly = client().put(format!("http://127.0.0.1:{}/faults/processor", ports[4]));
    let answer = slowly.json(&json!({"latency_ms": 3_000})).send().await.unwrap();
    assert!(answer.status().is_success());
    for arguments in [&["--card", "tok_declined"][..], &["--cancel"], &["--sku", "vinyl-sold-out"]]
    {
        let (order, code) = up.checkout(arguments).await;
        assert_eq!(code, 2, "{arguments:?}");
        assert_eq!(up.look(&order).await.1["status"], "cancelled");
    }
    let refused = run(folder.path(), &["checkout", "--url", &up.url, "--sku", "none-such"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert_contains(text(&refused.stderr), &["422", "items[0].sku", "none-such"]);

    up.stop().await;
}

#[tokio::test]
async fn many_checkouts_end_in_a_summary() {
    let folder = Folder::new();
    let up = Up::start(folder.path(), free_ports(), &[]).await;
    let many = ["checkout", "--url", &up.url, "--orders", "50", "--clients", "4"];
    let output = run(folder.path(), &[&many[..], &["--json"]].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (field, count) in [("placed", 50), ("confirmed", 50), ("refused", 0), ("unsettled", 0)] {
        assert_eq!(summary[field], count, "{field}");
    }
    assert!(summary["settled_ms"]["p50"].as_f64().unwrap() > 0.0);

    let output = run(folder.path(), &many).await;
    assert_contains(text(&output.stdout), &["confirmed", "p99", "time to settled"]);
    let output =
        run(folder.path(), &[&many[..], &["--card", "tok_declined", "--json"]].concat()).await;
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["cancelled"], 50);
    up.stop().await;
}
