//! The end of a source: what nobody has taken goes back, what is open is awaited, and the last
//! answers are confirmed.

use super::{
    End,
    arrivals::{Arrived, next},
    reader::{LONGEST_PAUSE, Reader, Turn},
    window::Fate,
};
use std::time::{Duration, Instant};

/// What a message that arrives after the end, and a last question, are given.
const LAST_WORDS: Duration = Duration::from_secs(2);

impl Reader {
    /// The source has ended: what nobody has taken goes back, what is open is awaited.
    pub(super) async fn finish(mut self) -> usize {
        if self.shared.end_state() == End::Lost {
            return 0;
        }
        self.hand_back().await;
        loop {
            let deadline = match self.shared.end_state() {
                End::Lost => return 0,
                End::Open | End::Ended(None) => None,
                End::Ended(deadline) => deadline,
            };
            let now = Instant::now();
            self.answers.send(&self.shared, now).await;
            self.answers.give_back().await;
            let open = self.shared.open();
            if open == 0 || deadline.is_some_and(|deadline| now >= deadline) {
                return self.leave(open).await;
            }
            if self.turn(now + LONGEST_PAUSE).await == Turn::Again {
                self.answers.send_again().await;
            }
        }
    }

    /// Ends the requests, and reads what has come of them. What was on its way is lost: the client
    /// forgets a subscription before the server does.
    pub(super) async fn read_to_the_end(&mut self) {
        let Some(mut inbox) = self.inbox.take() else { return };
        let until = tokio::time::Instant::now() + LAST_WORDS;
        let drained = tokio::time::timeout_at(until, inbox.drain()).await;
        while let Ok(Ok(())) = drained
            && let Ok(Some(messages)) = tokio::time::timeout_at(until, next(Some(&mut inbox))).await
        {
            let arrived: Vec<Arrived> =
                messages.into_iter().filter_map(|message| self.read(message)).collect();
            self.take(arrived, Instant::now()).await;
        }
        // A server before 2.10.14 that finds nobody behind a request, when it looks at a message
        // that was given back, forgets the message and goes a step back in the stream. Asked for
        // the consumer, it first throws such requests away.
        let _ = tokio::time::timeout_at(until, self.plan.consumer.info(&self.link)).await;
    }

    /// What nobody has taken goes back.
    async fn hand_back(&mut self) {
        self.read_to_the_end().await;
        self.call_back_what_was_lost().await;
        let held = self.held.take().unwrap_or_default();
        let mut state = self.shared.state.lock();
        let unread: Vec<u32> =
            state.unread().chain(held.into_values()).filter_map(|ready| ready.slot).collect();
        for slot in unread {
            state.window.settle(slot, Fate::Back);
        }
    }

    /// The last answers; what is open goes back.
    async fn leave(mut self, open: usize) -> usize {
        if open > 0 {
            let mut left = self.shared.abandon();
            left.sort_unstable_by_key(|answer| answer.sequence);
            for answer in left {
                self.answers.answer(answer, Instant::now()).await;
            }
            self.answers.give_back().await;
        }
        if !self.answers.all_confirmed(LAST_WORDS).await {
            tracing::warn!(
                topic = self.shared.source.topic.as_str(),
                "the server has not confirmed the last answers"
            );
        }
        open
    }
}
