//! Which share of the keys runs on actors, and when another: a seed repeats it.

use crate::fleet::Dice;

/// Up and down.
const ROUND: [u8; 6] = [10, 50, 100, 50, 10, 0];
/// One in so many times a stage is left out of turn, as a switch by hand or a roll-back does.
const JUMP: u64 = 6;

pub(super) struct Stages {
    dice: Dice,
    at: usize,
}

impl Stages {
    pub(super) fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed), at: 0 }
    }

    pub(super) fn next(&mut self) -> u8 {
        if self.dice.below(JUMP) == 0 {
            self.at = usize::try_from(self.dice.below(ROUND.len() as u64)).unwrap_or(0);
        }
        let percent = ROUND[self.at];
        self.at = (self.at + 1) % ROUND.len();
        percent
    }
}

#[cfg(test)]
mod tests {
    use super::Stages;

    #[test]
    fn t5_stages_go_up_and_down_and_a_seed_repeats_them() {
        let of = |seed| {
            let mut stages = Stages::new(seed);
            (0..600).map(|_| stages.next()).collect::<Vec<_>>()
        };
        assert_eq!(of(3), of(3));
        assert_ne!(of(3), of(4));
        let pairs: Vec<_> = of(3).windows(2).map(|pair| (pair[0], pair[1])).collect();
        for pair in [(0, 10), (10, 50), (50, 100), (100, 50), (50, 10), (10, 0)] {
            assert!(pairs.contains(&pair), "{pair:?}");
        }
        assert!(pairs.iter().any(|pair| [(100, 0), (0, 100), (100, 10), (0, 50)].contains(pair)));
    }
}
