//! Copies messages out of librdkafka's memory, where each keeps the broker's whole answer alive.
//!
//! The polling thread copies each message as soon as it has read it, while the message is still in
//! the processor's cache: reading it a second time on another core costs more than the copy.

use crate::native::FetchedMessage;
use buslane_core::{Message, Route, Source};
use bytes::{BufMut, Bytes, BytesMut};
use std::sync::Arc;

/// Bytes of a chunk that small messages are cut from. A message that waits for long keeps its whole
/// chunk alive, so a chunk is a page and not a batch.
const CHUNK: usize = 4_096;

#[derive(Default)]
pub(super) struct MessageCopier {
    chunk: BytesMut,
}

impl MessageCopier {
    pub(super) fn message(&mut self, source: &Arc<Source>, fetched: &FetchedMessage) -> Message {
        let (key, payload) = (fetched.key(), fetched.payload());
        let size = key.map_or(0, <[u8]>::len) + payload.len();
        if self.chunk.capacity() < size {
            self.chunk = BytesMut::with_capacity(CHUNK.max(size));
        }
        let key = key.map(|key| self.copy(key));
        let payload = self.copy(payload);
        let (headers, chunk) = fetched.headers(std::mem::take(&mut self.chunk));
        self.chunk = chunk;
        Message {
            source: Arc::clone(source),
            offset: fetched.offset(),
            timestamp_ms: fetched.timestamp_ms(),
            key,
            headers,
            payload,
            is_null: fetched.is_null(),
            route: Route::None,
            kind: Default::default(),
            attempt: 0,
        }
    }

    fn copy(&mut self, bytes: &[u8]) -> Bytes {
        self.chunk.put_slice(bytes);
        self.chunk.split().freeze()
    }
}
