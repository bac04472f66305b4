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

mod body;
mod compression;
pub(crate) mod encode;
mod longest_runs;
mod text;

pub use crate::error::MetadataError;

use crate::done_map::{Builder, DoneMap};

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
    let bytes = text::read(metadata)?;
    let (&format, body) = bytes.split_first().ok_or(MetadataError::Truncated)?;
    let mut builder = Builder::new(committed, max_span);
    let decompressed;
    let body = match format {
        b'a' | b's' | b'J' | b'p' | b'D' => {
            decompressed = compression::decompress(body, max_span)?;
            decompressed.as_slice()
        }
        _ => body,
    };
    match format {
        b'l' | b'a' => body::read_short_bits(body, &mut builder)?,
        b'o' | b's' => body::read_bits(body, &mut builder)?,
        b'n' | b'J' => body::read_short_runs(body, &mut builder)?,
        b'e' | b'p' => body::read_runs(body, &mut builder)?,
        b'd' | b'D' => body::read_open_list(body, &mut builder)?,
        1 | 2 => return Err(MetadataError::KafkaStreams { version: format }),
        _ => return Err(MetadataError::UnknownFormat { format }),
    }
    Ok(builder.finish())
}
