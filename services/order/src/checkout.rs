//! What a customer sends, and what it costs.

use std::{collections::HashMap, time::Duration};

use ::store::Db;
use axum::http::StatusCode;
use contracts::{Line, Money};
use garde::Validate;
use reqwest::Method;
use runtime::{Problem, client::Client, http::problem::FieldError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::store::{self, Product};

/// The largest total of an order, in minor units: ten million of the currency.
const MAX_TOTAL: i64 = 1_000_000_000;

/// A customer's checkout.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "customer": {"email": "ada@example.com", "name": "Ada"},
    "items": [{"sku": "mug-blue", "quantity": 2}],
    "card_token": "tok_visa"
}))]
pub(crate) struct Checkout {
    /// Whom the order is for.
    #[garde(dive)]
    pub(crate) customer: Customer,
    /// What is ordered: 1 to 50 products, each once.
    #[garde(length(min = 1, max = 50), dive)]
    pub(crate) items: Vec<Item>,
    /// The card, as the card processor's opaque token; never a card's number.
    #[garde(custom(opaque_token))]
    #[schema(example = "tok_visa")]
    pub(crate) card_token: String,
    /// A coupon's code.
    #[garde(inner(length(min = 1, max = 40), custom(word)))]
    #[serde(default)]
    pub(crate) coupon: Option<String>,
}

/// Whom an order is for.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Customer {
    /// Where the mails go.
    #[garde(length(max = 254), email, custom(mailable))]
    #[schema(example = "ada@example.com")]
    pub(crate) email: String,
    /// How the mails address them.
    #[garde(inner(length(chars, min = 1, max = 200), custom(printable)))]
    #[serde(default)]
    pub(crate) name: Option<String>,
}

/// So many of one product.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Item {
    /// The product's stock keeping unit.
    #[garde(length(min = 1, max = 64), custom(word))]
    #[schema(example = "mug-blue")]
    pub(crate) sku: String,
    /// How many, 1 to 1,000.
    #[garde(range(min = 1, max = 1_000))]
    pub(crate) quantity: u32,
}

fn opaque_token(token: &str, (): &()) -> garde::Result {
    if !(4..=64).contains(&token.len()) {
        return Err(garde::Error::new("must have 4 to 64 characters"));
    }
    word(token, &())?;
    let digits = token.bytes().filter(u8::is_ascii_digit).count();
    if digits >= 12 && token.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        return Err(garde::Error::new("looks like a card number; send the card processor's token"));
    }
    Ok(())
}

/// What the rule for mail addresses lets through and no mail server takes: dots at the ends of the local part, or two in a row.
fn mailable(address: &str, (): &()) -> garde::Result {
    let local = address.rsplit_once('@').map_or(address, |(local, _)| local);
    if local.split('.').any(str::is_empty) {
        return Err(garde::Error::new("has dots before the @ that nothing stands between"));
    }
    Ok(())
}

fn word(text: &str, (): &()) -> garde::Result {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text.bytes().all(allowed) {
        return Ok(());
    }
    Err(garde::Error::new("may have only letters, digits, '-', '_' and '.'"))
}

fn printable(text: &str, (): &()) -> garde::Result {
    if text.chars().any(char::is_control) {
        return Err(garde::Error::new("may not have control characters"));
    }
    Ok(())
}

/// The lines of a checkout at the prices of this service's replica of the catalogue.
///
/// # Errors
/// When a product is unknown or named twice; and when the database is away.
pub(crate) async fn priced_lines(db: &Db, items: &[Item]) -> Result<Vec<Line>, Problem> {
    let mut skus: Vec<&str> = items.iter().map(|item| item.sku.as_str()).collect();
    skus.sort_unstable();
    skus.dedup();
    let products = store::products(db, &skus).await?;
    let by_sku: HashMap<&str, &Product> = products.iter().map(|p| (p.sku.as_str(), p)).collect();
    lines(items, &by_sku)
}

