//! What an earlier reader has left open, or a lost connection has swallowed, comes first.
//!
//! The server knows such messages as delivered, gives them out again only when their time is over,
//! and sends new ones meanwhile: a key's third message before its second. So before anything is
//! handed on, everything must have come that the server waits for and that is not open here. Who is
//! the only reader calls it back; who may not be waits as long as the server does, unless another
//! reader shows itself.

use super::{
    answers::BEAT,
    pull::Request,
    reader::{Reader, Turn},
    reply::forge,
};
use async_nats::jetstream::consumer::Info;
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// What the server may take to find that the time of a message is over.
const SLACK: Duration = Duration::from_millis(500);
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

impl Reader {
    /// Ends well when what comes next is new. Messages that come meanwhile are held, and handed on
    /// in order at the end.
    pub(super) async fn recover(&mut self) -> Result<(), String> {
        self.held.get_or_insert_with(BTreeMap::new);
        let until = Instant::now() + self.plan.consumer.settings.patience().0 + SLACK;
        let (mut has_looked, mut is_asked, mut pause) = (false, false, FIRST_PAUSE);
        loop {
            self.answers.send(&self.shared, Instant::now()).await;
            self.answers.give_back().await;
            let is_confirmed = self.answers.all_confirmed(self.link.request_timeout).await;
            let (info, is_new) =
                self.plan.consumer.info_or_create(&self.link, self.next_sequence).await?;
            if is_new {
                // Nobody is there any more who could confirm them.
                self.answers.forget();
            } else if !is_confirmed {
                return Err("answers are not confirmed".to_owned());
            }
            let mut missing = info.num_ack_pending.saturating_sub(self.shared.open());
            if missing > 0 && !std::mem::replace(&mut has_looked, true) {
                Box::pin(self.look_for_unreadable(&info)).await?;
                missing = info.num_ack_pending.saturating_sub(self.shared.open());
            }
            let (is_late, is_alone) = (Instant::now() >= until, self.is_alone(&info, missing));
            if missing == 0 || (!is_alone && info.num_waiting > 0) {
                self.end_recovery(&info);
                return Ok(());
            }
            if is_alone {
                self.call_back(&info).await?;
            }
            if is_alone || !is_asked || is_late {
                is_asked = true;
                self.take_at_once(missing).await?;
            }
            if is_late {
                self.end_recovery(&info);
                return Ok(());
            }
            let next = (Instant::now() + pause).min(until);
            pause = (pause * 2).min(LONGEST_PAUSE);
            while Instant::now() < next {
                self.turn_or_fail(next).await?;
            }
        }
    }

    /// Whether what is missing was on its way to this reader and to nobody else: it has a lease, or
    /// has got every delivery so far, as many are missing as were made since, and no other reader
    /// waits. What was given back may be among those, or not be delivered yet.
    fn is_alone(&self, info: &Info, missing: usize) -> bool {
        let since = self
            .expected
            .and_then(|expected| (info.delivered.consumer_sequence + 1).checked_sub(expected));
        let possible = missing.saturating_sub(self.answers.returned()) as u64..=missing as u64;
        self.plan.lease.is_some()
            || (info.num_waiting == 0 && since.is_some_and(|since| possible.contains(&since)))
    }

    /// At the end of reading: what was on its way goes back at once, if it is known.
    pub(super) async fn call_back_what_was_lost(&mut self) {
        self.answers.send(&self.shared, Instant::now()).await;
        self.answers.give_back().await;
        // Answers that the server has not looked at would be taken for messages that are missing.
        if !self.answers.all_confirmed(self.link.request_timeout).await {
            return;
        }
        let Ok(info) = self.plan.consumer.info(&self.link).await else { return };
        let missing = info.num_ack_pending.saturating_sub(self.shared.open());
        if missing > 0 && self.is_alone(&info, missing) && self.call_back(&info).await.is_err() {
            tracing::debug!(
                topic = self.shared.source.topic.as_str(),
                "some messages come again later"
            );
        }
    }

    fn end_recovery(&mut self, info: &Info) {
        let after = info.delivered.consumer_sequence + 1;
        // With another reader there, deliveries say nothing of each other.
        let is_shared = self.plan.lease.is_none() && info.num_waiting > 0;
        self.expected =
            (!is_shared).then(|| self.expected.map_or(after, |expected| expected.max(after)));
        self.release();
    }

    /// Asks for so many messages and waits until they have come, or the server has no more.
    async fn take_at_once(&mut self, count: usize) -> Result<(), String> {
        let count = count.min(self.shared.state.lock().window.room());
        if count == 0 {
            return Ok(());
        }
        self.request(count, Request::at_once(count)).await;
        while self.wanted > 0 {
            self.turn_or_fail(Instant::now() + LONGEST_PAUSE).await?;
        }
        Ok(())
    }

    pub(super) async fn turn_or_fail(&mut self, until: Instant) -> Result<(), String> {
        match self.turn(until).await {
            Turn::On => Ok(()),
            Turn::Ended => Err("ended".to_owned()),
            Turn::Again => Err("the connection changed".to_owned()),
        }
    }

    /// Gives back, in place of a reader that is gone, what it was given. What it has answered for
    /// is not touched.
    async fn call_back(&mut self, info: &Info) -> Result<(), String> {
        let consumer = &self.plan.consumer;
        let (floor, last) = (info.ack_floor.stream_sequence, info.delivered.stream_sequence);
        let delivery = info.delivered.consumer_sequence;
        let mut lost: Vec<u64> = {
            let state = self.shared.state.lock();
            (floor + 1..=last).filter(|sequence| !state.window.contains(*sequence)).collect()
        };
        let Some(final_one) = lost.pop() else { return Ok(()) };
        let subject = |sequence| forge(&consumer.stream, &consumer.durable, sequence, delivery);
        let error = |error: async_nats::PublishError| error.to_string();
        let back = Bytes::from_static(b"-NAK");
        for sequence in lost {
            self.link.client().publish(subject(sequence), back.clone()).await.map_err(error)?;
        }
        self.link.client().publish(subject(final_one), back).await.map_err(error)?;
        // The server has done all of it when it answers a question that came behind.
        let asked = self.link.client().request(subject(final_one), BEAT).await;
        asked.map(drop).map_err(|error| error.to_string())
    }
}
