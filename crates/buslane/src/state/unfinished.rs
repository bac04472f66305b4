//! The keys whose messages a shutdown leaves for redelivery: the first of them by name, for its log
//! line. The report of the shutdown counts the messages.

use buslane_core::Message;
use parking_lot::Mutex;
use std::fmt;

/// Keys that are named.
const LIMIT: usize = 10;

/// Filled while the pool stops.
#[derive(Default)]
pub(crate) struct UnfinishedKeys(Mutex<Named>);

#[derive(Default)]
struct Named {
    keys: Vec<String>,
    are_more: bool,
}

impl UnfinishedKeys {
    /// Notes the key of a message that is left.
    pub(crate) fn note(&self, message: &Message) {
        let mut named = self.0.lock();
        if named.are_more {
            return;
        }
        let key = format!("{} key {}", message.source, message.label_excerpt());
        if !named.keys.contains(&key) {
            named.are_more = named.keys.len() == LIMIT;
            if !named.are_more {
                named.keys.push(key);
            }
        }
    }
}

impl fmt::Display for UnfinishedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.0.lock();
        f.write_str(&named.keys.join(", "))?;
        f.write_str(if named.are_more { " and more" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use buslane_core::{Route, Topic};

    #[test]
    fn b9_what_is_left_is_named_up_to_a_number() {
        let unfinished = UnfinishedKeys::default();
        let note = |n| {
            unfinished.note(&Message {
                route: Route::RoundRobin(n),
                ..Message::new(Topic::new("a").unwrap(), "x")
            })
        };
        (0..2).chain(0..2).for_each(note);
        assert_eq!(unfinished.to_string(), "a/0 key rr-0, a/0 key rr-1");
        (0..=LIMIT as u64).for_each(note);
        assert!(unfinished.to_string().ends_with("a/0 key rr-9 and more"), "{unfinished}");
    }
}
