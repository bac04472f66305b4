//! A map for snapshots: copying it costs the recent changes, not the whole content.
//!
//! It has no lock: the owner copies it, changes the copy and replaces the old snapshot.

use std::{borrow::Borrow, collections::HashMap, hash::Hash, sync::Arc};

/// The least number of changes that are kept apart from the base.
const APART: usize = 64;

/// A map whose clones share all but the latest changes. Adding `n` entries with a copy for each
/// takes about `n * sqrt(n)` steps instead of the `n * n` of a plain map.
#[derive(Debug, Clone)]
pub struct Layered<K, V> {
    base: Arc<HashMap<K, V>>,
    /// The differences from the base; `None` for a removed key.
    changes: HashMap<K, Option<V>>,
    len: usize,
}

impl<K, V> Default for Layered<K, V> {
    fn default() -> Self {
        Self { base: Arc::default(), changes: HashMap::new(), len: 0 }
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Layered<K, V> {
    /// The value of a key.
    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        match self.changes.get(key) {
            Some(change) => change.as_ref(),
            None => self.base.get(key),
        }
    }

    /// As [`Layered::get`], with the stored key.
    pub fn get_key_value<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        match self.changes.get_key_value(key) {
            Some((key, change)) => change.as_ref().map(|value| (key, value)),
            None => self.base.get_key_value(key),
        }
    }

    /// Sets the value of a key.
    pub fn insert(&mut self, key: K, value: V) {
        self.len += usize::from(self.get(&key).is_none());
        self.changes.insert(key, Some(value));
        self.merge();
    }

    /// Removes a key, and returns its value.
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (key, value) =
            self.get_key_value(key).map(|(key, value)| (key.clone(), value.clone()))?;
        self.len -= 1;
        self.changes.insert(key, None);
        self.merge();
        Some(value)
    }

    /// The number of entries.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the map is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All entries, in arbitrary order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let changed = self.changes.iter().filter_map(|(key, change)| Some((key, change.as_ref()?)));
        self.base.iter().filter(|(key, _)| !self.changes.contains_key(*key)).chain(changed)
    }

    fn merge(&mut self) {
        if self.changes.len() <= APART.max(self.base.len().isqrt()) {
            return;
        }
        let base = Arc::make_mut(&mut self.base);
        for (key, change) in self.changes.drain() {
            match change {
                Some(value) => drop(base.insert(key, value)),
                None => drop(base.remove(&key)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn inv_a_copy_costs_the_latest_changes() {
        let mut map = Layered::default();
        let mut copied = 0;
        for key in 0..10_000_u32 {
            let mut next = map.clone();
            copied += map.changes.len();
            let before = Arc::clone(&map.base);
            next.insert(key, key);
            copied += if Arc::ptr_eq(&before, &next.base) { 0 } else { before.len() };
            map = next;
        }
        assert_eq!(map.len(), 10_000);
        assert!(copied < 2_000_000, "{copied} entries were copied, a plain map copies 50,000,000");
    }

    proptest! {
        #[test]
        fn inv_a_layered_map_is_a_map(steps in prop::collection::vec((0_u8..200, any::<bool>()), 0..900)) {
            let (mut map, mut model) = (Layered::default(), HashMap::new());
            for (at, (key, adds)) in steps.into_iter().enumerate() {
                if adds {
                    map.insert(key, at);
                    model.insert(key, at);
                } else {
                    prop_assert_eq!(map.remove(&key), model.remove(&key));
                }
                prop_assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()));
                prop_assert_eq!(map.get(&key), model.get(&key));
            }
            prop_assert_eq!(map.iter().map(|(key, value)| (*key, *value)).collect::<HashMap<_, _>>(), model);
        }
    }
}
