//! What was settled lately: a server that was killed may have forgotten it, because it writes a consumer's state now and then.
//! Only looked at for a while after a connection was lost: who resets a consumer to read again must get what he asks for.
//!
//! It is remembered until the server was alive for so long that it has written it, so that memory follows the traffic.

use super::window::Answer;
use buslane_core::room_after;
use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

/// Messages that are remembered at most.
const MOST: usize = 65_536;
/// What a server has taken is on its disk so much later: its `sync_interval` is two minutes where nobody has set it.
const WRITTEN: Duration = Duration::from_secs(120);
const WHILE: Duration = Duration::from_secs(60);

/// The sequence of a message and when the stream took it, which together say which one it was.
type Which = (u64, i64);

#[derive(Default)]
pub(super) struct Past {
    settled: VecDeque<Which>,
    /// So many of them, the oldest, were there at that time already.
    older: Option<(Instant, usize)>,
    /// The same to look things up in, until then: made when a connection was lost, because nobody looks before.
    index: Option<(Instant, HashSet<Which, foldhash::fast::FixedState>)>,
}

impl Past {
    pub(super) fn add(&mut self, answer: &Answer) {
        self.settled.push_back(which(answer));
        let oldest = if self.settled.len() > MOST { self.settled.pop_front() } else { None };
        if let (Some(_), Some((_, older))) = (oldest, &mut self.older) {
            *older = older.saturating_sub(1);
        }
        if let Some((_, index)) = &mut self.index {
            oldest.map(|oldest| index.remove(&oldest));
            index.insert(which(answer));
        }
    }

    /// The server has said something: it lives. What it has had the time to write is forgotten, unless it was away lately.
    pub(super) fn heard(&mut self, now: Instant) {
        if self.index.as_ref().is_some_and(|(until, _)| now < *until) {
            return;
        }
        self.index = None;
        let written = match self.older {
            Some((since, _)) if now < since + WRITTEN => return,
            Some((_, older)) => older,
            None => 0,
        };
        let had = self.settled.len();
        self.settled.drain(..written);
        self.settled.shrink_to(room_after(self.settled.capacity(), had));
        self.older = Some((now, self.settled.len()));
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

    #[test]
    fn t5_what_the_server_has_written_is_forgotten() {
        let (mut past, begin) = (Past::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        for second in 0..3_600 {
            past.heard(at(second));
            past.add(&answer(second, 0));
            assert!(past.settled.len() <= 240 && past.settled.capacity() <= 512, "{} s", second);
        }
        past.recall(at(3_600));
        for sequence in 3_480..3_600 {
            assert!(past.contains(&answer(sequence, 0), at(3_600)), "the server may not have written {sequence}");
        }
    }

    #[test]
    fn n6_what_was_settled_before_a_long_loss_is_known_after_it() {
        let (mut past, begin) = (Past::default(), Instant::now());
        past.heard(begin);
        past.add(&answer(1, 0));
        let back = begin + Duration::from_secs(3_600);
        past.add(&answer(2, 0)); // its handler ended meanwhile
        past.recall(back);
        past.heard(back);
        assert!(past.contains(&answer(1, 0), back) && past.contains(&answer(2, 0), back));
        past.heard(back + WHILE);
        assert!(
            past.index.is_none() && past.settled.len() == 2,
            "the server may go away again, before it has written them"
        );
    }
}
