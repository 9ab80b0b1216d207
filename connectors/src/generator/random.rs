//! Random numbers that are a function of where they are used.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringViewArray, StringViewBuilder, UInt32Array};
use arrow::compute::take;

/// The finaliser of splitmix64.
#[inline]
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Draws for one purpose: the same seed, purpose and index give the same number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(seed: u64, purpose: u64) -> Self {
        Self(mix(mix(seed.wrapping_add(0x9E37_79B9_7F4A_7C15)) ^ purpose.wrapping_mul(0xD6E8_FEB8_6659_FD93)))
    }

    /// 64 bits.
    #[inline]
    pub(crate) fn bits(self, index: u64) -> u64 {
        mix(self.0.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15)))
    }
}

/// A number below `n` from the high bits of a draw; the low bits stay independent of it for small `n`.
#[inline]
pub(crate) fn below(bits: u64, n: u64) -> u64 {
    ((u128::from(bits) * u128::from(n)) >> 64) as u64
}

/// Points of the table of powers.
const STEPS: usize = 4096;

/// 100 · 10^(6u) for u uniform in 0..1: the auction benchmark's prices. From a table with interpolation between its points, because
/// a power per row would cost more than the rest of the row.
pub(crate) struct Prices(Vec<f64>);

impl Prices {
    pub(crate) fn new() -> Self {
        Self((0..=STEPS).map(|step| 10f64.powf(step as f64 / STEPS as f64 * 6.0) * 100.0).collect())
    }

    #[inline]
    pub(crate) fn price(&self, bits: u64) -> i64 {
        let step = (bits >> 52) as usize;
        let between = ((bits << 12) >> 12) as f64 / (1u64 << 52) as f64;
        let (low, high) = (self.0[step], self.0[step + 1]);
        (low + (high - low) * between).ceil() as i64
    }
}

/// Texts that rows share: a column of them is a gather of views.
pub(crate) struct Pool(StringViewArray);

impl Pool {
    pub(crate) fn new<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Self {
        let mut builder = StringViewBuilder::new().with_fixed_block_size(1 << 20);
        for text in texts {
            builder.append_value(text.as_ref());
        }
        Self(builder.finish())
    }

    /// `count` texts of `least` to `most` small letters, some blanks if `blanks`.
    pub(crate) fn letters(draw: Draw, count: u64, least: u64, most: u64, blanks: bool) -> Self {
        Self::new((0..count).map(|index| letters(draw, index, least, most, blanks)))
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// The texts at these positions.
    pub(crate) fn gather(&self, indices: impl Iterator<Item = u64>) -> ArrayRef {
        let indices = UInt32Array::from_iter_values(indices.map(|index| index as u32));
        match take(&self.0, &indices, None) {
            Ok(array) => array,
            // Out of bounds is the only way to fail.
            Err(error) => unreachable!("indices are drawn below the pool's length: {error}"),
        }
    }
}

/// A text of small letters.
pub(crate) fn letters(draw: Draw, index: u64, least: u64, most: u64, blanks: bool) -> String {
    let bits = draw.bits(index.wrapping_mul(2));
    let length = least + below(bits, most - least + 1);
    let source = Draw(bits);
    (0..length)
        .map(|at| {
            let bits = source.bits(at);
            let inner = at > 0 && at + 1 < length;
            if blanks && inner && bits & 0xFFFF < 0x10000 / 13 { ' ' } else { char::from(b'a' + below(bits, 26) as u8) }
        })
        .collect()
}

/// Arrow's constructor for shared columns.
pub(crate) fn array<A: Array + 'static>(array: A) -> ArrayRef {
    Arc::new(array)
}
