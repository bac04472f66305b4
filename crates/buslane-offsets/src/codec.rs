//! Commit metadata in the formats of Confluent's Parallel Consumer, so that a group can move either
//! way.
//!
//! Metadata is base64 of one format byte and a body. This crate writes four formats and reads all
//! that were ever written, those of the community's fork too. It commits nothing and knows no
//! broker.
//!
//! | format | with zstd | body | written here |
//! |---|---|---|---|
//! | `e` | `p` | run lengths of 4 bytes, open and done in turn, open first | yes |
//! | `n` | `J` | the same of 2 bytes | |
//! | `o` | `s` | 4 bytes: number of bits; a bit an offset, lowest first, 1 is done | yes |
//! | `l` | `a` | the same with 2 bytes of length | |
//! | `d` | `D` | 4 bytes: number of offsets; varints: number of open ones, distance of each from the one before | |
//!
//! Positions count from the committed offset; numbers are big-endian. Text that begins with `%` is
//! Z85 instead of base64.

mod bits;
mod delta;
pub(crate) mod encode;
mod error;
mod longest;
mod packed;
mod runs;
mod text;

pub use error::MetadataError;

use crate::done::{Builder, DoneMap};

/// Reads the metadata that was committed with an offset. Empty metadata is an empty map.
///
/// `max_span` is the number of offsets that the map may reach over; 2^31 - 1 at most. What is
/// allocated is bounded by the length of the text and `max_span` (4 bytes an offset in the worst
/// case, a map that alternates under zstd), whatever the text claims.
///
/// # Errors
///
/// The text is not metadata of a known format, is damaged, or reaches over more than `max_span`. A
/// consumer that gets an error begins at the committed offset without a map: messages that had
/// finished above it run again.
pub fn decode(metadata: &str, committed: u64, max_span: u64) -> Result<DoneMap, MetadataError> {
    if metadata.is_empty() {
        return Ok(DoneMap::empty(committed));
    }
    let bytes = text::read(metadata)?;
    let (&format, body) = bytes.split_first().ok_or(MetadataError::Truncated)?;
    let mut builder = Builder::new(committed, max_span);
    let packed;
    let body = match format {
        b'a' | b's' | b'J' | b'p' | b'D' => {
            packed = packed::unpack(body, max_span)?;
            packed.as_slice()
        }
        _ => body,
    };
    match format {
        b'l' | b'a' => bits::read_short(body, &mut builder)?,
        b'o' | b's' => bits::read(body, &mut builder)?,
        b'n' | b'J' => runs::read_short(body, &mut builder)?,
        b'e' | b'p' => runs::read(body, &mut builder)?,
        b'd' | b'D' => delta::read(body, &mut builder)?,
        1 | 2 => return Err(MetadataError::KafkaStreams { version: format }),
        _ => return Err(MetadataError::UnknownFormat { format }),
    }
    Ok(builder.finish())
}
