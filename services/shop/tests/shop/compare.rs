//! `shop compare`: what it measures, what it leaves behind, and its page in a browser.

use std::{path::Path, process::Output, time::Duration};

use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    browser::{self, Browser},
    world::{Folder, assert_contains, lives, program, run, send, text, until},
};

/// Longer than two short scenarios take on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(240);
/// The plots of two scenarios: one for all, and two for each.
const PLOTS: u64 = 5;

async fn compare(folder: &Path, arguments: &[&str]) -> Output {
    let mut program = program(folder);
    program.args(["compare", "--quick"]).args(arguments);
    timeout(PATIENCE, program.output()).await.expect("it ends").unwrap()
}

#[tokio::test]
async fn with_email_down_calls_refuse_every_checkout_and_events_none() {
    let folder = Folder::new();
    let two = ["--scenario", "healthy", "--scenario", "email-down", "--json"];
    let output = compare(folder.path(), &two).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let results: Value = serde_json::from_slice(&output.stdout).unwrap();
    let results = results.as_array().unwrap();
    assert_eq!(results.len(), 2);
    for result in results {
        let down = result["scenario"] == "email-down";
        for figures in result["styles"].as_array().unwrap() {
            let count = |name: &str| figures[name].as_u64().unwrap_or_else(|| panic!("{figures}"));
            assert!(count("checkouts") >= 20, "{figures}");
            let refused = if down && figures["style"] == "sync" { count("checkouts") } else { 0 };
            assert_eq!(count("refused"), refused, "{figures}");
            if figures["style"] != "sync" {
                assert_eq!(count("confirmed"), count("orders"), "{figures}");
                assert_eq!(count("mails"), 2 * count("orders"), "{figures}");
                for nothing in ["stuck", "mails_missing", "needs_person", "cancelled_later"] {
                    assert_eq!(count(nothing), 0, "{nothing}: {figures}");
                }
            }
            for never in ["lost", "charged_twice", "mails_twice"] {
                assert_eq!(count(never), 0, "{never}: {figures}");
            }
        }
    }
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["compare.html"], "nothing else is left");
    in_a_browser(folder.path(), &folder.path().join("compare.html")).await;
}

/// The page as a person sees it: everything is drawn, nothing is too wide, nothing goes wrong, nobody else is asked.
async fn in_a_browser(folder: &Path, page: &Path) {
    let html = std::fs::read_to_string(page).unwrap();
    assert_contains(&html, &["With calls every checkout was refused", "Email is down"]);
    let Some(program) = browser::installed() else {
        eprintln!("SKIPPED: the page in a browser, because no Chromium is installed");
        return;
    };
    let mut browser = Browser::start(&program, folder).await;
    let url = format!("file://{}", page.display());
    for (width, scheme) in [(1440, "light"), (390, "light"), (390, "dark"), (768, "dark")] {
        browser.open(&url, width, scheme).await;
        let marks = browser
            .evaluate("[...document.querySelectorAll('[data-plot]')].map(plot => plot.querySelectorAll('svg circle, svg rect, svg path, svg line').length)")
            .await;
        let marks: Vec<u64> =
            marks.as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).collect();
        assert_eq!(marks.len() as u64, PLOTS, "{width} px");
        assert!(marks.iter().all(|count| *count > 5), "{width} px: {marks:?}");
        let room = "[document.documentElement.scrollWidth, innerWidth]";
        let room = browser.evaluate(room).await;
        assert!(room[0].as_u64() <= room[1].as_u64(), "{width} px: the page is {} wide", room[0]);
        assert_eq!(room[1], width, "the window");
        let wide = browser.evaluate(WIDER_THAN_THE_PAGE).await;
        assert_eq!(wide, Value::Array(Vec::new()), "{width} px");
    }
    browser.call("Page.printToPDF", serde_json::json!({"printBackground": false})).await;
    let loud = ["Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"];
    for event in &browser.events {
        let method = event["method"].as_str().unwrap_or_default();
        assert!(!loud.contains(&method), "the console: {event}");
        if method == "Network.requestWillBeSent" {
            let asked = event["params"]["request"]["url"].as_str().unwrap_or_default();
            let own = asked == url || asked == "about:blank" || asked.starts_with("data:");
            assert!(own, "the page asked for {asked}");
        }
    }
}

/// What sticks out of the window, unless it is in a box that scrolls.
const WIDER_THAN_THE_PAGE: &str = "[...document.querySelectorAll('main *')]
    .filter(one => !one.closest('.scroll, svg') && one.getBoundingClientRect().right > innerWidth + 1)
    .map(one => one.outerHTML.slice(0, 100))";

#[tokio::test]
async fn ctrl_c_leaves_nothing_behind() {
    let folder = Folder::new();
    let mut compare = program(folder.path());
    compare.args(["compare", "--quick", "--scenario", "inventory-down"]);
    let log = std::fs::File::create(folder.path().join("compare.log")).unwrap();
    compare.stdout(log.try_clone().unwrap()).stderr(log);
    let mut compare = compare.spawn().unwrap();
    let data = until("the shop runs", async || {
        let log = std::fs::read_to_string(folder.path().join("compare.log")).unwrap();
        let entries = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        log.contains("warming up").then(|| entries.into_iter().find(|path| path.is_dir()))?
    })
    .await;
    let services = children(compare.id().unwrap());
    assert_eq!(services.len(), 5);
    send(i32::try_from(compare.id().unwrap()).unwrap(), Signal::SIGINT);
    let status = timeout(PATIENCE, compare.wait()).await.expect("it ends").unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(!services.iter().any(|pid| lives(*pid)));
    assert!(!data.exists());
    assert!(!folder.path().join("compare.html").exists());
}

#[tokio::test]
async fn an_unknown_scenario_is_refused_with_those_that_there_are() {
    let folder = Folder::new();
    let output = run(folder.path(), &["compare", "--scenario", "weather"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert_contains(text(&output.stderr), &["weather", "slow-mail", "spike"]);
}

/// The processes that one has started.
fn children(parent: u32) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut rest = status.rsplit(')').next()?.split_whitespace();
        let its_parent: u32 = rest.nth(1)?.parse().ok()?;
        (its_parent == parent).then_some(pid)
    });
    all.collect()
}
