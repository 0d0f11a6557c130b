//! The stock of the products that a batch of facts touches, in memory.

use std::collections::BTreeMap;

use contracts::Shortage;

use super::{Lines, Stock};

/// The stock of some products by SKU. Each change is made for all lines or for none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shelf(pub BTreeMap<String, Stock>);

impl Shelf {
    /// Puts all lines aside.
    ///
    /// # Errors
    /// When something is missing: what. A product that isn't on the shelf can't be had.
    pub(super) fn reserve(&mut self, lines: &Lines) -> Result<(), Vec<Shortage>> {
        let shortages: Vec<Shortage> = lines
            .0
            .iter()
            .map(|(sku, &wanted)| {
                let available = self.0.get(sku).map_or(0, |stock| stock.available());
                Shortage { sku: sku.clone(), wanted, available }
            })
            .filter(|line| line.wanted > line.available)
            .collect();
        if !shortages.is_empty() {
            return Err(shortages);
        }
        for (sku, quantity) in &lines.0 {
            if let Some(stock) = self.0.get_mut(sku) {
                stock.reserved += quantity;
            }
        }
        Ok(())
    }

    /// Puts all lines back.
    ///
    /// # Errors
    /// When fewer are reserved: of which product.
    pub(super) fn release(&mut self, lines: &Lines) -> Result<(), String> {
        self.check_reserved(lines)?;
        for (sku, quantity) in &lines.0 {
            if let Some(stock) = self.0.get_mut(sku) {
                stock.reserved -= quantity;
            }
        }
        Ok(())
    }

    /// Takes all lines, which were put aside, off the stock.
    ///
    /// # Errors
    /// When fewer are reserved: of which product.
    pub(super) fn ship(&mut self, lines: &Lines) -> Result<(), String> {
        self.check_reserved(lines)?;
        for (sku, quantity) in &lines.0 {
            if let Some(stock) = self.0.get_mut(sku) {
                stock.reserved -= quantity;
                stock.on_hand -= quantity;
            }
        }
        Ok(())
    }

    fn check_reserved(&self, lines: &Lines) -> Result<(), String> {
        let short = lines.0.iter().find(|(sku, quantity)| {
            self.0.get(*sku).is_none_or(|stock| stock.reserved < **quantity)
        });
        short.map_or(Ok(()), |(sku, _)| Err(sku.clone()))
    }
}
