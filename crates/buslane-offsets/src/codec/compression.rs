//! Compresses and decompresses the bodies of the zstd formats, one frame each.

use std::cell::RefCell;

use zstd::bulk::Compressor;

use crate::error::MetadataError;

/// Metadata is compressed at every commit, and a higher level gains little on a few kilobytes.
const LEVEL: i32 = 1;
/// Capacity of the first attempt to decompress, enough for the body of an ordinary map.
const FIRST_CAPACITY: u64 = 64 << 10;

thread_local! {
    /// Kept because creating a context costs as much as compressing with it.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
}

/// `None` when zstd cannot allocate memory: the caller writes the body uncompressed.
pub(super) fn compress(body: &[u8]) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let mut compressor = kept.take().or_else(|| Compressor::new(LEVEL).ok())?;
        let compressed = compressor.compress(body).ok()?;
        *kept = Some(compressor);
        Some(compressed)
    })
}

/// Grows the capacity up to what a map of `max_span` offsets can need, because the frame's own
/// statement of its size cannot be trusted.
pub(super) fn decompress(frame: &[u8], max_span: u64) -> Result<Vec<u8>, MetadataError> {
    let limit = max_span.min(i32::MAX as u64) * 4 + 64;
    let mut room = FIRST_CAPACITY.min(limit);
    loop {
        let capacity = usize::try_from(room).map_err(|_| MetadataError::Compressed)?;
        match zstd::bulk::decompress(frame, capacity) {
            Ok(body) => return Ok(body),
            Err(_) if room < limit => room = (room * 8).min(limit),
            Err(_) => return Err(MetadataError::Compressed),
        }
    }
}
