//! The server's version. A server ignores settings that it does not know, so the adapter refuses
//! them.

use std::fmt;

/// Major, minor, patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32, pub(crate) u32);

/// The first release with several filters of one consumer, which partitions and the watch of leases
/// need.
pub(crate) const PARTITIONS: Version = Version(2, 10, 0);

impl Version {
    /// Reads a version such as `2.15.2` or `2.11.0-RC.1`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut numbers = text.trim_start_matches('v').split(['.', '-', '+']).map(str::parse);
        match (numbers.next()?, numbers.next()?, numbers.next()?) {
            (Ok(major), Ok(minor), Ok(patch)) => Some(Self(major, minor, patch)),
            _ => None,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n2_versions_are_read_and_compared() {
        for (text, version) in [
            ("2.9.10", Version(2, 9, 10)),
            ("v2.15.2", Version(2, 15, 2)),
            ("2.11.0-RC.1", Version(2, 11, 0)),
        ] {
            assert_eq!(Version::read(text), Some(version), "{text}");
        }
        assert_eq!(Version::read("dev"), None);
        assert!(Version(2, 9, 10) < PARTITIONS && Version(2, 15, 2) > PARTITIONS);
    }
}
