//! One order, watched until it is settled.

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use contracts::OrderId;
use reqwest::StatusCode;
use tokio::time::{Instant, sleep};

use super::{
    Args,
    api::{Fact, Order, Placed, Shop, refusal},
};
use crate::terminal::say;

/// How often the order is looked at.
const POLL: Duration = Duration::from_millis(25);

/// Places one order and shows each fact as it arrives.
pub(super) async fn run(args: &Args, shop: &Shop, body: Vec<u8>) -> anyhow::Result<ExitCode> {
    let sent = Instant::now();
    let answer = shop
        .checkout(body)
        .await
        .with_context(|| format!("no answer from {}; is the shop up?", args.url))?;
    let answered = sent.elapsed();
    if ![StatusCode::ACCEPTED, StatusCode::CREATED].contains(&answer.status()) {
        return Err(refusal(answer).await.context("the order was refused"));
    }
    let placed: Placed = answer.json().await.context("the answer can't be read")?;
    if !args.json {
        say(format_args!("order {} · {}", placed.id, placed.total));
        say(format_args!("the checkout answered in {}\n", millis(answered)));
    }
    if args.cancel {
        shop.cancel(placed.id).await.context("the cancellation was refused")?;
    }
    let (text, order) = follow(args, shop, placed.id, sent + args.wait).await?;
    if args.json {
        say(text);
    } else {
        say(format_args!("\n{}", ending(&order, args.wait)));
        say(format_args!("all of it: curl {}", shop.link(placed.id)));
    }
    Ok(match (order.settled, order.status.as_str()) {
        (true, "confirmed") => ExitCode::SUCCESS,
        (true, _) => ExitCode::from(2),
        (false, _) => ExitCode::FAILURE,
    })
}

/// Looks at the order until it is settled or the time is over; a service that is being restarted doesn't end that.
async fn follow(
    args: &Args,
    shop: &Shop,
    id: OrderId,
    until: Instant,
) -> anyhow::Result<(String, Order)> {
    let mut shown = Vec::new();
    loop {
        let look = async {
            let text = shop.order(id, None).await?;
            let order: Order = serde_json::from_str(&text).context("the answer can't be read")?;
            anyhow::Ok((text, order))
        };
        match look.await {
            Ok((text, order)) => {
                if !args.json {
                    show_new(&order, &mut shown);
                }
                if order.settled || Instant::now() > until {
                    return Ok((text, order));
                }
            }
            Err(error) if Instant::now() > until => {
                return Err(error.context("the order can't be seen"));
            }
            Err(_) => {}
        }
        sleep(POLL).await;
    }
}

/// Prints the facts that weren't there before.
fn show_new(order: &Order, shown: &mut Vec<Fact>) {
    for fact in &order.timeline {
        if shown.contains(fact) {
            continue;
        }
        say(line(order, fact));
        shown.push(fact.clone());
    }
}

fn line(order: &Order, fact: &Fact) -> String {
    let elapsed = millis(fact.at.since(order.placed_at));
    let detail = match &fact.detail {
        None | Some(serde_json::Value::Null) => String::new(),
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let line = format!("{elapsed:>12}  {:<10} {:<16} {detail}", fact.service, fact.fact);
    line.trim_end().to_owned()
}

fn ending(order: &Order, wait: Duration) -> String {
    let because = order.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    match order.settled_at.filter(|_| order.settled) {
        Some(at) => {
            format!(
                "{}{because}, settled after {}",
                order.status,
                millis(at.since(order.placed_at))
            )
        }
        None if order.settled => format!("{}{because}, settled", order.status),
        None => format!(
            "{}{because}, but not settled within {}; it goes on without you",
            order.status,
            humantime::format_duration(wait)
        ),
    }
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_is_a_line() {
        let order: Order = serde_json::from_str(
            r#"{"status":"placed","settled":false,"placed_at":"2026-11-01T10:00:00.000000Z","timeline":[
                {"at":"2026-11-01T10:00:00.012300Z","fact":"StockReserved","service":"inventory"}]}"#,
        )
        .unwrap();
        assert_eq!(line(&order, &order.timeline[0]), "     12.3 ms  inventory  StockReserved");
    }
}
