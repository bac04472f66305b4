//! When the broker is asked for the lag. Pure: the time is an argument.
//!
//! Backlog checks, new sources and health need the lag. One request is in flight at a time, and its
//! answer serves all of them.

use std::time::{Duration, Instant};

/// The shortest time between two requests for new sources that the broker does not know yet.
const RETRY: Duration = Duration::from_millis(20);

/// The pause after a request for new sources, as a multiple of the time that it and the
/// work on its answer took: when thousands of sources begin, requests take a small share.
const PAUSE_FACTOR: u32 = 4;

/// The lag requests of one bus.
pub(super) struct LagSchedule {
    check_interval: Duration,
    health_interval: Duration,
    next_check: Instant,
    next_for_health: Instant,
    /// The earliest next request for new sources.
    next_for_sources: Instant,
    /// Whether a check waits for an answer.
    is_checking: bool,
    in_flight: Option<Request>,
}

#[derive(Clone, Copy)]
struct Request {
    asked: Instant,
    /// Whether sources waited when it was sent, so that it can know them.
    is_for_sources: bool,
}

impl LagSchedule {
    pub(super) fn new(check_interval: Duration, health_interval: Duration, now: Instant) -> Self {
        Self {
            check_interval,
            health_interval,
            next_check: now + check_interval,
            next_for_health: now,
            next_for_sources: now,
            is_checking: false,
            in_flight: None,
        }
    }

    /// When one of the methods below has something to do.
    pub(super) fn next_deadline(&self, sources_wait: bool) -> Instant {
        let for_health = self.in_flight.is_none().then_some(self.next_for_health);
        let for_sources =
            (sources_wait && !self.is_asked_for_sources()).then_some(self.next_for_sources);
        for_health.into_iter().chain(for_sources).fold(self.next_check, Instant::min)
    }

    /// Begins a backlog check, if one is due. The next answer belongs to it.
    pub(super) fn begin_check(&mut self, now: Instant) -> bool {
        let is_due = now >= self.next_check;
        if is_due {
            (self.is_checking, self.next_check) = (true, now + self.check_interval);
        }
        is_due
    }

    /// Whether to send a request now, in place of the one in flight. New sources do not wait for a
    /// request that was sent before they came: the broker may never answer it.
    pub(super) fn request(&mut self, sources_wait: bool, now: Instant) -> bool {
        let for_sources =
            sources_wait && !self.is_asked_for_sources() && now >= self.next_for_sources;
        let others = self.is_checking || now >= self.next_for_health;
        let is_due = for_sources || (others && self.in_flight.is_none());
        if is_due {
            self.in_flight = Some(Request { asked: now, is_for_sources: sources_wait });
        }
        is_due
    }

    /// Takes the end of the request in flight. Returns when it was sent, and whether it belongs to
    /// a check. [`LagSchedule::processed`] follows.
    pub(super) fn answered(&mut self, now: Instant) -> (Instant, bool) {
        let asked = self.in_flight.map_or(now, |request| request.asked);
        self.next_for_health = asked + self.health_interval;
        (asked, std::mem::take(&mut self.is_checking))
    }

    /// Takes the end of the work on an answer, which counts as a part of its request. Where sources
    /// still wait, asks again, but not at once.
    pub(super) fn processed(&mut self, sources_wait: bool, now: Instant) {
        if let Some(Request { asked, is_for_sources: true }) = self.in_flight.take() {
            self.next_for_sources = now + PAUSE_FACTOR * now.saturating_duration_since(asked);
        }
        if sources_wait {
            self.next_for_sources = self.next_for_sources.max(now + RETRY);
        }
    }

    fn is_asked_for_sources(&self) -> bool {
        self.in_flight.is_some_and(|request| request.is_for_sources)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A schedule with a check every 30 s and a request for health every 3 s, and its first time.
    fn schedule() -> (LagSchedule, Instant) {
        let start = Instant::now();
        (LagSchedule::new(30 * SECOND, 3 * SECOND, start), start)
    }

    #[test]
    fn l1_one_request_serves_the_check_and_health() {
        let (mut schedule, start) = schedule();
        let (mut requests, mut checks) = (Vec::new(), Vec::new());
        let mut now = start;
        while now <= start + 61 * SECOND {
            schedule.begin_check(now);
            if schedule.request(false, now) {
                requests.push((now - start).as_secs());
                assert!(!schedule.request(false, now), "one at a time");
                if let (_, true) = schedule.answered(now) {
                    checks.push((now - start).as_secs());
                }
                schedule.processed(false, now);
            }
            now = schedule.next_deadline(false);
        }
        assert_eq!(checks, [30, 60]);
        assert_eq!(requests, (0..=60).step_by(3).collect::<Vec<_>>());
    }

    #[test]
    fn l1_a_check_that_falls_due_while_a_request_is_in_flight_takes_its_answer() {
        let (mut schedule, start) = schedule();
        assert!(schedule.request(false, start));
        let late = start + 31 * SECOND;
        assert_eq!(schedule.next_deadline(false), start + 30 * SECOND);
        assert!(schedule.begin_check(late) && !schedule.request(false, late));
        assert_eq!(schedule.answered(late), (start, true));
        schedule.processed(false, late);
        assert!(schedule.request(false, late), "health has waited for too long");
        assert_eq!(schedule.answered(late), (late, false));
    }

    #[test]
    fn l3_new_sources_wait_for_no_request_that_was_sent_before_them() {
        let (mut schedule, start) = schedule();
        assert!(schedule.request(false, start));
        let now = start + SECOND;
        assert_eq!(schedule.next_deadline(true), start, "at once");
        assert!(schedule.request(true, now) && !schedule.request(true, now));
        assert_eq!(schedule.next_deadline(true), start + 30 * SECOND, "their own is in flight");
        // The broker does not know them yet: it is asked again, and soon.
        schedule.answered(now);
        schedule.processed(true, now);
        assert!(!schedule.request(true, now));
        assert_eq!(schedule.next_deadline(true), now + RETRY);
        assert!(schedule.request(true, now + RETRY));
    }

    #[test]
    fn l3_requests_for_new_sources_take_a_small_share_of_the_time() {
        let (mut schedule, start) = schedule();
        assert!(schedule.request(true, start));
        let now = start + SECOND / 2;
        schedule.answered(start + SECOND / 10);
        schedule.processed(false, now);
        assert_eq!(schedule.next_deadline(true), now + 2 * SECOND);
        assert!(!schedule.request(true, now + SECOND));
        assert!(schedule.request(true, now + 2 * SECOND));
    }
}
