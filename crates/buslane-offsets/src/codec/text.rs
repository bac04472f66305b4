//! Bytes as text: base64 for reading and writing, Z85 for reading.

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::error::MetadataError;

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

pub(super) fn write(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

pub(super) fn read(text: &str) -> Result<Vec<u8>, MetadataError> {
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
            assert_eq!(read(&format!("%{text}")).unwrap(), bytes[..length], "{text}");
        }
        for damaged in ["0", "#####", "%nSc1", "01", "0z", "Hel,o", "é"] {
            assert_eq!(read(&format!("%{damaged}")), Err(MetadataError::Text), "{damaged}");
        }
    }
}
