//! An entry that came, and what came of checking its signatures if that was done already.
//!
//! Always holds: the verified entry that it carries is what its own bytes are. Only [`Arrived::check`], which
//! verifies those bytes, and [`Arrived::check_as`], which compares them, put one there; nothing changes the bytes.

use super::{Entry, EntryError, Item, Packed};
use crate::identity::FleetId;

/// An entry on its way into a replica.
#[derive(Clone, Debug)]
pub struct Arrived {
    item: Item,
    checked: Option<(FleetId, Entry)>,
}

impl From<Item> for Arrived {
    /// Nothing is checked yet.
    fn from(item: Item) -> Self {
        Self { item, checked: None }
    }
}

/// By what came: that it was checked adds nothing to it.
impl PartialEq for Arrived {
    fn eq(&self, other: &Self) -> bool {
        self.item == other.item
    }
}

impl Eq for Arrived {}

impl Arrived {
    /// What came.
    pub fn item(&self) -> &Item {
        &self.item
    }

    /// A facet that its head names came later.
    pub fn add_facet(&mut self, facet: Packed) {
        self.item.facets.push(facet);
    }

    /// What it takes to keep, nearly.
    pub fn weight(&self) -> usize {
        // The entry is there once more, as bytes and as what they say.
        let checked = self.checked.as_ref().map_or(0, |_| 2 * self.item.entry.0.len());
        self.item.weight() + checked
    }

    /// Verifies it, unless that was done for this fleet.
    ///
    /// # Errors
    /// When it is no entry, or a signature does not match.
    pub fn check(&mut self, fleet: FleetId) -> Result<&Entry, EntryError> {
        let entry = self.take(fleet)?;
        Ok(&self.checked.insert((fleet, entry)).1)
    }

    /// Whether its signatures were checked.
    pub fn is_checked(&self) -> bool {
        self.checked.is_some()
    }

    /// Takes over what came of checking another copy of the same bytes.
    pub fn check_as(&mut self, twin: &Self) {
        if self.checked.is_none() && self.item.entry == twin.item.entry {
            self.checked.clone_from(&twin.checked);
        }
    }

    /// The verified entry, and what came. Costs nothing where it was checked for this fleet.
    ///
    /// # Errors
    /// When it is no entry, or a signature does not match.
    pub fn verify(mut self, fleet: FleetId) -> Result<(Entry, Item), EntryError> {
        let entry = self.take(fleet)?;
        Ok((entry, self.item))
    }

    fn take(&mut self, fleet: FleetId) -> Result<Entry, EntryError> {
        match self.checked.take() {
            Some((of, entry)) if of == fleet => Ok(entry),
            _ => Entry::verify(&self.item.entry.0, fleet),
        }
    }
}

#[cfg(test)]
#[path = "arrived_tests.rs"]
mod tests;
