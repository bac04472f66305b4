//! The bodies of the formats: bit sets, run lengths, and the fork's lists of open offsets.
//!
//! A bit set has a bit for each offset, the lowest bit of a byte first, and 1 is done. Run lengths
//! count open and done offsets in turn, open first, up to the end of the body.

use crate::{done_map::Builder, error::MetadataError};

/// Reads a bit set after a length of 4 bytes.
pub(super) fn read_bits(body: &[u8], builder: &mut Builder) -> Result<(), MetadataError> {
    let (length, bits) = read_length(body)?;
    read_bit_set(length, bits, builder)
}

/// Reads a bit set after a length of 2 bytes.
pub(super) fn read_short_bits(body: &[u8], builder: &mut Builder) -> Result<(), MetadataError> {
    let (length, bits) = body.split_first_chunk::<2>().ok_or(MetadataError::Truncated)?;
    read_bit_set(u64::from(u16::from_be_bytes(*length)), bits, builder)
}

fn read_length(body: &[u8]) -> Result<(u64, &[u8]), MetadataError> {
    let (length, rest) = body.split_first_chunk::<4>().ok_or(MetadataError::Truncated)?;
    let length = i32::from_be_bytes(*length);
    Ok((u64::try_from(length).map_err(|_| MetadataError::Malformed)?, rest))
}

/// The Java classes write one byte more than the bits need; reading does not require it.
fn read_bit_set(length: u64, bits: &[u8], builder: &mut Builder) -> Result<(), MetadataError> {
    if (bits.len() as u64) < length.div_ceil(8) {
        return Err(MetadataError::Truncated);
    }
    for byte in bits.iter().take(usize::try_from(length.div_ceil(8)).unwrap_or(usize::MAX)) {
        let mut rest = (length - builder.at()).min(8);
        let mut byte = *byte;
        while rest > 0 {
            let is_done = byte & 1 == 1;
            let same =
                u64::from(if is_done { byte.trailing_ones() } else { byte.trailing_zeros() })
                    .min(rest);
            builder.run(same, is_done)?;
            rest -= same;
            byte = byte.checked_shr(u32::try_from(same).unwrap_or(8)).unwrap_or(0);
        }
    }
    Ok(())
}

/// Writes a bit set after a length of 4 bytes.
pub(super) fn write_bits(positions: u32, bits: &[u8]) -> Vec<u8> {
    [&positions.to_be_bytes(), bits].concat()
}

/// Reads run lengths of 4 bytes.
pub(super) fn read_runs(body: &[u8], builder: &mut Builder) -> Result<(), MetadataError> {
    let (lengths, rest) = body.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(MetadataError::Truncated);
    }
    read_run_lengths(lengths.iter().map(|bytes| i64::from(i32::from_be_bytes(*bytes))), builder)
}

/// Reads run lengths of 2 bytes.
pub(super) fn read_short_runs(body: &[u8], builder: &mut Builder) -> Result<(), MetadataError> {
    let (lengths, rest) = body.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(MetadataError::Truncated);
    }
    read_run_lengths(lengths.iter().map(|bytes| i64::from(i16::from_be_bytes(*bytes))), builder)
}

fn read_run_lengths(
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

/// Writes run lengths of 4 bytes. `bounds` holds the start and the end of each done run.
pub(super) fn write_runs(bounds: &[u32]) -> Vec<u8> {
    let mut body = vec![0; bounds.len() * 4];
    let mut before = 0;
    for (bytes, bound) in body.as_chunks_mut::<4>().0.iter_mut().zip(bounds) {
        *bytes = (bound - before).to_be_bytes();
        before = *bound;
    }
    body
}

/// Reads a list of open offsets: 4 bytes for the number of offsets, then varints for the number of
/// open ones, the position of the first, and the distance of each further one from the one before.
/// No version of this crate writes it.
pub(super) fn read_open_list(body: &[u8], builder: &mut Builder) -> Result<(), MetadataError> {
    let (length, mut list) = read_length(body)?;
    let count = read_varint(&mut list)?;
    for number in 0..count {
        let distance = read_varint(&mut list)?;
        // `at` stands behind the last open offset, so every distance but the first is one too long.
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

/// Reads seven bits of each byte, the lowest first; a set top bit announces another byte.
fn read_varint(bytes: &mut &[u8]) -> Result<u64, MetadataError> {
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
