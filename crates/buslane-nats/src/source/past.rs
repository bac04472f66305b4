//! What was settled lately: a server that was killed may have forgotten it, because it writes a
//! consumer's state now and then. Only looked at for a while after a connection was lost: who
//! resets a consumer to read again must get what he asks for.
//!
//! It is remembered until the server was alive for so long that it has written it, so that memory
//! follows the traffic: in spans of time, which go as a whole, and have no more room than they need
//! once they are over.

use super::window::Answer;
use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

/// So many of the last messages are remembered, of those that the server may not have written; up
/// to `LARGEST` more are.
const MOST: usize = 65_536;
/// Messages of a span at most.
const LARGEST: usize = 8_192;
/// A span ends when the server is heard of so long after its begin.
const LONGEST: Duration = Duration::from_secs(15);
/// What a server has taken is on its disk so much later: its `sync_interval` is two minutes where
/// nobody has set it.
const WRITTEN: Duration = Duration::from_secs(120);
const WHILE: Duration = Duration::from_secs(60);

/// The sequence of a message and when the stream took it, which together say which one it was.
type Which = (u64, i64);

/// What was settled from its begin until the begin of the next.
struct Span {
    begin: Instant,
    settled: Vec<Which>,
}

#[derive(Default)]
pub(super) struct Past {
    /// The oldest first.
    spans: VecDeque<Span>,
    /// Messages in all of them.
    count: usize,
    /// The same to look things up in, until then: made when a connection was lost, because nobody
    /// looks before.
    index: Option<(Instant, HashSet<Which, foldhash::fast::FixedState>)>,
}

impl Past {
    pub(super) fn add(&mut self, answer: &Answer, now: Instant) {
        if self.spans.back().is_none_or(|span| span.settled.len() == LARGEST) {
            self.begin_span(now);
        }
        if let Some(span) = self.spans.back_mut() {
            span.settled.push(which(answer));
            self.count += 1;
        }
        if let Some((_, index)) = &mut self.index {
            index.insert(which(answer));
        }
        while self.spans.front().is_some_and(|oldest| self.count - oldest.settled.len() >= MOST) {
            self.forget_span();
        }
    }

    /// The server has said something: it lives. What it has had the time to write is forgotten,
    /// unless it was away lately.
    pub(super) fn heard(&mut self, now: Instant) {
        if self.index.as_ref().is_some_and(|(until, _)| now < *until) {
            return;
        }
        self.index = None;
        if self
            .spans
            .back()
            .is_some_and(|span| !span.settled.is_empty() && now >= span.begin + LONGEST)
        {
            self.begin_span(now);
        }
        while self.spans.get(1).is_some_and(|next| now >= next.begin + WRITTEN) {
            self.forget_span();
        }
    }

    /// A connection was lost.
    pub(super) fn recall(&mut self, now: Instant) {
        let settled = self.spans.iter().flat_map(|span| &span.settled);
        self.index = Some((now + WHILE, settled.copied().collect()));
    }

    pub(super) fn contains(&self, answer: &Answer, now: Instant) -> bool {
        self.index
            .as_ref()
            .is_some_and(|(until, index)| now < *until && index.contains(&which(answer)))
    }

    fn begin_span(&mut self, now: Instant) {
        if let Some(before) = self.spans.back_mut() {
            before.settled.shrink_to_fit();
        }
        self.spans.push_back(Span { begin: now, settled: Vec::new() });
    }

    fn forget_span(&mut self) {
        let Some(Span { settled, .. }) = self.spans.pop_front() else { return };
        self.count -= settled.len();
        if let Some((_, index)) = &mut self.index {
            for which in settled {
                index.remove(&which);
            }
        }
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
        past.add(&answer(1, 100), now);
        assert!(!past.contains(&answer(1, 100), now), "no connection was lost");
        past.recall(now);
        assert!(past.contains(&answer(1, 100), now));
        assert!(!past.contains(&answer(1, 101), now), "a stream that began anew");
        assert!(!past.contains(&answer(2, 100), now));
        assert!(!past.contains(&answer(1, 100), now + WHILE));
        let last = 1 + (MOST + LARGEST) as u64;
        for sequence in 2..=last {
            past.add(&answer(sequence, 0), now);
        }
        assert!(!past.contains(&answer(1, 100), now) && past.count <= MOST + LARGEST);
        for sequence in last - MOST as u64 + 1..=last {
            assert!(past.contains(&answer(sequence, 0), now), "{sequence}");
        }
    }

    #[test]
    fn t5_what_the_server_has_written_is_forgotten() {
        let (mut past, begin) = (Past::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        for second in 0..3_600 {
            past.heard(at(second));
            past.add(&answer(second, 0), at(second));
            let room: usize = past.spans.iter().map(|span| span.settled.capacity()).sum();
            assert!(
                past.count <= 135 && room <= 150,
                "{second} s: {} in room for {room}",
                past.count
            );
        }
        past.recall(at(3_600));
        for sequence in 3_480..3_600 {
            assert!(
                past.contains(&answer(sequence, 0), at(3_600)),
                "the server may not have written {sequence}"
            );
        }
    }

    #[test]
    fn n6_what_was_settled_before_a_long_loss_is_known_after_it() {
        let (mut past, begin) = (Past::default(), Instant::now());
        past.heard(begin);
        past.add(&answer(1, 0), begin);
        let back = begin + Duration::from_secs(3_600);
        past.add(&answer(2, 0), back); // its handler ended meanwhile
        past.recall(back);
        past.heard(back);
        assert!(past.contains(&answer(1, 0), back) && past.contains(&answer(2, 0), back));
        past.heard(back + WHILE);
        assert!(
            past.index.is_none() && past.count == 2,
            "the server may go away again, before it has written them"
        );
    }
}
