//! The intake of the bus: takes messages that are ready, and never waits for the server.

use super::handle::{End, Ready, SourceHandle};
use crate::names;
use buslane_core::{Delivery, Intake, Settle, Settlement, Source, shrunk_capacity};
use bytes::Bytes;
use std::{
    sync::Arc,
    task::{Context, Poll},
};

pub(crate) struct NatsIntake(pub(crate) Arc<SourceHandle>);

impl Intake for NatsIntake {
    fn source(&self) -> &Arc<Source> {
        &self.0.source
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
        out: &mut Vec<Delivery>,
    ) -> Poll<Option<usize>> {
        let mut state = self.0.state.lock();
        if state.end != End::Open {
            return Poll::Ready(None);
        }
        // Without a valid lease the intake waits for the end of the source.
        let came = state.ready.len();
        let count = if self.0.is_ours() { max.min(came) } else { 0 };
        if count == 0 {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let has_subject_key = state.options.subject_key;
        let was_low = came < state.low;
        let sink: Arc<dyn Settle> = Arc::clone(&self.0) as _;
        out.extend(state.ready.drain(..count).map(
            |Ready { mut message, subject, slot, is_last }| {
                if has_subject_key && message.key.is_none() {
                    let key = names::key(&subject, &self.0.source.topic, self.0.partition);
                    message.key = key.map(|key| Bytes::copy_from_slice(key.as_bytes()));
                }
                let settlement = match slot {
                    Some(slot) => Settlement::new(Arc::clone(&sink), u64::from(slot)),
                    None => Settlement::ignored(),
                };
                Delivery { message, settlement: settlement.last(is_last) }
            },
        ));
        let room = shrunk_capacity(state.ready.capacity(), came);
        state.ready.shrink_to(room);
        let is_low = state.ready.len() < state.low;
        drop(state);
        if is_low && !was_low {
            self.0.work.notify_one();
        }
        Poll::Ready(Some(count))
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.state.lock();
        if state.end == End::Open {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}
