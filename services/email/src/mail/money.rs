//! Amounts of money as people read them.

use contracts::{Line, Money};

/// `12.50 EUR`, `-0.05 EUR`, `1250 JPY`: minor units with the currency's decimals.
pub(super) fn amount(minor: i128, currency: &str) -> String {
    let decimals = decimals(currency);
    let one = 10_u128.pow(decimals);
    let sign = if minor < 0 { "-" } else { "" };
    let (whole, part) = (minor.unsigned_abs() / one, minor.unsigned_abs() % one);
    if decimals == 0 {
        format!("{sign}{whole} {currency}")
    } else {
        format!("{sign}{whole}.{part:0width$} {currency}", width = decimals as usize)
    }
}

/// An amount, `12.50 EUR`.
pub(super) fn money(money: &Money) -> String {
    amount(money.amount.into(), &money.currency)
}

/// What a line costs, in minor units. Wider than its factors, so that no message can make it overflow.
pub(super) fn line_total(line: &Line) -> i128 {
    i128::from(line.unit_price.amount) * i128::from(line.quantity)
}

/// How many decimals a currency's minor unit is away from its major one, by ISO 4217; two for most.
fn decimals(currency: &str) -> u32 {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX"
        | "UYI" | "VND" | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_their_currencys_decimals() {
        for (minor, currency, expected) in [
            (1250, "EUR", "12.50 EUR"),
            (5, "EUR", "0.05 EUR"),
            (-5, "EUR", "-0.05 EUR"),
            (0, "EUR", "0.00 EUR"),
            (1250, "JPY", "1250 JPY"),
            (-1250, "JPY", "-1250 JPY"),
            (1250, "KWD", "1.250 KWD"),
            (i128::from(i64::MIN), "EUR", "-92233720368547758.08 EUR"),
        ] {
            assert_eq!(amount(minor, currency), expected);
        }
    }

    #[test]
    fn no_line_overflows() {
        let unit_price = Money { amount: i64::MAX, currency: "EUR".to_owned() };
        let line = Line { sku: String::new(), name: String::new(), quantity: u32::MAX, unit_price };
        assert_eq!(line_total(&line), i128::from(i64::MAX) * i128::from(u32::MAX));
    }
}
