//! The scripted faults of one topic. Countdowns of deliveries make the affected delivery
//! predictable.

use std::time::Duration;
use tokio::time::Instant;

/// The faults of one delivery.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DeliveryFaults {
    pub(crate) lose_ack: bool,
    pub(crate) twice: bool,
}

#[derive(Debug, Default)]
pub(crate) struct FaultScript {
    /// For each fault, the countdown to the delivery that loses its settlement; 1 is the next
    /// delivery.
    lost_acks: Vec<u64>,
    /// For each fault, the countdown to the delivery that happens twice.
    duplicates: Vec<u64>,
    held_until: Option<Instant>,
}

/// Counts one delivery. Returns whether a fault affects it.
fn count_down(list: &mut Vec<u64>) -> bool {
    let before = list.len();
    for left in &mut *list {
        *left -= 1;
    }
    list.retain(|left| *left > 0);
    list.len() < before
}

impl FaultScript {
    pub(crate) fn lose_ack(&mut self, nth: u64) {
        self.lost_acks.push(nth.max(1));
    }

    pub(crate) fn duplicate(&mut self, nth: u64) {
        self.duplicates.push(nth.max(1));
    }

    pub(crate) fn hold(&mut self, from: Instant, length: Duration) {
        self.held_until = Some(from + length);
    }

    /// The time until which deliveries are held, if there is one.
    pub(crate) fn held(&mut self, now: Instant) -> Option<Instant> {
        self.held_until = self.held_until.filter(|until| *until > now);
        self.held_until
    }

    /// Counts a delivery, and returns its faults.
    pub(crate) fn delivered(&mut self) -> DeliveryFaults {
        DeliveryFaults {
            lose_ack: count_down(&mut self.lost_acks),
            twice: count_down(&mut self.duplicates),
        }
    }

    /// Whether no fault is left.
    pub(crate) fn is_over(&self) -> bool {
        self.lost_acks.is_empty() && self.duplicates.is_empty() && self.held_until.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m2_a_script_hits_the_delivery_that_it_names() {
        let mut script = FaultScript::default();
        script.lose_ack(2);
        script.duplicate(1);
        script.duplicate(3);
        let hits: Vec<_> =
            (0..4).map(|_| script.delivered()).map(|hit| (hit.lose_ack, hit.twice)).collect();
        assert_eq!(hits, [(false, true), (true, false), (false, true), (false, false)]);
        assert!(script.is_over());
    }
}
