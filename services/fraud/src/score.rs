//! How much an order looks like fraud. Pure; no I/O.

use contracts::OrderPlaced;

/// From this total on an order is a large one, in minor units.
const LARGE_TOTAL: i64 = 50_000;
/// From so many of one product on, nobody buys for themselves.
const MANY: u32 = 25;
/// So many orders of one customer within a day are as many as anybody places.
const USUAL_ORDERS: u32 = 5;

/// A reason to look twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The total is large.
    LargeTotal,
    /// Many of one product.
    ManyOfOne,
    /// Many orders of the same customer within a day.
    ManyOrders,
    /// The customer gave no name.
    NoName,
}

impl Reason {
    /// How much it counts.
    #[must_use]
    pub const fn points(self) -> u32 {
        match self {
            Self::LargeTotal => 40,
            Self::ManyOfOne => 30,
            Self::ManyOrders => 50,
            Self::NoName => 10,
        }
    }

    /// Its name in events and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LargeTotal => "large_total",
            Self::ManyOfOne => "many_of_one",
            Self::ManyOrders => "many_orders",
            Self::NoName => "no_name",
        }
    }
}

/// What speaks against an order, of a customer who has placed so many others in the day before it.
#[must_use]
pub fn reasons(order: &OrderPlaced, orders_before: u32) -> Vec<Reason> {
    let checks = [
        (order.total.amount >= LARGE_TOTAL, Reason::LargeTotal),
        (order.lines.iter().any(|line| line.quantity >= MANY), Reason::ManyOfOne),
        (orders_before >= USUAL_ORDERS, Reason::ManyOrders),
        (order.customer.name.is_none(), Reason::NoName),
    ];
    checks.into_iter().filter_map(|(true_of_it, reason)| true_of_it.then_some(reason)).collect()
}

/// The sum of the reasons' points.
#[must_use]
pub fn score(reasons: &[Reason]) -> u32 {
    reasons.iter().map(|reason| reason.points()).sum()
}

#[cfg(test)]
mod tests {
    use contracts::{Coordination, Customer, Line, Money, OrderId, Timestamp};

    use super::*;

    fn order(amount: i64, quantity: u32, name: Option<&str>) -> OrderPlaced {
        let price = Money { amount, currency: "EUR".to_owned() };
        OrderPlaced {
            order_id: OrderId::nil(),
            customer: Customer {
                email: "ada@example.com".to_owned(),
                name: name.map(str::to_owned),
            },
            lines: vec![Line {
                sku: "mug-blue".to_owned(),
                name: "Mug".to_owned(),
                quantity,
                unit_price: price.clone(),
            }],
            total: price,
            card_token: "tok_visa".to_owned(),
            coordination: Coordination::Choreography,
            placed_at: Timestamp::from_micros(0),
        }
    }

    #[test]
    fn each_reason_counts_from_its_bound_on() {
        let of = |amount, quantity, name, before| reasons(&order(amount, quantity, name), before);
        assert_eq!(of(49_999, 24, Some("Ada"), 4), []);
        assert_eq!(of(50_000, 24, Some("Ada"), 4), [Reason::LargeTotal]);
        assert_eq!(of(49_999, 25, Some("Ada"), 4), [Reason::ManyOfOne]);
        assert_eq!(of(49_999, 24, Some("Ada"), 5), [Reason::ManyOrders]);
        assert_eq!(of(49_999, 24, None, 4), [Reason::NoName]);
        assert_eq!(score(&of(50_000, 25, None, 5)), 130);
    }
}
