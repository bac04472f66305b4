//! The recently acknowledged messages. A killed server may have forgotten some of these
//! acknowledgements, because it writes the state of a consumer only at intervals.
//!
//! The messages count only for a while after a lost connection: an operator who resets a consumer
//! must receive its messages again.
//!
//! A message is remembered until the server has been alive long enough to have written its
//! acknowledgement. Messages are stored in spans of time, which are dropped as a whole, so that
//! memory follows the traffic.

use super::open_messages::Ack;
use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

/// The least number of messages that are remembered, if the server may not have written them.
const CAPACITY: usize = 65_536;
/// The largest number of messages of a span.
const SPAN_SIZE: usize = 8_192;
/// A span ends at the first sign of the server this long after the span's beginning.
const SPAN_TIME: Duration = Duration::from_secs(15);
/// The server's default for `sync_interval`: older acknowledgements are written.
const WRITTEN_AFTER: Duration = Duration::from_secs(120);
/// How long the messages count after a lost connection.
const LOOKED_AT_FOR: Duration = Duration::from_secs(60);

/// A sequence, and the time at which the stream stored the message: a recreated stream counts
/// again.
type MessageId = (u64, i64);

/// The messages acknowledged between the beginning of this span and that of the next.
struct Span {
    begin: Instant,
    acked: Vec<MessageId>,
}

#[derive(Default)]
pub(crate) struct RecentlyAcked {
    /// The oldest first.
    spans: VecDeque<Span>,
    /// The number of messages in all spans.
    count: usize,
    /// The same messages for look-ups, and the end of their validity. Built when a connection is
    /// lost, because no look-up happens earlier.
    index: Option<(Instant, HashSet<MessageId, foldhash::fast::FixedState>)>,
}

impl RecentlyAcked {
    pub(super) fn add(&mut self, ack: &Ack, now: Instant) {
        if self.spans.back().is_none_or(|span| span.acked.len() == SPAN_SIZE) {
            self.begin_span(now);
        }
        if let Some(span) = self.spans.back_mut() {
            span.acked.push(message(ack));
            self.count += 1;
        }
        if let Some((_, index)) = &mut self.index {
            index.insert(message(ack));
        }
        while self.spans.front().is_some_and(|oldest| self.count - oldest.acked.len() >= CAPACITY) {
            self.drop_span();
        }
    }

    /// Records that the server is alive. Drops messages that the server has had time to write,
    /// unless a connection was lost recently.
    pub(super) fn heard(&mut self, now: Instant) {
        if self.index.as_ref().is_some_and(|(until, _)| now < *until) {
            return;
        }
        self.index = None;
        if self
            .spans
            .back()
            .is_some_and(|span| !span.acked.is_empty() && now >= span.begin + SPAN_TIME)
        {
            self.begin_span(now);
        }
        while self.spans.get(1).is_some_and(|next| now >= next.begin + WRITTEN_AFTER) {
            self.drop_span();
        }
    }

    /// From now on, the messages count for a while.
    pub(super) fn connection_lost(&mut self, now: Instant) {
        let acked = self.spans.iter().flat_map(|span| &span.acked);
        self.index = Some((now + LOOKED_AT_FOR, acked.copied().collect()));
    }

    pub(super) fn contains(&self, ack: &Ack, now: Instant) -> bool {
        self.index
            .as_ref()
            .is_some_and(|(until, index)| now < *until && index.contains(&message(ack)))
    }

    fn begin_span(&mut self, now: Instant) {
        if let Some(before) = self.spans.back_mut() {
            before.acked.shrink_to_fit();
        }
        self.spans.push_back(Span { begin: now, acked: Vec::new() });
    }

    fn drop_span(&mut self) {
        let Some(Span { acked, .. }) = self.spans.pop_front() else { return };
        self.count -= acked.len();
        if let Some((_, index)) = &mut self.index {
            for message in acked {
                index.remove(&message);
            }
        }
    }
}

const fn message(ack: &Ack) -> MessageId {
    (ack.sequence, ack.timestamp_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::open_messages::AckKind;

    fn ack(sequence: u64, timestamp_ms: i64) -> Ack {
        Ack { sequence, deliveries: 1, timestamp_ms, reply: "r".into(), kind: AckKind::Ack }
    }

    #[test]
    fn n6_what_was_acked_is_known_for_a_while_after_a_loss() {
        let (mut recent, now) = (RecentlyAcked::default(), Instant::now());
        recent.add(&ack(1, 100), now);
        assert!(!recent.contains(&ack(1, 100), now), "no connection was lost");
        recent.connection_lost(now);
        assert!(recent.contains(&ack(1, 100), now));
        assert!(!recent.contains(&ack(1, 101), now), "a stream that began anew");
        assert!(!recent.contains(&ack(2, 100), now));
        assert!(!recent.contains(&ack(1, 100), now + LOOKED_AT_FOR));
        let last = 1 + (CAPACITY + SPAN_SIZE) as u64;
        for sequence in 2..=last {
            recent.add(&ack(sequence, 0), now);
        }
        assert!(!recent.contains(&ack(1, 100), now) && recent.count <= CAPACITY + SPAN_SIZE);
        for sequence in last - CAPACITY as u64 + 1..=last {
            assert!(recent.contains(&ack(sequence, 0), now), "{sequence}");
        }
    }

    #[test]
    fn t5_what_the_server_has_written_is_forgotten() {
        let (mut recent, begin) = (RecentlyAcked::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        for second in 0..3_600 {
            recent.heard(at(second));
            recent.add(&ack(second, 0), at(second));
            let room: usize = recent.spans.iter().map(|span| span.acked.capacity()).sum();
            assert!(
                recent.count <= 135 && room <= 150,
                "{second} s: {} in room for {room}",
                recent.count
            );
        }
        recent.connection_lost(at(3_600));
        for sequence in 3_480..3_600 {
            assert!(
                recent.contains(&ack(sequence, 0), at(3_600)),
                "the server may not have written {sequence}"
            );
        }
    }

    #[test]
    fn n6_what_was_acked_before_a_long_loss_is_known_after_it() {
        let (mut recent, begin) = (RecentlyAcked::default(), Instant::now());
        recent.heard(begin);
        recent.add(&ack(1, 0), begin);
        let back = begin + Duration::from_secs(3_600);
        recent.add(&ack(2, 0), back); // its handler ended meanwhile
        recent.connection_lost(back);
        recent.heard(back);
        assert!(recent.contains(&ack(1, 0), back) && recent.contains(&ack(2, 0), back));
        recent.heard(back + LOOKED_AT_FOR);
        assert!(
            recent.index.is_none() && recent.count == 2,
            "the server may go away again, before it has written them"
        );
    }
}
