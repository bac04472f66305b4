//! Copies payloads out of the client's buffer. A payload that is a slice of that buffer would keep
//! all of it in memory for as long as its message waits.

use bytes::{Bytes, BytesMut};

/// Bytes of a page, which small payloads share.
const PAGE: usize = 4_096;
/// A copy of a larger payload costs more than it saves: the client's buffer has 64 KiB.
const LARGE: usize = 16_384;

#[derive(Default)]
pub(super) struct PayloadArena(BytesMut);

impl PayloadArena {
    pub(super) fn copy(&mut self, payload: Bytes) -> Bytes {
        if payload.is_empty() || payload.len() > LARGE {
            return payload;
        }
        if self.0.capacity() < payload.len() {
            self.0 = BytesMut::with_capacity(PAGE.max(payload.len()));
        }
        self.0.extend_from_slice(&payload);
        self.0.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::{LARGE, PayloadArena};
    use bytes::Bytes;

    #[test]
    fn only_large_payloads_keep_the_buffer() {
        let mut arena = PayloadArena::default();
        for size in [1, 100, 4_000, 200, 5_000, LARGE, 7] {
            let buffer = Bytes::from(vec![7; 65_535]);
            let copy = arena.copy(buffer.slice(..size));
            assert!(buffer.is_unique() && copy == buffer.slice(..size), "{size}");
        }
        let buffer = Bytes::from(vec![7; 65_535]);
        let large = arena.copy(buffer.slice(..=LARGE));
        assert!(!buffer.is_unique() && large.len() == LARGE + 1);
    }
}
