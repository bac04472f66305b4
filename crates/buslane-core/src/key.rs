//! Keys: the rules of an aggregate id, and the two hashes of a key.
//!
//! Which part of a message holds the key is decided by the bus.

use thiserror::Error;

/// The maximum length of an aggregate id in bytes.
pub const MAX_AGGREGATE_ID_BYTES: usize = 256;

/// Why bytes are not an aggregate id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AggregateIdError {
    /// It is empty or consists of white space.
    #[error("aggregate_id is required")]
    Blank,
    /// It is longer than [`MAX_AGGREGATE_ID_BYTES`].
    #[error("invalid aggregate_id: {length} bytes, at most {MAX_AGGREGATE_ID_BYTES} are allowed")]
    TooLong {
        /// Length of the refused id in bytes.
        length: usize,
    },
    /// It contains a byte outside `A-Z a-z 0-9 : _ - . /`.
    #[error(
        "invalid aggregate_id: byte {byte:#04x} at index {index}, allowed are A-Z a-z 0-9 : _ - . /"
    )]
    Character {
        /// The byte that is not allowed.
        byte: u8,
        /// Its position.
        index: usize,
    },
}

/// Checks an aggregate id: not blank, at most 256 bytes of `A-Z a-z 0-9 : _ - . /`.
///
/// # Errors
/// The first broken rule.
pub fn check_aggregate_id(id: &[u8]) -> Result<(), AggregateIdError> {
    if id.iter().all(u8::is_ascii_whitespace) {
        return Err(AggregateIdError::Blank);
    }
    if id.len() > MAX_AGGREGATE_ID_BYTES {
        return Err(AggregateIdError::TooLong { length: id.len() });
    }
    match id.iter().position(|byte| !ALLOWED[usize::from(*byte)]) {
        None => Ok(()),
        Some(index) => Err(AggregateIdError::Character { byte: id[index], index }),
    }
}

/// The bytes that an aggregate id may contain.
const ALLOWED: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        allowed[byte as usize] =
            byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_' | b'-' | b'.' | b'/');
        byte += 1;
    }
    allowed
};

/// The hash that selects a key's lane and its rollout slot: XXH3, 64 bits, seed 0.
///
/// Stable across processes and releases. Source: the XXH3 specification of the xxHash project.
#[must_use]
pub fn stable_hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

/// The partition of a key, as the Go producers (sarama's hash partitioner, librdkafka's
/// `fnv1a_random`) choose it: FNV-1a of 32 bits, read as signed, absolute, modulo `partitions`.
///
/// # Panics
/// When `partitions` is 0.
#[must_use]
pub fn partition_for(key: &[u8], partitions: u32) -> u32 {
    let mut hash: u32 = 0x811c_9dc5;
    for byte in key {
        hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    }
    hash.cast_signed().unsigned_abs() % partitions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e2_aggregate_id_rules() {
        assert_eq!(check_aggregate_id(b"order-42:eu_1/a.b"), Ok(()));
        assert_eq!(check_aggregate_id("a".repeat(256).as_bytes()), Ok(()));
        assert_eq!(check_aggregate_id(b" \t"), Err(AggregateIdError::Blank));
        assert_eq!(
            check_aggregate_id("a".repeat(257).as_bytes()),
            Err(AggregateIdError::TooLong { length: 257 })
        );
        for (id, index) in [("a b", 1), ("é", 0), ("a\0", 1), ("order#1", 5), ("a*", 1)] {
            let error = check_aggregate_id(id.as_bytes()).unwrap_err();
            assert!(
                matches!(error, AggregateIdError::Character { index: at, .. } if at == index),
                "{id:?}: {error}"
            );
        }
    }

    #[test]
    fn r3_stable_hash_golden() {
        // Golden values from the reference implementation.
        assert_eq!(stable_hash(b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(stable_hash(b"order-42"), 0x79cc_a591_0b9a_ce3c);
    }

    #[test]
    fn e4_partition_golden() {
        // FNV-1a 32 vectors of its authors: "" 811c9dc5, "a" e40c292c, "foobar" bf9cf968.
        let expect = |hash: u32| (i64::from(hash.cast_signed()).unsigned_abs() % 12) as u32;
        assert_eq!(partition_for(b"", 12), expect(0x811c_9dc5));
        assert_eq!(partition_for(b"a", 12), expect(0xe40c_292c));
        assert_eq!(partition_for(b"foobar", 12), expect(0xbf9c_f968));
    }
}
