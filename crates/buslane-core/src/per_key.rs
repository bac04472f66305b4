//! One shared value for each key in use, such as a lock for each topic.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// Values that callers with the same key share. A value ends with its last holder, so the map is
/// no larger than the number of keys in use.
///
/// ```
/// use buslane_core::PerKey;
/// use std::sync::{Arc, Mutex};
///
/// let locks = PerKey::<&str, Mutex<()>>::default();
/// let orders = locks.get(&"orders");
/// assert!(Arc::ptr_eq(&orders, &locks.get(&"orders")));
/// assert!(!Arc::ptr_eq(&orders, &locks.get(&"mails")));
/// ```
pub struct PerKey<K, V>(Mutex<HashMap<K, Weak<V>>>);

impl<K: Eq + Hash + Clone, V: Default> PerKey<K, V> {
    /// The value of a key: the one that others hold, or a new one.
    pub fn get(&self, key: &K) -> Arc<V> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = held.get(key).and_then(Weak::upgrade) {
            return value;
        }
        held.retain(|_, value| value.strong_count() > 0);
        let value = Arc::<V>::default();
        held.insert(key.clone(), Arc::downgrade(&value));
        value
    }
}

impl<K, V> Default for PerKey<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K, V> fmt::Debug for PerKey<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inv_a_value_ends_with_its_last_holder() {
        let values = PerKey::<u32, Mutex<u32>>::default();
        let (one, other) = (values.get(&1), values.get(&2));
        *one.lock().expect("not poisoned") = 7;
        assert_eq!(*values.get(&1).lock().expect("not poisoned"), 7);
        assert_eq!(*other.lock().expect("not poisoned"), 0);
        drop((one, other));
        assert_eq!(*values.get(&1).lock().expect("not poisoned"), 0, "a new value");
        assert_eq!(values.0.lock().expect("not poisoned").len(), 1);
    }
}
