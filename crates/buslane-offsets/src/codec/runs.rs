//! Run lengths: open and done in turn, open first. The list ends with the body; no length is said.

use super::MetadataError;
use crate::done::Builder;

/// Lengths of 4 bytes.
pub(super) fn read(body: &[u8], builder: &mut Builder) -> Result<(), MetadataError> {
    let (lengths, rest) = body.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(MetadataError::Truncated);
    }
    read_lengths(lengths.iter().map(|bytes| i64::from(i32::from_be_bytes(*bytes))), builder)
}

/// Lengths of 2 bytes.
pub(super) fn read_short(body: &[u8], builder: &mut Builder) -> Result<(), MetadataError> {
    let (lengths, rest) = body.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(MetadataError::Truncated);
    }
    read_lengths(lengths.iter().map(|bytes| i64::from(i16::from_be_bytes(*bytes))), builder)
}

fn read_lengths(
    lengths: impl Iterator<Item = i64>,
    builder: &mut Builder,
) -> Result<(), MetadataError> {
    let mut is_done = false;
    for length in lengths {
        builder.run(u64::try_from(length).map_err(|_| MetadataError::Malformed)?, is_done)?;
        is_done = !is_done;
    }
    Ok(())
}

/// Lengths of 4 bytes. `bounds`: where done begins and ends, in turn.
pub(super) fn write(bounds: &[u32]) -> Vec<u8> {
    let mut body = vec![0; bounds.len() * 4];
    let mut before = 0;
    for (bytes, bound) in body.as_chunks_mut::<4>().0.iter_mut().zip(bounds) {
        *bytes = (bound - before).to_be_bytes();
        before = *bound;
    }
    body
}
