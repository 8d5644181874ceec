//! Random numbers that a seed repeats, the same everywhere.

use std::time::SystemTime;

/// splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014), from a seed.
pub struct Chance(pub u64);

impl Chance {
    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "no iterator: it has no end")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// Runs a round for each of so many seeds, from the clock's on; `CONNECT_CHAOS_SEED` and `CONNECT_CHAOS_ROUNDS` say
/// otherwise, to run one again that failed.
pub fn rounds(default: u64, round: impl Fn(u64)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    let first = number("CONNECT_CHAOS_SEED").unwrap_or(now);
    for n in 0..number("CONNECT_CHAOS_ROUNDS").unwrap_or(default) {
        round(first.wrapping_add(n));
    }
}
