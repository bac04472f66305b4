//! What can go wrong in a round, and a random choice of it that a seed repeats.

use clap::ValueEnum;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// kill -9 of a consumer, and a new one
    Kill,
    /// A consumer is asked to end, and a new one starts
    Restart,
    /// SIGSTOP of a consumer for some seconds, so that others may take over, and it wakes up too late
    Pause,
    /// One more consumer
    ScaleOut,
    /// One consumer less
    ScaleIn,
    /// SIGSTOP of a broker for some seconds
    BrokerPause,
    /// kill -9 of a broker, and it starts again; with three nodes its partitions get other leaders meanwhile
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

#[cfg(test)]
mod tests {
    use super::Dice;

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
}
