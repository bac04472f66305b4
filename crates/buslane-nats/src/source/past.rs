//! What was settled lately: a server that was killed may have forgotten it, because it writes a consumer's state now and then.
//! Only looked at for a while after a connection was lost: who resets a consumer to read again must get what he asks for.

use super::window::Answer;
use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

/// Messages that are remembered.
const MOST: usize = 65_536;
const WHILE: Duration = Duration::from_secs(60);

/// The sequence of a message and when the stream took it, which together say which one it was.
type Which = (u64, i64);

#[derive(Default)]
pub(super) struct Past {
    settled: VecDeque<Which>,
    /// The same to look things up in, until then: made when a connection was lost, because nobody looks before.
    index: Option<(Instant, HashSet<Which, foldhash::fast::FixedState>)>,
}

impl Past {
    pub(super) fn add(&mut self, answer: &Answer) {
        self.settled.push_back(which(answer));
        let oldest = if self.settled.len() > MOST { self.settled.pop_front() } else { None };
        if let Some((_, index)) = &mut self.index {
            oldest.map(|oldest| index.remove(&oldest));
            index.insert(which(answer));
        }
    }

    /// A connection was lost.
    pub(super) fn recall(&mut self, now: Instant) {
        self.index = Some((now + WHILE, self.settled.iter().copied().collect()));
    }

    pub(super) fn contains(&self, answer: &Answer, now: Instant) -> bool {
        self.index.as_ref().is_some_and(|(until, index)| now < *until && index.contains(&which(answer)))
    }
}

const fn which(answer: &Answer) -> Which {
    (answer.sequence, answer.timestamp_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::window::Fate;

    fn answer(sequence: u64, timestamp_ms: i64) -> Answer {
        Answer { sequence, deliveries: 1, timestamp_ms, reply: "r".into(), fate: Fate::Done }
    }

    #[test]
    fn n6_what_was_settled_is_known_for_a_while_after_a_loss() {
        let (mut past, now) = (Past::default(), Instant::now());
        past.add(&answer(1, 100));
        assert!(!past.contains(&answer(1, 100), now), "no connection was lost");
        past.recall(now);
        assert!(past.contains(&answer(1, 100), now));
        assert!(!past.contains(&answer(1, 101), now), "a stream that began anew");
        assert!(!past.contains(&answer(2, 100), now));
        assert!(!past.contains(&answer(1, 100), now + WHILE));
        for sequence in 2..=1 + MOST as u64 {
            past.add(&answer(sequence, 0));
        }
        assert!(!past.contains(&answer(1, 100), now) && past.contains(&answer(2, 0), now));
    }
}
