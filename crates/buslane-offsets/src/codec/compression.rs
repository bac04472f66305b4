//! The zstd twins of the formats. A body is packed as one frame; nothing here knows what is in it.

use std::cell::RefCell;

use zstd::bulk::Compressor;

use super::MetadataError;

/// Metadata is made at every commit, and a higher level finds little more in a few kilobytes.
const LEVEL: i32 = 1;
/// Room for a body of an ordinary map at the first try.
const FIRST_TRY: u64 = 64 << 10;

thread_local! {
    /// To make a context costs as much as to pack with it, and a thread packs one body after the
    /// other.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
}

/// None when zstd has no memory: the caller does without.
pub(super) fn pack(body: &[u8]) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let mut compressor = kept.take().or_else(|| Compressor::new(LEVEL).ok())?;
        let packed = compressor.compress(body).ok()?;
        *kept = Some(compressor);
        Some(packed)
    })
}

/// The frame does not say how large its body is, and would not be believed: the room grows up to
/// what a map of `max_span` offsets can need.
pub(super) fn unpack(frame: &[u8], max_span: u64) -> Result<Vec<u8>, MetadataError> {
    let limit = max_span.min(i32::MAX as u64) * 4 + 64;
    let mut room = FIRST_TRY.min(limit);
    loop {
        let capacity = usize::try_from(room).map_err(|_| MetadataError::Compressed)?;
        match zstd::bulk::decompress(frame, capacity) {
            Ok(body) => return Ok(body),
            Err(_) if room < limit => room = (room * 8).min(limit),
            Err(_) => return Err(MetadataError::Compressed),
        }
    }
}