fn lines(items: &[Item], products: &HashMap<&str, &Product>) -> Result<Vec<Line>, Problem> {
    let mut seen = HashMap::new();
    let (mut lines, mut errors) = (Vec::with_capacity(items.len()), Vec::new());
    for (n, item) in items.iter().enumerate() {
        let mut wrong = |message| {
            errors.push(FieldError { field: format!("items[{n}].sku"), message });
        };
        if let Some(first) = seen.insert(&item.sku, n) {
            wrong(format!("{:?} is already in items[{first}]; add up the quantities", item.sku));
        }
        match products.get(item.sku.as_str()) {
            Some(product) => lines.push(product.line(item.quantity)),
            None => wrong(format!("there is no product {:?}", item.sku)),
        }
    }
    if errors.is_empty() { Ok(lines) } else { Err(Problem::invalid(errors)) }
}

/// What the lines cost, the coupon taken off.
///
/// # Errors
/// When currencies are mixed, the total is larger than an order may be, or nothing is left to charge.
pub(crate) fn total(lines: &[Line], percent_off: u8) -> Result<Money, Problem> {
    let currency = lines.first().map(|line| line.unit_price.currency.clone()).unwrap_or_default();
    if lines.iter().any(|line| line.unit_price.currency != currency) {
        return Err(Problem::invalid_field("items", "have prices in more than one currency"));
    }
    let full = lines
        .iter()
        .try_fold(0_i64, |sum, line| {
            line.unit_price.amount.checked_mul(i64::from(line.quantity))?.checked_add(sum)
        })
        .filter(|total| *total <= MAX_TOTAL)
        .ok_or_else(|| Problem::invalid_field("items", "cost more than an order may"))?;
    // Rounded in the customer's favour.
    let amount = full * (100 - i64::from(percent_off.min(100))) / 100;
    if amount == 0 {
        return Err(Problem::invalid_field("items", "cost nothing; there is nothing to charge"));
    }
    Ok(Money { amount, currency })
}

/// Asks the payment service about coupons.
#[derive(Debug, Clone)]
pub(crate) struct Coupons(Client);

#[derive(Debug, Deserialize, Serialize)]
struct Coupon {
    percent_off: u8,
}

impl Coupons {
    pub(crate) fn new(payment: &str, timeout: Duration) -> anyhow::Result<Self> {
        Ok(Self(Client::new(payment, timeout)?))
    }

    /// How much a coupon takes off, in percent.
    ///
    /// # Errors
    /// When there is no such coupon, or payment doesn't answer in time.
    pub(crate) async fn percent_off(&self, code: &str) -> Result<u8, Problem> {
        let unavailable = || {
            Problem::unavailable("coupons can't be checked now; try again, or leave the coupon out")
        };
        let answer = self
            .0
            .call(Method::GET, "/coupons/{code}", &["coupons", code], |request| request)
            .await
            .map_err(|_| unavailable())?;
        match answer.status() {
            StatusCode::OK => {
                let coupon: Coupon = answer.json().await.map_err(|_| unavailable())?;
                Ok(coupon.percent_off)
            }
            StatusCode::NOT_FOUND => {
                Err(Problem::invalid_field("coupon", format!("there is no coupon {code:?}")))
            }
            _ => Err(unavailable()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(amount: i64, quantity: u32) -> Line {
        let product = Product { sku: "a".into(), name: "A".into(), amount, currency: "EUR".into() };
        product.line(quantity)
    }

    #[test]
    fn a_total_that_overflows_is_refused() {
        for (amount, quantity) in [(i64::MAX, 2), (i64::MAX / 2, 3), (MAX_TOTAL, 2)] {
            assert!(total(&[line(amount, quantity)], 0).is_err(), "{amount} × {quantity}");
        }
        assert!(total(&[line(i64::MAX, 1), line(i64::MAX, 1)], 0).is_err());
        assert_eq!(total(&[line(MAX_TOTAL, 1)], 0).unwrap().amount, MAX_TOTAL);
    }

    #[test]
    fn a_coupon_is_rounded_in_the_customers_favour() {
        assert_eq!(total(&[line(999, 1)], 10).unwrap().amount, 899);
        assert!(total(&[line(999, 1)], 100).is_err());
    }

    #[test]
    fn a_card_number_is_no_token() {
        for token in ["4111111111111111", "4111-1111-1111-1111"] {
            assert!(opaque_token(token, &()).is_err(), "{token}");
        }
        assert!(opaque_token("tok_4111111111111111", &()).is_ok());
    }
}
