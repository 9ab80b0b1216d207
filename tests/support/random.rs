//! A seeded stream of numbers, so that a failing run can be repeated: set MILLRACE_TEST_SEED to the seed that was printed.

/// SplitMix64: tiny, good enough to pick moments and rows. It can remember its choices ([`Random::recording`]) and make given ones again
/// ([`Random::choosing`]): what was made of fewer or smaller choices is smaller, which is how a failure is shrunk.
pub struct Random {
    state: u64,
    chosen: Option<std::vec::IntoIter<u64>>,
    record: Option<Vec<u64>>,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self { state: seed, chosen: None, record: None }
    }

    /// As [`Random::new`]; [`Random::choices`] says afterwards what was chosen.
    pub fn recording(seed: u64) -> Self {
        Self { record: Some(Vec::new()), ..Self::new(seed) }
    }

    /// Makes these choices, then ever the first one.
    pub fn choosing(choices: &[u64]) -> Self {
        Self { state: 0, chosen: Some(Vec::from(choices).into_iter()), record: Some(Vec::new()) }
    }

    /// The choices of a stream that records them.
    pub fn choices(self) -> Vec<u64> {
        self.record.unwrap_or_default()
    }

    /// The seed from the environment, else `default`.
    pub fn seed(default: u64) -> u64 {
        std::env::var("MILLRACE_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    }

    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        let number = match &mut self.chosen {
            Some(chosen) => chosen.next().unwrap_or(0) % bound,
            None => self.next() % bound,
        };
        if let Some(record) = &mut self.record {
            record.push(number);
        }
        number
    }

    /// True once in `n`; the first choice is that it isn't.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == n - 1
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }
}
