//! Reads one partition: copies messages out of librdkafka's memory, on the reader's thread.
//!
//! Headers are read here and not where the broker is polled, because reading them costs as much as the rest.

use super::assignment::{Assignment, Lot, Read};
use crate::native::Fetched;
use buslane_core::{Delivery, Intake, Message, Route, Settle, Settlement, Source};
use bytes::{BufMut, Bytes, BytesMut};
use std::{
    sync::Arc,
    task::{Context, Poll},
};

/// Bytes of a chunk that small messages are cut from. One that waits long keeps its chunk alive, so a chunk is a page
/// and not a batch.
const CHUNK: usize = 4_096;

pub(crate) struct KafkaIntake {
    assignment: Arc<Assignment>,
    arena: BytesMut,
}

impl KafkaIntake {
    pub(super) fn new(assignment: Arc<Assignment>) -> Self {
        Self { assignment, arena: BytesMut::new() }
    }

    fn message(&mut self, fetched: &Fetched) -> Message {
        let (key, payload) = (fetched.key(), fetched.payload());
        let size = key.map_or(0, <[u8]>::len) + payload.len();
        if self.arena.capacity() < size {
            self.arena = BytesMut::with_capacity(CHUNK.max(size));
        }
        let key = key.map(|key| self.copy(key));
        let payload = self.copy(payload);
        let (headers, arena) = fetched.headers(std::mem::take(&mut self.arena));
        self.arena = arena;
        Message {
            source: Arc::clone(&self.assignment.source),
            offset: fetched.offset(),
            timestamp_ms: fetched.timestamp_ms(),
            key,
            headers,
            payload,
            route: Route::None,
            kind: Default::default(),
            attempt: 0,
        }
    }

    fn copy(&mut self, bytes: &[u8]) -> Bytes {
        self.arena.put_slice(bytes);
        self.arena.split().freeze()
    }
}

impl Intake for KafkaIntake {
    fn source(&self) -> &Arc<Source> {
        &self.assignment.source
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, max: usize, out: &mut Vec<Delivery>) -> Poll<Option<usize>> {
        // Held until the messages are copied and dropped.
        let Some(_client) = self.assignment.client() else { return Poll::Ready(None) };
        let (messages, settled) = match self.assignment.take(max, cx) {
            Read::Some { messages, settled } => (messages, settled),
            Read::Ended => return Poll::Ready(None),
            Read::Nothing => return Poll::Pending,
        };
        let sink: Arc<dyn Settle> = Arc::new(Lot(Arc::clone(&self.assignment)));
        out.extend(messages.iter().map(|fetched| Delivery {
            message: self.message(fetched),
            settlement: if settled {
                Settlement::ignored()
            } else {
                Settlement::new(Arc::clone(&sink), fetched.offset())
            },
        }));
        Poll::Ready(Some(messages.len()))
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.assignment.poll_end(cx)
    }
}
