//! What the program says about itself, and how it refuses.

use std::net::TcpListener;

use crate::world::{Folder, PORTS, assert_contains, free_ports, run, text};

#[tokio::test]
async fn help_names_what_there_is() {
    let folder = Folder::new();
    for (arguments, expected) in [
        (
            &["--help"][..],
            &["up", "run", "checkout", "compare", "dead", "definitions", "Without a command"][..],
        ),
        (
            &["up", "--help"],
            &["--data", "--fresh", "--database", "--broker", "--order-port", "8080"],
        ),
        (&["run", "--help"], &["order", "payment", "inventory", "email", "sandbox"]),
        (&["run", "payment", "--help"], &["--listen", "--database", "DATABASE_URL"]),
        (&["checkout", "--help"], &["--orders", "--clients", "--card", "tok_declined"]),
        (
            &["compare", "--help"],
            &["--scenario", "slow-mail", "payment-killed", "--out", "--quick", "--database"],
        ),
        (&["definitions", "--help"], &["--retry-delays", "import_definitions", "declare=false"]),
        (&["dead", "--help"], &["list", "show", "replay", "purge", "SHOP_BROKER_URL", "SHOP_DATA"]),
    ] {
        let output = run(folder.path(), arguments).await;
        assert!(output.status.success(), "{arguments:?}");
        assert_contains(text(&output.stdout), expected);
        assert!(!text(&output.stdout).contains("parent-pipe"), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_taken_port_is_named_with_its_flag_and_nothing_is_started() {
    let folder = Folder::new();
    let mut ports = free_ports();
    let holder = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    ports[1] = holder.local_addr().unwrap().port();
    ports[4] = ports[0];
    let ports = ports.map(|port| port.to_string());
    let mut arguments = vec!["up"];
    arguments.extend(PORTS.iter().zip(&ports).flat_map(|(flag, port)| [*flag, port.as_str()]));
    let output = run(folder.path(), &arguments).await;
    assert_eq!(output.status.code(), Some(1));
    let taken = format!("port {} is taken; choose another with --payment-port", ports[1]);
    let twice = format!("port {} is given twice, by --order-port and --sandbox-port", ports[0]);
    assert_contains(text(&output.stderr), &[taken, twice]);
    assert!(!folder.path().join("data").exists());
}

#[tokio::test]
async fn what_can_not_work_is_refused_before_anything_starts() {
    let folder = Folder::new();
    let ports = free_ports().map(|port| port.to_string());
    let ports: Vec<&str> =
        PORTS.iter().zip(&ports).flat_map(|(flag, port)| [*flag, port.as_str()]).collect();
    for (arguments, code, complaint) in [
        (&["--database", "sqlite://x.db"][..], 1, "postgres://"),
        (
            &["--database", "postgres://a:secret@127.0.0.1:1/x"],
            1,
            "can't connect to postgres://a:***@",
        ),
        (
            &["--fresh", "--broker", "amqp://a:secret@127.0.0.1:1"],
            1,
            "emptying the broker's queues: the broker is not available",
        ),
        (&["--retry-delays", "soon"], 2, "--retry-delays"),
        (&["--deadline", "1s,2s"], 2, "--deadline"),
        (&["--order-port", "0"], 2, "--order-port"),
        (&["--database-prefix", "a;b"], 2, "--database-prefix"),
    ] {
        let output = if code == 2 {
            run(folder.path(), &[&["up"], arguments].concat()).await
        } else {
            run(folder.path(), &[&["up"], arguments, &ports].concat()).await
        };
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert_contains(text(&output.stderr), &[complaint]);
        let printed = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(!printed.contains("secret"), "{printed}");
        assert!(!folder.path().join("data/logs/order.log").exists(), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_shop_that_is_not_up_is_said_so() {
    let folder = Folder::new();
    let url = format!("http://127.0.0.1:{}", free_ports()[0]);
    let output = run(folder.path(), &["checkout", "--url", &url]).await;
    assert_eq!(output.status.code(), Some(1));
    assert_contains(text(&output.stderr), &[url.as_str(), "is the shop up?"]);
}
