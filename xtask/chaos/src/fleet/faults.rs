//! The faults of a round, and a random choice that a seed repeats.

use clap::ValueEnum;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// kill -9 of a consumer, and a new one
    Kill,
    /// A consumer is asked to end, and a new one starts
    Restart,
    /// SIGSTOP of a consumer for some seconds, so that others may take over, and it wakes up too
    /// late
    Pause,
    /// One more consumer
    ScaleOut,
    /// One consumer less
    ScaleIn,
    /// SIGSTOP of a broker for some seconds
    BrokerPause,
    /// kill -9 of a broker, and it starts again; with three nodes its partitions get other leaders
    /// meanwhile
    BrokerRestart,
}

impl Fault {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Numbers that a seed repeats (xorshift64*, G. Marsaglia 2003, S. Vigna 2014).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `bound`, which is more than zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % bound
    }

    pub(crate) fn one_of<T: Copy>(&mut self, list: &[T]) -> Option<T> {
        if list.is_empty() {
            return None;
        }
        list.get(usize::try_from(self.below(list.len() as u64)).unwrap_or(0)).copied()
    }
}

/// A shuffled deck of faults: each comes once before one comes again. With independent draws a
/// fleet may be small for the first half of a run and large for the second, and the memory that a
/// process needs for twice the work looks like a leak, or hides one.
pub(crate) struct Deck {
    kinds: Vec<Fault>,
    left: Vec<Fault>,
}

impl Deck {
    pub(crate) fn new(kinds: &[Fault]) -> Self {
        Self { kinds: kinds.to_vec(), left: Vec::new() }
    }

    /// The next one; none if there are none at all.
    pub(crate) fn draw(&mut self, dice: &mut Dice) -> Option<Fault> {
        if self.left.is_empty() {
            self.left.clone_from(&self.kinds);
        }
        if self.left.is_empty() {
            return None;
        }
        let at = usize::try_from(dice.below(self.left.len() as u64)).unwrap_or(0);
        Some(self.left.swap_remove(at))
    }
}

#[cfg(test)]
mod tests {
    use super::{Deck, Dice, Fault};
    use clap::ValueEnum;

    #[test]
    fn a_seed_repeats_its_numbers_and_reaches_all_of_them() {
        let roll = |seed| {
            let mut dice = Dice::new(seed);
            (0..100).map(|_| dice.below(6)).collect::<Vec<_>>()
        };
        assert_eq!(roll(7), roll(7));
        assert_ne!(roll(7), roll(8));
        assert!((0..6).all(|side| roll(1).contains(&side)));
    }

    #[test]
    fn every_fault_comes_once_before_one_comes_again() {
        let kinds = Fault::value_variants();
        let draw = |seed, count| {
            let (mut dice, mut deck) = (Dice::new(seed), Deck::new(kinds));
            (0..count).map(|_| deck.draw(&mut dice).expect("a fault")).collect::<Vec<_>>()
        };
        let faults = draw(7, 10 * kinds.len());
        for round in faults.chunks(kinds.len()) {
            assert!(kinds.iter().all(|kind| round.contains(kind)), "{round:?}");
        }
        let orders: Vec<_> = faults.chunks(kinds.len()).collect();
        assert!(orders.windows(2).any(|two| two[0] != two[1]), "the order changes");
        assert_eq!(faults, draw(7, faults.len()));
        assert_ne!(faults, draw(8, faults.len()));
        assert_eq!(Deck::new(&[]).draw(&mut Dice::new(1)), None);
    }
}
