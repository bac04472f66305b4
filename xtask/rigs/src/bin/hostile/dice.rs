//! Random choices that a seed repeats.

/// The generator of Steele, Lea and Flood (2014).
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Dice of their own: what is thrown with them changes nothing here.
    pub(crate) const fn split(&mut self) -> Self {
        Self(self.number())
    }

    /// A number below `bound`, which is more than zero.
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    pub(crate) fn size(&mut self, below: usize) -> usize {
        usize::try_from(self.below(below as u64)).unwrap_or(0)
    }

    /// True once in so many times.
    pub(crate) const fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.size(list.len())]
    }

    pub(crate) fn bytes(&mut self, below: usize) -> Vec<u8> {
        let length = self.size(below);
        (0..length).map(|_| self.number().to_le_bytes()[0]).collect()
    }

    /// Text of signs from all over Unicode.
    pub(crate) fn text(&mut self, below: usize) -> String {
        let length = self.size(below);
        let signs = (0..length).map(|_| {
            let most = self.one_of(&[0x80, 0x800, 0x1_0000, 0x11_0000]);
            u32::try_from(self.below(most)).ok().and_then(char::from_u32).unwrap_or('\u{fffd}')
        });
        signs.collect()
    }
}
