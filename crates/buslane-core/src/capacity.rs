//! How much capacity a reused buffer keeps.

/// The capacity that is always kept.
const LEAST: usize = 16;

/// The capacity to which a buffer should shrink after it held `used` items: half of its present
/// `capacity` if it used less than an eighth, and otherwise all of it. At least 16.
///
/// Without shrinking, the memory of a burst would stay with every partition that ever had one. It
/// is freed by halves, so that a buffer which is needed now and then is not allocated each time.
#[must_use]
pub const fn shrunk_capacity(capacity: usize, used: usize) -> usize {
    if capacity <= LEAST || used >= capacity / 8 {
        return capacity;
    }
    let half = capacity / 2;
    if half > LEAST { half } else { LEAST }
}

#[cfg(test)]
mod tests {
    use super::shrunk_capacity;

    #[test]
    fn room_follows_what_comes() {
        assert_eq!(shrunk_capacity(256, 32), 256);
        assert_eq!(shrunk_capacity(256, 31), 128);
        assert_eq!(shrunk_capacity(20, 0), 16);
        assert_eq!(shrunk_capacity(16, 0), 16);
        assert_eq!(shrunk_capacity(0, 0), 0);
    }
}
