//! A bit an offset, the lowest bit of a byte first, 1 is done; before them their number.

use super::MetadataError;
use crate::done::Builder;

/// The number has 4 bytes.
pub(super) fn read(body: &[u8], builder: &mut Builder) -> Result<(), MetadataError> {
    let (length, bits) = body.split_first_chunk::<4>().ok_or(MetadataError::Truncated)?;
    let length =
        u64::try_from(i32::from_be_bytes(*length)).map_err(|_| MetadataError::Malformed)?;
    read_bits(length, bits, builder)
}

/// The number has 2 bytes.
pub(super) fn read_short(body: &[u8], builder: &mut Builder) -> Result<(), MetadataError> {
    let (length, bits) = body.split_first_chunk::<2>().ok_or(MetadataError::Truncated)?;
    read_bits(u64::from(u16::from_be_bytes(*length)), bits, builder)
}

/// The Java classes write a byte more than the bits need; nobody has to.
fn read_bits(length: u64, bits: &[u8], builder: &mut Builder) -> Result<(), MetadataError> {
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

/// The number has 4 bytes.
pub(super) fn write(positions: u32, bits: &[u8]) -> Vec<u8> {
    [&positions.to_be_bytes(), bits].concat()
}
