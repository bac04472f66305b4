//! Copies payloads out of the client's buffer: a message that waits long would keep all of it
//! alive, with hundreds of others.

use bytes::{Bytes, BytesMut};

/// Bytes of a page that small payloads are cut from.
const PAGE: usize = 4_096;
/// Beyond this a copy costs more than it saves: the client's buffer has 64 KiB.
const LARGE: usize = 16_384;

#[derive(Default)]
pub(super) struct Pages(BytesMut);

impl Pages {
    pub(super) fn payload(&mut self, payload: Bytes) -> Bytes {
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
    use super::{LARGE, Pages};
    use bytes::Bytes;

    #[test]
    fn only_large_payloads_keep_the_buffer() {
        let mut pages = Pages::default();
        for size in [1, 100, 4_000, 200, 5_000, LARGE, 7] {
            let buffer = Bytes::from(vec![7; 65_535]);
            let copy = pages.payload(buffer.slice(..size));
            assert!(buffer.is_unique() && copy == buffer.slice(..size), "{size}");
        }
        let buffer = Bytes::from(vec![7; 65_535]);
        let large = pages.payload(buffer.slice(..=LARGE));
        assert!(!buffer.is_unique() && large.len() == LARGE + 1);
    }
}
