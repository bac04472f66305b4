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
    /// Starts another at once although its place has earned a rest, because too many rest already.
    RestartAnyway,
}

/// The restarts of one seat within the window.
#[derive(Debug, Default)]
pub(crate) struct Restarts(VecDeque<Instant>);

impl Restarts {
    /// Notes a failure, and says what is to be done about it. After a cool-down the window is
    /// empty; a seat that may not rest keeps its newest `max` restarts, so that it rests as soon as
    /// it may and fails again.
    pub(crate) fn failed(
        &mut self,
        now: Instant,
        window: Duration,
        max: usize,
        may_rest: bool,
    ) -> Remedy {
        while self
            .0
            .front()
            .is_some_and(|restart| now.saturating_duration_since(*restart) >= window)
        {
            self.0.pop_front();
        }
        if self.0.len() < max {
            self.0.push_back(now);
            return Remedy::Restart;
        }
        if may_rest {
            self.0.clear();
            return Remedy::CoolDown;
        }
        self.0.push_back(now);
        self.0.pop_front();
        Remedy::RestartAnyway
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p8_restarts_are_counted_within_a_sliding_window() {
        let start = Instant::now();
        let failures = [
            (0, Remedy::Restart),
            (20, Remedy::Restart),
            (40, Remedy::Restart),
            (59, Remedy::CoolDown),
        ];
        let after_cool_down = [(90, Remedy::Restart), (91, Remedy::Restart), (92, Remedy::Restart)];
        let sliding = [(150, Remedy::Restart), (150, Remedy::CoolDown)];
        let mut restarts = Restarts::default();
        for (second, remedy) in failures.into_iter().chain(after_cool_down).chain(sliding) {
            let now = start + Duration::from_secs(second);
            assert_eq!(
                restarts.failed(now, Duration::from_secs(60), 3, true),
                remedy,
                "at second {second}"
            );
        }
    }

    #[test]
    fn p8_no_restart_at_all() {
        for (may_rest, remedy) in [(true, Remedy::CoolDown), (false, Remedy::RestartAnyway)] {
            assert_eq!(
                Restarts::default().failed(Instant::now(), Duration::from_secs(60), 0, may_rest),
                remedy
            );
        }
    }

    #[test]
    fn p8_a_seat_that_may_not_rest_is_restarted_until_it_may() {
        let start = Instant::now();
        let mut restarts = Restarts::default();
        for (second, may_rest, remedy) in [
            (0, false, Remedy::Restart),
            (1, false, Remedy::Restart),
            (2, false, Remedy::Restart),
            (3, false, Remedy::RestartAnyway),
            (50, false, Remedy::RestartAnyway),
            (61, true, Remedy::CoolDown),
            (62, true, Remedy::Restart),
        ] {
            let now = start + Duration::from_secs(second);
            assert_eq!(
                restarts.failed(now, Duration::from_secs(60), 3, may_rest),
                remedy,
                "at second {second}"
            );
        }
    }
}
