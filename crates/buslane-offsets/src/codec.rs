//! Commit metadata in the formats of Confluent's Parallel Consumer, so that a group can move
//! between it and this crate in either direction.
//!
//! Metadata is base64 of a format byte and a body. This crate writes four formats and reads every
//! format that was ever written, those of the community's fork included.
//!
//! | format | with zstd | body | written here |
//! |---|---|---|---|
//! | `e` | `p` | run lengths of 4 bytes, open and done in turn, open first | yes |
//! | `n` | `J` | run lengths of 2 bytes | |
//! | `o` | `s` | 4 bytes: number of bits; a bit an offset, lowest first, 1 is done | yes |
//! | `l` | `a` | the same with 2 bytes for the number of bits | |
//! | `d` | `D` | 4 bytes: number of offsets; varints: number of open ones, distance of each from the one before | |
//!
//! Positions count from the committed offset; numbers are big-endian. Text that begins with `%` is
//! Z85 instead of base64.

pub(crate) mod encode;

pub use crate::done_map::MetadataError;

use crate::done_map::{Builder, DoneMap};
use base64::{
    Engine,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use std::cell::RefCell;
use zstd::bulk::Compressor;

/// Reads the metadata that was committed with an offset. Empty metadata is an empty map.
///
/// `max_span` is the number of offsets that the map may span, at most 2^31 - 1. It and the length
/// of the text bound what is allocated (4 bytes an offset for the worst case, an alternating map
/// under zstd), whatever sizes the text claims.
///
/// # Errors
///
/// The text has no known format, is damaged, or spans more than `max_span` offsets. A consumer that
/// gets an error begins at the committed offset with an empty map: messages above it that had
/// finished run again.
pub fn decode(metadata: &str, committed: u64, max_span: u64) -> Result<DoneMap, MetadataError> {
    if metadata.is_empty() {
        return Ok(DoneMap::empty(committed));
    }
    let bytes = read_text(metadata)?;
    let (&format, body) = bytes.split_first().ok_or(MetadataError::Truncated)?;
    let mut builder = Builder::new(committed, max_span);
    let decompressed;
    let body = match format {
        b'a' | b's' | b'J' | b'p' | b'D' => {
            decompressed = decompress(body, max_span)?;
            decompressed.as_slice()
        }
        _ => body,
    };
    match format {
        b'l' | b'a' => read_short_bits(body, &mut builder)?,
        b'o' | b's' => read_bits(body, &mut builder)?,
        b'n' | b'J' => read_short_runs(body, &mut builder)?,
        b'e' | b'p' => read_runs(body, &mut builder)?,
        b'd' | b'D' => read_open_list(body, &mut builder)?,
        1 | 2 => return Err(MetadataError::KafkaStreams { version: format }),
        _ => return Err(MetadataError::UnknownFormat { format }),
    }
    Ok(builder.finish())
}

/// Reads a bit set after a length of 4 bytes.
fn read_bits(body: &[u8], builder: &mut Builder) -> Result<(), MetadataError> {
    let (length, bits) = read_length(body)?;
    read_bit_set(length, bits, builder)
}

/// Reads a bit set after a length of 2 bytes.
fn read_short_bits(body: &[u8], builder: &mut Builder) -> Result<(), MetadataError> {
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
fn write_bits(positions: u32, bits: &[u8]) -> Vec<u8> {
    [&positions.to_be_bytes(), bits].concat()
}

/// Reads run lengths of 4 bytes.
fn read_runs(body: &[u8], builder: &mut Builder) -> Result<(), MetadataError> {
    let (lengths, rest) = body.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(MetadataError::Truncated);
    }
    read_run_lengths(lengths.iter().map(|bytes| i64::from(i32::from_be_bytes(*bytes))), builder)
}

/// Reads run lengths of 2 bytes.
fn read_short_runs(body: &[u8], builder: &mut Builder) -> Result<(), MetadataError> {
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
fn write_runs(bounds: &[u32]) -> Vec<u8> {
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
fn read_open_list(body: &[u8], builder: &mut Builder) -> Result<(), MetadataError> {
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

/// Metadata is compressed at every commit, and a higher level gains little on a few kilobytes.
const LEVEL: i32 = 1;
/// Capacity of the first attempt to decompress, enough for the body of an ordinary map.
const FIRST_CAPACITY: u64 = 64 << 10;

thread_local! {
    /// Kept because creating a context costs as much as compressing with it.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
}

/// `None` when zstd cannot allocate memory: the caller writes the body uncompressed.
fn compress(body: &[u8]) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let mut compressor = kept.take().or_else(|| Compressor::new(LEVEL).ok())?;
        let compressed = compressor.compress(body).ok()?;
        *kept = Some(compressor);
        Some(compressed)
    })
}

/// Grows the capacity up to what a map of `max_span` offsets can need, because the frame's own
/// statement of its size cannot be trusted.
fn decompress(frame: &[u8], max_span: u64) -> Result<Vec<u8>, MetadataError> {
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

/// Writes padding and reads text with or without it, as the Java classes do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const Z85_MARK: char = '%';
const Z85: &[u8; 85] =
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
/// The digit that completes a short group: the largest one, so that the omitted digits round down
/// to the bytes that were written.
const Z85_FILL: u64 = 84;

fn write_text(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

fn read_text(text: &str) -> Result<Vec<u8>, MetadataError> {
    match text.strip_prefix(Z85_MARK) {
        Some(text) => read_z85(text.as_bytes()).ok_or(MetadataError::Text),
        None => BASE64.decode(text).map_err(|_| MetadataError::Text),
    }
}

/// Five characters encode four bytes; a last group of n + 1 characters encodes n bytes.
fn read_z85(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 5 * 4 + 3);
    for group in text.chunks(5) {
        let mut value = 0;
        for at in 0..5 {
            let digit = match group.get(at) {
                Some(character) => Z85.iter().position(|other| other == character)? as u64,
                None => Z85_FILL,
            };
            value = value * 85 + digit;
        }
        let group_bytes = u32::try_from(value).ok()?.to_be_bytes();
        let used = group.len().checked_sub(1).filter(|used| *used > 0)?;
        // Text that no bytes encode to is damaged.
        let mut written = [0; 4];
        written[..used].copy_from_slice(&group_bytes[..used]);
        if z85_group(u32::from_be_bytes(written))[..group.len()] != *group {
            return None;
        }
        bytes.extend_from_slice(&group_bytes[..used]);
    }
    Some(bytes)
}

fn z85_group(mut value: u32) -> [u8; 5] {
    let mut group = [0; 5];
    for character in group.iter_mut().rev() {
        *character = Z85[(value % 85) as usize];
        value /= 85;
    }
    group
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of ZeroMQ RFC 32, and its prefixes.
    #[test]
    fn z85_of_every_length() {
        let bytes = [0x86, 0x4f, 0xd2, 0x6f, 0xb5, 0x59, 0xf7, 0x5b];
        let texts =
            ["", "H5", "Hed", "Helj", "Hello", "HelloWe", "HelloWoi", "HelloWork", "HelloWorld"];
        for (length, text) in texts.iter().enumerate() {
            assert_eq!(read_text(&format!("%{text}")).unwrap(), bytes[..length], "{text}");
        }
        for damaged in ["0", "#####", "%nSc1", "01", "0z", "Hel,o", "é"] {
            assert_eq!(read_text(&format!("%{damaged}")), Err(MetadataError::Text), "{damaged}");
        }
    }
}
