//! Log lines that come again and again: the first of a kind at once, then one every ten seconds,
//! with the number of those that were left out since.

use parking_lot::Mutex;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Time between two lines of a kind. A client that looks for a broker fails ten times a second.
const PAUSE: Duration = Duration::from_secs(10);
/// Kinds that are told apart at a time. Those beyond them share one.
const KINDS: usize = 64;

/// The lines of one client.
#[derive(Default)]
pub(crate) struct Repeats(Mutex<HashMap<String, Kind>>);

struct Kind {
    told: Instant,
    left_out: u64,
}

impl Repeats {
    /// How many lines like `text` were left out since the last one; `None` when this one is to be
    /// left out too.
    pub(crate) fn tell(&self, text: &str, now: Instant) -> Option<u64> {
        let mut kinds = self.0.lock();
        let mut name = kind(text);
        if kinds.len() >= KINDS && !kinds.contains_key(&name) {
            kinds.retain(|_, kind| now.duration_since(kind.told) < PAUSE);
            if kinds.len() >= KINDS {
                name.clear();
            }
        }
        match kinds.get_mut(&name) {
            Some(kind) if now.duration_since(kind.told) < PAUSE => {
                kind.left_out += 1;
                None
            }
            Some(kind) => {
                kind.told = now;
                Some(std::mem::take(&mut kind.left_out))
            }
            None => {
                kinds.insert(name, Kind { told: now, left_out: 0 });
                Some(0)
            }
        }
    }
}

/// A line without the client's thread and without figures, but for those in the name of the broker,
/// which is what stands at its front.
fn kind(text: &str) -> String {
    let text = text
        .strip_prefix("[thrd:")
        .and_then(|text| Some(text.split_once("]: ")?.1))
        .unwrap_or(text);
    // How long it took, and how often the client has left out the same.
    let text = text.split(" (after ").next().unwrap_or(text);
    let (broker, rest) = text.split_once(": ").unwrap_or(("", text));
    broker.chars().chain(rest.chars().filter(|letter| !letter.is_ascii_digit())).collect()
}

#[cfg(test)]
mod tests {
    use super::{KINDS, PAUSE, Repeats};
    use std::time::{Duration, Instant};

    const REFUSED: &str =
        "[thrd:b1:9092/1]: b1:9092/1: Connect to ipv4#10.0.0.1:9092 failed: Connection refused";

    #[test]
    fn k7_a_line_that_repeats_is_told_every_ten_seconds() {
        let (repeats, start) = (Repeats::default(), Instant::now());
        let mut told = Vec::new();
        for tick in 0..250 {
            let line = format!(
                "{REFUSED} (after {tick}ms in state CONNECT, {tick} identical error(s) suppressed)"
            );
            told.extend(repeats.tell(&line, start + Duration::from_millis(100) * tick));
        }
        assert_eq!(told, [0, 99, 99]);
    }

    #[test]
    fn k7_another_line_is_told_at_once() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        let other_broker = REFUSED.replace("b1", "b2");
        let told_before = REFUSED.split_once("]: ").expect("a thread").1;
        for line in [
            REFUSED,
            &other_broker,
            "[thrd:b1:9092/1]: b1:9092/1: SASL authentication failed",
            "fenced",
        ] {
            assert_eq!(
                (repeats.tell(line, now), repeats.tell(line, now)),
                (Some(0), None),
                "{line}"
            );
        }
        assert_eq!(
            repeats.tell(told_before, now),
            None,
            "the client logs a failure, and reports it as an error"
        );
    }

    #[test]
    fn k7_kinds_are_bounded_and_those_beyond_share_one() {
        let (repeats, start) = (Repeats::default(), Instant::now());
        let name = |number: usize| "x".repeat(number + 1);
        let told =
            (0..1_000).filter(|number| repeats.tell(&name(*number), start).is_some()).count();
        assert_eq!(told, KINDS + 1);
        assert!(repeats.0.lock().len() <= KINDS + 1);
        assert_eq!(
            repeats.tell(&name(5_000), start + PAUSE),
            Some(0),
            "kinds that have ended make room"
        );
    }
}
