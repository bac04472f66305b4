//! The zstd twins of the formats. A body is packed as one frame; nothing here knows what is in it.

use zstd::bulk::Compressor;

use super::MetadataError;

/// Metadata is made at every commit, and a higher level finds little more in a few kilobytes.
const LEVEL: i32 = 1;
/// Room for a body of an ordinary map at the first try.
const FIRST_TRY: u64 = 64 << 10;

/// Packs several bodies. Its memory costs more than packing one.
pub(super) struct Packer(Compressor<'static>);

impl Packer {
    /// None when zstd has no memory: the caller does without.
    pub(super) fn new() -> Option<Self> {
        Compressor::new(LEVEL).ok().map(Self)
    }

    /// None as with [`Packer::new`].
    pub(super) fn pack(&mut self, body: &[u8]) -> Option<Vec<u8>> {
        self.0.compress(body).ok()
    }
}

/// The frame does not say how large its body is, and would not be believed: the room grows up to what a map of
/// `max_span` offsets can need.
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
