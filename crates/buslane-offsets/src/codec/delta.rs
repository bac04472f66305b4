//! The fork's list of open offsets: 4 bytes for the number of offsets, then varints: how many are
//! open, the position of the first, and the distance of each further one from the one before. It is
//! read, never written.

use super::MetadataError;
use crate::done::Builder;

pub(super) fn read(body: &[u8], builder: &mut Builder) -> Result<(), MetadataError> {
    let (length, mut list) = body.split_first_chunk::<4>().ok_or(MetadataError::Truncated)?;
    let length =
        u64::try_from(i32::from_be_bytes(*length)).map_err(|_| MetadataError::Malformed)?;
    let count = varint(&mut list)?;
    for number in 0..count {
        let distance = varint(&mut list)?;
        // After the first one, the offset before this is open itself and `at` stands behind it.
        let done = if number == 0 { Some(distance) } else { distance.checked_sub(1) };
        let done = done.ok_or(MetadataError::Malformed)?;
        if done >= length - builder.at() {
            return Err(MetadataError::Malformed);
        }
        builder.run(done, true)?;
        builder.run(1, false)?;
    }
    builder.run(length - builder.at(), true)
}

/// Seven bits a byte, the lowest first; a set top bit says that another byte follows.
fn varint(bytes: &mut &[u8]) -> Result<u64, MetadataError> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(MetadataError::Truncated)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(MetadataError::Malformed)
}
