//! `shop checkout`: places an order and shows what becomes of it, or places many and measures.

pub(crate) mod api;
mod load;
mod summary;
mod watch;

use std::{num::NonZeroUsize, process::ExitCode, time::Duration};

use serde::Serialize;

use api::Shop;

pub(crate) use summary::Quantiles;

/// Where the order service is by default.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:8080";
/// A product of which there is plenty.
pub(crate) const SKU: &str = "mug-blue";
const EMAIL: &str = "ada@example.com";
/// A card that the sandbox's processor always takes.
const CARD: &str = "tok_visa";
/// How long a call may take, beyond what it was asked to wait.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// `shop checkout`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The order service
    #[arg(long, env = "ORDER_URL", default_value = DEFAULT_URL)]
    url: String,

    /// What to order; repeat it for several products
    #[arg(long, default_value = SKU)]
    sku: Vec<String>,

    /// How many of each
    #[arg(long, default_value_t = 1, value_name = "N", allow_negative_numbers = true)]
    quantity: i64,

    /// Where the mails go
    #[arg(long, default_value = EMAIL, value_name = "ADDRESS")]
    email: String,

    /// How the mails address the customer
    #[arg(long)]
    name: Option<String>,

    /// The card: tok_visa is taken, tok_declined and tok_insufficient_funds are not
    #[arg(long, default_value = CARD, value_name = "TOKEN")]
    card: String,

    /// A coupon
    #[arg(long, value_name = "CODE")]
    coupon: Option<String>,

    /// Who coordinates: choreography, orchestration or sync
    #[arg(long)]
    style: Option<String>,

    /// Cancel the order as soon as it is placed
    #[arg(long, conflicts_with = "orders")]
    cancel: bool,

    /// Place so many, as fast as the clients can, and end with a summary
    #[arg(long, value_name = "N")]
    orders: Option<NonZeroUsize>,

    /// How many clients place them, each one order at a time
    #[arg(long, default_value = "16", value_name = "N", requires = "orders")]
    clients: NonZeroUsize,

    /// How long to wait until everything is settled
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = humantime::parse_duration)]
    wait: Duration,

    /// Print JSON: the order as it is in the end, or the summary of many
    #[arg(long)]
    json: bool,
}

/// The body of a checkout.
#[derive(Debug, Serialize)]
struct Checkout<'a> {
    customer: Customer<'a>,
    items: Vec<Item<'a>>,
    card_token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    coupon: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Customer<'a> {
    email: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Item<'a> {
    sku: &'a str,
    quantity: i64,
}

impl Args {
    fn body(&self) -> Checkout<'_> {
        Checkout {
            customer: Customer { email: &self.email, name: self.name.as_deref() },
            items: self.sku.iter().map(|sku| Item { sku, quantity: self.quantity }).collect(),
            card_token: &self.card,
            coupon: self.coupon.as_deref(),
        }
    }
}

/// A body that works when it is pasted.
pub(crate) fn example() -> String {
    let body = Checkout {
        customer: Customer { email: EMAIL, name: None },
        items: vec![Item { sku: SKU, quantity: 1 }],
        card_token: CARD,
        coupon: None,
    };
    serde_json::to_string(&body).unwrap_or_default()
}

/// Whether the shop sells what the example orders. Asked with a checkout that names the product twice, which is refused
/// in any case: an open shop has nothing to say against the first mention.
pub(crate) async fn is_open(client: &reqwest::Client, url: &str) -> bool {
    let item = || Item { sku: SKU, quantity: 1 };
    let body = Checkout {
        customer: Customer { email: EMAIL, name: None },
        items: vec![item(), item()],
        card_token: CARD,
        coupon: None,
    };
    let answer = client.post(format!("{url}/checkout")).json(&body).send().await;
    let Ok(answer) = answer else { return false };
    answer.status().is_client_error() && !api::complains(answer, "items[0].sku").await
}

/// Places what was asked for. The exit code: 0 confirmed (of many: all settled), 2 cancelled, 1 neither in time.
///
/// # Errors
/// When the order service doesn't answer, or refuses the order.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let shop = Shop::new(&args.url, args.style.as_deref(), args.wait + CALL_TIMEOUT)?;
    let body = serde_json::to_vec(&args.body())?;
    match args.orders {
        None => watch::run(&args, &shop, body).await,
        Some(orders) => load::run(&args, &shop, body, orders).await,
    }
}
