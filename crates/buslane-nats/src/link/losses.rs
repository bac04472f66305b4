//! How far sources look for messages that may have ended the connection. Pure: the time is an
//! argument.
//!
//! The client library does not say why a connection has ended. One that ends by itself comes back
//! and stays; one that ends by a message ends again when the message is delivered again.

use std::time::{Duration, Instant};

/// A loss that follows another within this time is likely to have the same cause: a message comes
/// again after `ack_wait`.
const AGAIN: Duration = Duration::from_secs(120);
/// Places of a stream that are looked at after a single loss.
const SHALLOW: usize = 1_024;
/// The same where a message is likely to be the cause.
const DEEP: usize = 65_536;

#[derive(Debug, Default)]
pub(super) struct Losses {
    last: Option<Instant>,
    depth: usize,
}

impl Losses {
    /// The connection was lost, with the client's own task or without.
    pub(super) fn add(&mut self, has_task_ended: bool, now: Instant) {
        let is_again = self
            .last
            .replace(now)
            .is_some_and(|before| now.saturating_duration_since(before) < AGAIN);
        self.depth = if has_task_ended || is_again { DEEP } else { SHALLOW };
    }

    /// Places that are worth a look; 0 before the first loss.
    pub(super) const fn depth(&self) -> usize {
        self.depth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n6_a_loss_that_comes_again_is_looked_into() {
        let (mut losses, begin) = (Losses::default(), Instant::now());
        let mut after = |seconds: u64, has_task_ended| {
            losses.add(has_task_ended, begin + Duration::from_secs(seconds));
            losses.depth()
        };
        assert_eq!(
            [after(0, false), after(30, false), after(300, false)],
            [SHALLOW, DEEP, SHALLOW]
        );
        assert_eq!([after(600, true), after(900, false)], [DEEP, SHALLOW]);
        assert_eq!(Losses::default().depth(), 0);
    }
}
