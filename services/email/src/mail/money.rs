//! What the lines of an order cost.

use contracts::Line;

/// What a line costs, in minor units. Wider than its factors, so that no message can make it overflow.
pub(super) fn line_total(line: &Line) -> i128 {
    i128::from(line.unit_price.amount) * i128::from(line.quantity)
}

#[cfg(test)]
mod tests {
    use contracts::Money;

    use super::*;

    #[test]
    fn no_line_overflows() {
        let unit_price = Money { amount: i64::MAX, currency: "EUR".to_owned() };
        let line = Line { sku: String::new(), name: String::new(), quantity: u32::MAX, unit_price };
        assert_eq!(line_total(&line), i128::from(i64::MAX) * i128::from(u32::MAX));
    }
}
