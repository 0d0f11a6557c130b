//! What survives an end, orderly or not.

use std::{io::Write as _, net::SocketAddr, path::Path, process::Stdio};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

use crate::world::{World, charge_of, client, empty_folder, mail};

#[tokio::test]
async fn a_restart_keeps_ledger_keys_and_mails_and_forgets_faults() {
    let world = World::start().await;
    let made = world.charge("made", &charge_of("1")).await;
    world.charge("refunded", &charge_of("2")).await;
    world.reverse("refunded").await;
    world.reverse("blocked").await;
    world.send(mail("ada@example.com", "1", "a@shop", "first")).await.unwrap();
    world.send(mail("bob@example.com", "2", "a@shop", "second")).await.unwrap();
    let (ledger, mails) = (world.get("/ledger").await, world.get("/mails").await);
    world.set_faults("processor", json!({ "down": true })).await;

    let world = World::start_in(world.stop().await).await;
    assert_eq!(world.get("/ledger").await, ledger);
    assert_eq!(world.get("/mails").await, mails);
    assert_eq!(world.get("/mails?to=bob@example.com").await["mails"][0]["number"], 2);
    assert_eq!(world.get("/mails/2").await["text"].as_str().unwrap().trim_end(), "second");
    assert_eq!(world.get("/mails/summary").await["repeated"], 1);
    assert_eq!(world.charge("made", &charge_of("1")).await, made);
    assert_eq!(world.reverse("refunded").await, "refunded");
    assert_eq!(world.charge("blocked", &charge_of("3")).await.1["reason"], "reversed");
    world.send(mail("eve@example.com", "3", "c@shop", "third")).await.unwrap();
    assert_eq!(world.get("/mails/3").await["text"].as_str().unwrap().trim_end(), "third");
    assert_eq!(world.totals().await, (2, 1, 0));
}

#[tokio::test]
async fn unfinished_last_lines_are_cut_off() {
    let world = World::start().await;
    world.charge("whole", &charge_of("1")).await;
    world.send(mail("ada@example.com", "1", "a@shop", "hi")).await.unwrap();
    let data = world.stop().await;
    let torn = |file: &str, text: &[u8]| {
        let mut file = std::fs::OpenOptions::new().append(true).open(data.join(file)).unwrap();
        file.write_all(text).unwrap();
    };
    torn("ledger.jsonl", br#"{"charged":{"key":"torn","id":"ch_01"#);
    torn("mails.jsonl", b"{\"message_id\":\"torn\xc3");

    let world = World::start_in(data).await;
    assert_eq!(world.totals().await, (1, 0, 0));
    assert_eq!(world.get("/mails/summary").await["total"], 1);
    assert_eq!(world.charge("torn", &charge_of("2")).await.0, StatusCode::CREATED);
    world.send(mail("ada@example.com", "1", "b@shop", "hi")).await.unwrap();

    let world = World::start_in(world.stop().await).await;
    assert_eq!(world.totals().await, (2, 0, 0));
    assert_eq!(world.get("/mails?message_id=b@shop").await["total"], 1);
}

/// Starts the program, and returns where it serves HTTP and SMTP.
async fn program(data: &Path) -> (Child, SocketAddr, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sandbox"))
        .args(["--listen", "127.0.0.1:0", "--smtp-listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .env("RUST_LOG", "info")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut address = async || -> SocketAddr {
        let line = lines.next_line().await.unwrap().expect("the program goes on");
        let line: Value = serde_json::from_str(&line).unwrap();
        line["address"].as_str().expect("an address").parse().unwrap()
    };
    let (http, smtp) = (address().await, address().await);
    (child, http, smtp)
}

#[tokio::test]
async fn what_was_answered_survives_sigkill() {
    let data = empty_folder();
    let (mut child, http, smtp) = program(&data).await;
    let request = client().post(format!("http://{http}/charges")).json(&charge_of("1"));
    let response = request.header("Idempotency-Key", "key").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    let mut stream = TcpStream::connect(smtp).await.unwrap();
    let conversation = "HELO me\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\nhi\r\n.\r\nQUIT\r\n";
    stream.write_all(conversation.as_bytes()).await.unwrap();
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    child.kill().await.unwrap();

    let world = World::start_in(data).await;
    assert_eq!(world.totals().await, (1, 0, 0));
    assert_eq!(world.get("/mails").await["mails"][0]["to"], json!(["b@x"]));
}
