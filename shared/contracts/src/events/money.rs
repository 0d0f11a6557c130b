//! Amounts of money, and how people read them.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

/// An amount of money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// Minor units of the currency: cents.
    pub amount: i64,
    /// ISO 4217 code, `EUR`.
    pub currency: String,
}

impl Money {
    /// `12.50 EUR`, `-0.05 EUR`, `1250 JPY`: minor units with the currency's decimals.
    #[must_use]
    pub fn format(minor: i128, currency: &str) -> String {
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
}

/// `12.50 EUR`.
impl Display for Money {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&Self::format(self.amount.into(), &self.currency))
    }
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
            assert_eq!(Money::format(minor, currency), expected);
        }
    }
}
