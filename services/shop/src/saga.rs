//! `shop saga`: what the order service has had others do and was not answered, to be looked at, asked for again, or resolved.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use reqwest::{Method, Response, Url};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    checkout::DEFAULT_URL,
    client,
    terminal::{say, width},
};

/// How long a call may take: asking again may mean several calls of the order service's own.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// `shop saga`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The order service
    #[arg(long, global = true, env = "ORDER_URL", default_value = DEFAULT_URL)]
    url: String,

    /// Print JSON
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List what waits for an answer, first what an operator should look at
    List {
        /// Only what an operator should look at
        #[arg(long)]
        parked: bool,
    },
    /// Show what was asked for an order, and what came of it
    Show {
        /// The order's id
        order: Uuid,
    },
    /// Ask again now for what was not answered
    Retry {
        /// The order's id
        order: Uuid,
    },
    /// Resolve a step that you have dealt with by other means; the order goes on with the rest
    Resolve {
        /// The order's id
        order: Uuid,
        /// What was done about it, by whom; kept with the order
        #[arg(long)]
        reason: String,
        /// Which step: refund_payment, release_stock or ship_stock; needed where more than one can be resolved
        #[arg(long)]
        step: Option<String>,
    },
}

/// Does what was asked for.
///
/// # Errors
/// When the order service doesn't answer, or refuses.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let answer = match &args.action {
        Action::List { parked } => {
            let parked = parked.to_string();
            call(
                &args.url,
                Method::GET,
                &[],
                &[("parked", parked.as_str()), ("limit", "1000")],
                None,
            )
        }
        Action::Show { order } => call(&args.url, Method::GET, &[&order.to_string()], &[], None),
        Action::Retry { order } => {
            call(&args.url, Method::POST, &[&order.to_string(), "retry"], &[], None)
        }
        Action::Resolve { order, reason, step } => {
            let body = json!({"reason": reason, "step": step});
            call(&args.url, Method::POST, &[&order.to_string(), "resolve"], &[], Some(body))
        }
    }?
    .await?;
    if args.json {
        say(serde_json::to_string_pretty(&answer)?);
        return Ok(ExitCode::SUCCESS);
    }
    match &answer {
        Value::Array(sagas) if sagas.is_empty() => say("nothing waits for an answer"),
        Value::Array(sagas) => say(list(sagas).trim_fmt()),
        saga => show(saga),
    }
    Ok(ExitCode::SUCCESS)
}

/// Calls the order service below `/sagas`.
fn call(
    url: &str,
    method: Method,
    path: &[&str],
    query: &[(&str, &str)],
    body: Option<Value>,
) -> anyhow::Result<impl Future<Output = anyhow::Result<Value>> + use<>> {
    let mut url = Url::parse(url).with_context(|| format!("{url:?} is no URL"))?;
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().push("sagas").extend(path);
    }
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    let mut request = client::new(url.as_str(), CALL_TIMEOUT)?.request(method, url);
    if let Some(body) = body {
        request = request.json(&body);
    }
    Ok(async move { read(request.send().await.context("the order service")?).await })
}

async fn read(answer: Response) -> anyhow::Result<Value> {
    let status = answer.status();
    let body: Value = answer.json().await.unwrap_or_default();
    if status.is_success() {
        return Ok(body);
    }
    let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
    let errors = body["errors"].as_array().into_iter().flatten();
    let errors: Vec<String> = errors
        .map(|error| format!("{}: {}", word(&error["field"]), word(&error["message"])))
        .collect();
    bail!("{status}: {} {}", text("detail"), errors.join("; "))
}

/// A line for each step.
fn list(sagas: &[Value]) -> Table {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_header(["order", "style", "status", "step", "attempts", "since", "why"]);
    if let Some(width) = width() {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    for saga in sagas {
        for step in saga["steps"].as_array().into_iter().flatten() {
            table.add_row([
                word(&saga["order_id"]),
                word(&saga["style"]),
                word(&saga["status"]),
                word(&step["step"]),
                word(&step["attempts"]),
                word(&step["asked_at"]),
                word(&step["error"]),
            ]);
        }
    }
    table
}

fn show(saga: &Value) {
    for field in ["order_id", "style", "status", "settled", "payment", "stock", "resolution"] {
        if !saga[field].is_null() {
            say(format_args!("{field:<12} {}", word(&saga[field])));
        }
    }
    for step in saga["steps"].as_array().into_iter().flatten() {
        let waits = if step["parked_at"].is_null() { "waits for an answer" } else { "parked" };
        let answer = match (&step["answer"], &step["error"]) {
            (Value::String(answer), _) => answer.clone(),
            (_, Value::String(error)) => format!("{waits}: {error}"),
            _ => waits.to_owned(),
        };
        say(format_args!(
            "  {}  {:<15} asked {} times  {answer}",
            word(&step["asked_at"]),
            word(&step["step"]),
            word(&step["attempts"]),
        ));
    }
}

fn word(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
