//! How much room a buffer keeps.

/// Items that there is always room for.
const LEAST: usize = 16;

/// The capacity for a buffer that was just used for `used` items: half of it when that was less
/// than an eighth.
///
/// A burst would otherwise stay in the memory of every partition that has ever had one. Half at a
/// time, so that room that is needed now and then is not made anew each time.
#[must_use]
pub const fn room_after(capacity: usize, used: usize) -> usize {
    if capacity <= LEAST || used >= capacity / 8 {
        return capacity;
    }
    let half = capacity / 2;
    if half > LEAST { half } else { LEAST }
}

#[cfg(test)]
mod tests {
    use super::room_after;

    #[test]
    fn room_follows_what_comes() {
        assert_eq!(room_after(256, 32), 256);
        assert_eq!(room_after(256, 31), 128);
        assert_eq!(room_after(20, 0), 16);
        assert_eq!(room_after(16, 0), 16);
        assert_eq!(room_after(0, 0), 0);
    }
}
