//! How often one seat was restarted lately. Pure: time is an argument.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// What a supervisor does about a failed actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Starts another in its place at once.
    Restart,
    /// Lets its place rest.
    CoolDown,
}

/// The restarts of one seat within the window.
#[derive(Debug, Default)]
pub(crate) struct Restarts(VecDeque<Instant>);

impl Restarts {
    /// Notes a failure, and says what is to be done about it. After a cool-down the window is empty.
    pub(crate) fn failed(&mut self, now: Instant, window: Duration, max: usize) -> Remedy {
        while self.0.front().is_some_and(|restart| now.saturating_duration_since(*restart) >= window) {
            self.0.pop_front();
        }
        if self.0.len() >= max {
            self.0.clear();
            return Remedy::CoolDown;
        }
        self.0.push_back(now);
        Remedy::Restart
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p8_restarts_are_counted_within_a_sliding_window() {
        let start = Instant::now();
        let failures = [(0, Remedy::Restart), (20, Remedy::Restart), (40, Remedy::Restart), (59, Remedy::CoolDown)];
        let after_cool_down = [(90, Remedy::Restart), (91, Remedy::Restart), (92, Remedy::Restart)];
        let sliding = [(150, Remedy::Restart), (150, Remedy::CoolDown)];
        let mut restarts = Restarts::default();
        for (second, remedy) in failures.into_iter().chain(after_cool_down).chain(sliding) {
            let now = start + Duration::from_secs(second);
            assert_eq!(restarts.failed(now, Duration::from_secs(60), 3), remedy, "at second {second}");
        }
    }

    #[test]
    fn p8_no_restart_at_all() {
        assert_eq!(Restarts::default().failed(Instant::now(), Duration::from_secs(60), 0), Remedy::CoolDown);
    }
}
