//! The acceptance test of the compose file: starts it unmodified, under a project name of its own, and does to it what a bad
//! day would. `scripts/test-compose` runs all of it, and clears up behind it.

mod books;
mod container;
mod docker;
mod mailpit;
mod rabbit;
mod stack;
mod steps;
mod world;

use std::{panic::AssertUnwindSafe, process::ExitCode, time::Instant};

use anyhow::{Result, anyhow, bail, ensure};
use clap::Parser as _;
use futures_util::{FutureExt as _, future::LocalBoxFuture};

use stack::Stack;
use steps::{
    alerts, cluster, crashes, dashboards, definitions, gone, order, partitions, privileges,
    replicas, sagas, start,
};
use world::World;

/// Tests the compose file
#[derive(Debug, clap::Parser)]
#[command(name = "compose")]
struct Cli {
    /// The steps to run, beside starting [default: all]
    #[arg(value_name = "STEP")]
    steps: Vec<String>,
}

type Step = for<'w> fn(&'w mut World) -> LocalBoxFuture<'w, Result<()>>;

/// The steps after the first, in their order.
const STEPS: [(&str, Step); 15] = [
    ("budget", |world| start::budget(world).boxed_local()),
    ("hardening", |world| start::hardening(world).boxed_local()),
    ("order", |world| order::of_the_readme(world).boxed_local()),
    ("privileges", |world| privileges::refusals(world).boxed_local()),
    ("definitions", |world| definitions::loaded_again(world).boxed_local()),
    ("crashes", |world| crashes::each_container(world).boxed_local()),
    ("partitions", |world| partitions::a_service_and_rabbitmq(world).boxed_local()),
    ("rules", |world| alerts::rules(world).boxed_local()),
    ("dead-letters", |world| alerts::dead_letters(world).boxed_local()),
    ("dashboards", |world| dashboards::have_data(world).boxed_local()),
    ("replicas", |world| replicas::scaled(world).boxed_local()),
    ("cluster", |world| cluster::any_node_may_end(world).boxed_local()),
    ("sagas", |world| sagas::a_person_looks_after_one(world).boxed_local()),
    ("gone", |world| gone::nothing_is_left(world).boxed_local()),
    ("khepri", |world| definitions::imported_into_khepri(world).boxed_local()),
];

/// What came of the steps.
#[derive(Debug, Default)]
struct Report {
    passed: usize,
    failed: Vec<&'static str>,
}

#[tokio::main]
async fn main() -> ExitCode {
    // Another installed provider would do as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    let mut report = Report::default();
    if let Err(error) = run(&cli.steps, &mut report).await {
        println!("{error:#}");
        report.failed.push("start");
    }
    let Report { passed, failed } = &report;
    if !failed.is_empty() {
        println!("\nFAILED: {}", failed.join(", "));
    }
    println!("\n{passed} passed, {} failed", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the steps. An error means that there is nothing to run them on.
async fn run(wanted: &[String], report: &mut Report) -> Result<()> {
    for name in wanted {
        ensure!(STEPS.iter().any(|(step, _)| step == name), "there is no step {name}");
    }
    ready().await?;
    let mut world = None;
    let started = report.step("start", async {
        world = Some(start::start().await?);
        Ok(())
    });
    started.await;
    let Some(mut world) = world else {
        show(Stack::Single).await;
        return Ok(());
    };
    for (name, step) in STEPS {
        if !(wanted.is_empty() || wanted.iter().any(|wanted| wanted == name)) {
            continue;
        }
        if !report.step(name, step(&mut world)).await {
            show(world.stack).await;
            // What it left behind would fail the others.
            world = afresh(world.stack).await?;
        }
    }
    Ok(())
}

impl Report {
    /// Runs a step; whether it succeeded.
    async fn step(&mut self, name: &'static str, step: impl Future<Output = Result<()>>) -> bool {
        println!("== {name}");
        let began = Instant::now();
        // An assertion that failed is a panic, as in any test.
        let outcome = AssertUnwindSafe(step).catch_unwind().await;
        let outcome = outcome.unwrap_or_else(|panic| Err(anyhow!(said(&*panic))));
        let took = began.elapsed().as_secs_f64();
        match &outcome {
            Ok(()) => {
                println!("{name}: ok ({took:.1} s)");
                self.passed += 1;
            }
            Err(error) => {
                println!("{name}: FAILED ({took:.1} s)\n{error:?}");
                self.failed.push(name);
            }
        }
        outcome.is_ok()
    }
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}

/// Checks that nothing is in the way: neither what an earlier run left, nor who has the ports.
async fn ready() -> Result<()> {
    Stack::Cluster.down().await?;
    Stack::Single.down().await?;
    let taken = Stack::Single.taken_addresses().await?;
    if !taken.is_empty() {
        bail!("something else listens on {}: stop it first", taken.join(", "));
    }
    Ok(())
}

/// The stack with nothing in it.
async fn afresh(stack: Stack) -> Result<World> {
    println!("== starting afresh");
    stack.down().await?;
    Ok(World::start(Stack::Single).await?.0)
}

/// Prints what can be seen of the containers.
async fn show(stack: Stack) {
    for words in [
        &["--profile", "*", "ps", "-a"][..],
        &["--profile", "*", "logs", "--no-color", "--tail", "50"],
    ] {
        match stack.compose(words).await {
            Ok(printed) => println!("-- docker compose {}\n{printed}", words.join(" ")),
            Err(error) => println!("{error:#}"),
        }
    }
}
