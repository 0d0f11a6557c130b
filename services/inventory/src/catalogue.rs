//! The domain of products: what is sold, at which price, and how many there are.

use contracts::{Money, ProductListed};

/// Pieces of one product. Always `reserved <= on_hand`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stock {
    /// Pieces in the warehouse, the reserved ones included.
    pub on_hand: u32,
    /// Pieces that are put aside for orders.
    pub reserved: u32,
}

impl Stock {
    /// Pieces that can still be had.
    #[must_use]
    pub const fn available(self) -> u32 {
        self.on_hand.saturating_sub(self.reserved)
    }
}

/// A product.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Product {
    /// Stock keeping unit: what identifies it, `mug-blue`.
    pub sku: String,
    /// What people call it.
    pub name: String,
    /// The price of one, in minor units of the currency.
    pub amount: i64,
    /// ISO 4217 code.
    pub currency: String,
    /// See [`Stock::on_hand`].
    #[sqlx(try_from = "i64")]
    pub on_hand: u32,
    /// See [`Stock::reserved`].
    #[sqlx(try_from = "i64")]
    pub reserved: u32,
    /// Grows with every change of the listing; 1 when it is listed first. Sales don't change it.
    pub version: i64,
}

/// What a product shall be from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// What people call it.
    pub name: String,
    /// The price of one.
    pub unit_price: Money,
    /// Pieces in the warehouse, the reserved ones included; none: as many as before.
    pub on_hand: Option<u32>,
}

/// Fewer pieces can't be in the warehouse than are put aside for orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reserved} are reserved for orders, so on_hand can't be {on_hand}")]
pub struct BelowReserved {
    /// What was asked for.
    pub on_hand: u32,
    /// What is put aside.
    pub reserved: u32,
}

impl Product {
    /// How many there are.
    #[must_use]
    pub const fn stock(&self) -> Stock {
        Stock { on_hand: self.on_hand, reserved: self.reserved }
    }

    /// A product that nobody has listed yet: version 0, none on hand.
    #[must_use]
    pub fn unlisted(sku: &str) -> Self {
        Self {
            sku: sku.to_owned(),
            name: String::new(),
            amount: 0,
            currency: String::new(),
            on_hand: 0,
            reserved: 0,
            version: 0,
        }
    }

    /// The product after a change, as its next version.
    ///
    /// # Errors
    /// When fewer would be on hand than are reserved.
    pub fn listed(self, listing: Listing) -> Result<Self, BelowReserved> {
        let on_hand = listing.on_hand.unwrap_or(self.on_hand);
        if on_hand < self.reserved {
            return Err(BelowReserved { on_hand, reserved: self.reserved });
        }
        Ok(Self {
            name: listing.name,
            amount: listing.unit_price.amount,
            currency: listing.unit_price.currency,
            on_hand,
            version: self.version + 1,
            ..self
        })
    }

    /// What others are told of it.
    #[must_use]
    pub fn announcement(&self) -> ProductListed {
        ProductListed {
            sku: self.sku.clone(),
            name: self.name.clone(),
            unit_price: Money { amount: self.amount, currency: self.currency.clone() },
            version: self.version,
        }
    }
}

/// SKU, name, price in cents, pieces. Enough of most that a benchmark doesn't run dry; few of one and none of another,
/// so that a refusal can be seen.
const SEED: [(&str, &str, i64, u32); 10] = [
    ("cap-green", "Cap, green", 1_900, 100_000),
    ("hoodie-grey-l", "Hoodie, grey, L", 4_900, 100_000),
    ("mug-blue", "Mug, blue", 1_250, 100_000),
    ("mug-red", "Mug, red", 1_250, 100_000),
    ("notebook-a5", "Notebook, A5, dotted", 890, 100_000),
    ("poster-limited", "Poster, limited edition", 2_500, 5),
    ("sticker-pack", "Sticker pack", 350, 100_000),
    ("tee-black-m", "T-shirt, black, M", 2_100, 100_000),
    ("tote-bag", "Tote bag", 1_500, 100_000),
    ("vinyl-sold-out", "Vinyl record, sold out", 2_900, 0),
];

/// The products that a new shop starts with.
#[must_use]
pub fn seed() -> Vec<Product> {
    SEED.iter()
        .map(|&(sku, name, amount, on_hand)| Product {
            sku: sku.to_owned(),
            name: name.to_owned(),
            amount,
            currency: "EUR".to_owned(),
            on_hand,
            reserved: 0,
            version: 1,
        })
        .collect()
}

/// Whether a text can be a SKU: 1 to 64 of `a-z`, `0-9` and `-`.
#[must_use]
pub fn is_sku(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(on_hand: Option<u32>) -> Listing {
        let unit_price = Money { amount: 1_250, currency: "EUR".to_owned() };
        Listing { name: "Mug".to_owned(), unit_price, on_hand }
    }

    #[test]
    fn the_seed_is_valid_and_sorted_as_it_is_locked() {
        let seed = seed();
        assert!(seed.is_sorted_by(|a, b| a.sku < b.sku));
        assert!(seed.iter().all(|product| is_sku(&product.sku) && product.version == 1));
        assert!(seed.iter().any(|product| product.stock().available() == 0));
    }

    #[test]
    fn each_change_is_the_next_version_and_keeps_the_stock_unless_told() {
        let mug = Product::unlisted("mug").listed(listing(Some(7))).unwrap();
        assert_eq!((mug.version, mug.on_hand), (1, 7));
        let mug = mug.listed(listing(None)).unwrap();
        assert_eq!((mug.version, mug.on_hand), (2, 7));
    }

    #[test]
    fn reserved_pieces_cannot_be_taken_away() {
        let mug = Product { on_hand: 9, reserved: 5, ..Product::unlisted("mug") };
        assert_eq!(
            mug.clone().listed(listing(Some(4))),
            Err(BelowReserved { on_hand: 4, reserved: 5 })
        );
        assert_eq!(mug.listed(listing(Some(5))).unwrap().stock().available(), 0);
    }

    #[test]
    fn skus() {
        for good in ["a", "mug-blue", "0", &"a".repeat(64)] {
            assert!(is_sku(good), "{good:?}");
        }
        for bad in ["", "Mug", "mug blue", "mug_blue", "müg", "mug\0", "a/b", &"a".repeat(65)] {
            assert!(!is_sku(bad), "{bad:?}");
        }
    }
}
