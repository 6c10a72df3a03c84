//! Reproducible random numbers: a small generator whose seed a failing test prints.

/// A xorshift generator; good enough to choose positions and times.
pub(crate) struct Chance(u64);

impl Chance {
    /// Seeded by the environment variable `CHAPPE_SEED` or else by the clock; prints the seed.
    pub(crate) fn new() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let of_clock = || now.expect("the clock is past 1970").subsec_nanos().into();
        let seed = std::env::var("CHAPPE_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(of_clock);
        eprintln!("CHAPPE_SEED={seed}");
        Self::from_seed(seed)
    }

    pub(crate) fn from_seed(seed: u64) -> Self {
        // Spread over all bits, and never zero.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.number() % limit as u64).expect("smaller than a usize")
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes: Vec<_> = (0..count.div_ceil(8)).flat_map(|_| self.number().to_le_bytes()).collect();
        bytes.truncate(count);
        bytes
    }
}
