//! Integers of 512 bits, and fractions with 192 of them behind the point: what sums of squares need, and what roots, powers and logarithms are
//! computed with before they are rounded to a numeric's digits.

use std::cmp::Ordering;

/// 64 bit limbs of an integer.
const LIMBS: usize = 8;

/// An integer in two's complement, the lowest limb first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wide([u64; LIMBS]);

impl Wide {
    /// An integer of 128 bits.
    pub fn from_i128(value: i128) -> Self {
        let mut limbs = [if value < 0 { u64::MAX } else { 0 }; LIMBS];
        (limbs[0], limbs[1]) = (value as u64, (value >> 64) as u64);
        Self(limbs)
    }

    fn from_u128(value: u128) -> Self {
        let mut limbs = [0; LIMBS];
        (limbs[0], limbs[1]) = (value as u64, (value >> 64) as u64);
        Self(limbs)
    }

    /// As 128 bits, if it fits.
    pub fn to_i128(self) -> Option<i128> {
        let value = (u128::from(self.0[1]) << 64 | u128::from(self.0[0])) as i128;
        (Self::from_i128(value) == self).then_some(value)
    }

    /// Whether it is below zero.
    pub fn is_negative(&self) -> bool {
        self.0[LIMBS - 1] >> 63 == 1
    }

    /// The sum, modulo 2^512.
    pub fn plus(&self, other: &Self) -> Self {
        let mut sum = [0; LIMBS];
        let mut carry = false;
        for (limb, (a, b)) in sum.iter_mut().zip(self.0.iter().zip(&other.0)) {
            let (value, first) = a.overflowing_add(*b);
            let (value, second) = value.overflowing_add(u64::from(carry));
            (*limb, carry) = (value, first || second);
        }
        Self(sum)
    }

    /// The negative.
    pub fn negated(&self) -> Self {
        let mut limbs = self.0;
        limbs.iter_mut().for_each(|limb| *limb = !*limb);
        Self(limbs).plus(&Self::from_u128(1))
    }

    /// The difference, modulo 2^512.
    pub fn minus(&self, other: &Self) -> Self {
        self.plus(&other.negated())
    }

    /// The product, modulo 2^512.
    pub fn times(&self, other: &Self) -> Self {
        let mut product = [0_u64; LIMBS];
        let used = other.0.iter().rposition(|limb| *limb != 0).map_or(0, |top| top + 1);
        for (i, a) in self.0.iter().enumerate().filter(|(_, a)| **a != 0) {
            let mut carry = 0_u128;
            // One limb more for what is carried out of the last.
            for (limb, b) in product[i..].iter_mut().zip(other.0.iter().take(used + 1)) {
                let sum = u128::from(*a) * u128::from(*b) + u128::from(*limb) + carry;
                (*limb, carry) = (sum as u64, sum >> 64);
            }
        }
        Self(product)
    }

    /// The product of two integers of 128 bits.
    #[inline]
    pub fn product(a: u128, b: u128) -> Self {
        if (a | b) >> 64 == 0 {
            return Self::from_u128(a * b);
        }
        Self::from_u128(a).times(&Self::from_u128(b))
    }

    /// The square, modulo 2^512.
    pub fn squared(&self) -> Self {
        // Below zero all upper bits are set: its negative has fewer.
        let magnitude = if self.is_negative() { self.negated() } else { *self };
        magnitude.times(&magnitude)
    }

    /// The product with ten to a power.
    pub fn times_ten_to(&self, exponent: u32) -> Self {
        let mut product = *self;
        let mut left = exponent;
        while left > 0 {
            let step = left.min(19);
            product = product.times(&Self::from_u128(10_u128.pow(step)));
            left -= step;
        }
        product
    }

    /// The quotient and the remainder of an integer that is not negative.
    fn over_small(&self, divisor: u64) -> (Self, u64) {
        let mut quotient = [0; LIMBS];
        let mut rest = 0_u128;
        for (limb, of) in quotient.iter_mut().zip(&self.0).rev() {
            let dividend = rest << 64 | u128::from(*of);
            (*limb, rest) = ((dividend / u128::from(divisor)) as u64, dividend % u128::from(divisor));
        }
        (Self(quotient), rest as u64)
    }

    /// The quotient by several divisors, none of them zero, rounded half away from zero.
    pub fn over(&self, divisors: &[u64]) -> Self {
        let negative = self.is_negative();
        let magnitude = if negative { self.negated() } else { *self };
        // Twice the quotient, cut; its last bit says whether the quotient is to be rounded up.
        let twice = divisors.iter().fold(magnitude.plus(&magnitude), |value, divisor| value.over_small(*divisor).0);
        let (half, rest) = twice.over_small(2);
        let rounded = half.plus(&Self::from_u128(u128::from(rest)));
        if negative { rounded.negated() } else { rounded }
    }

    /// The quotient by ten to a power, rounded half away from zero.
    pub fn over_ten_to(&self, exponent: u32) -> Self {
        let full = std::iter::repeat_n(10_u64.pow(19), (exponent / 19) as usize);
        let divisors: Vec<u64> = full.chain(std::iter::once(10_u64.pow(exponent % 19))).collect();
        self.over(&divisors)
    }

    /// The square root of an integer that is not negative, rounded to the nearest integer.
    pub fn root(&self) -> Self {
        // A double's root has the first 49 bits; the others are found one by one.
        let below = self.bits().saturating_sub(104) / 2;
        let top = self.shifted_down(2 * below);
        let top = (u128::from(top.0[1]) << 64 | u128::from(top.0[0])) as f64;
        let first = (top.sqrt() * (1.0 - 2_f64.powi(-50))).floor();
        let mut root = Self::from_u128(first as u128).shifted_up(below);
        for bit in (0..below + 4).rev() {
            let with = root.plus(&Self::from_u128(1).shifted_up(bit));
            if with.times(&with).cmp_unsigned(self) != Ordering::Greater {
                root = with;
            }
        }
        // (root + 1/2)^2 is root^2 + root + 1/4.
        let rest = self.minus(&root.times(&root));
        if rest.cmp_unsigned(&root) == Ordering::Greater { root.plus(&Self::from_u128(1)) } else { root }
    }

    /// Bits up to the highest that is set.
    fn bits(&self) -> usize {
        let top = self.0.iter().rposition(|limb| *limb != 0);
        top.map_or(0, |top| 64 * (top + 1) - self.0[top].leading_zeros() as usize)
    }

    fn shifted_up(&self, bits: usize) -> Self {
        let (limbs, bits) = (bits / 64, bits % 64);
        let mut shifted = [0; LIMBS];
        for (index, limb) in shifted.iter_mut().enumerate().skip(limbs) {
            let low = if bits > 0 && index > limbs { self.0[index - limbs - 1] >> (64 - bits) } else { 0 };
            *limb = self.0[index - limbs] << bits | low;
        }
        Self(shifted)
    }

    /// Of an integer that is not negative; what falls out is cut.
    fn shifted_down(&self, bits: usize) -> Self {
        let (limbs, bits) = (bits / 64, bits % 64);
        let mut shifted = [0; LIMBS];
        for (index, limb) in shifted.iter_mut().enumerate().take(LIMBS.saturating_sub(limbs)) {
            let high = self.0.get(index + limbs + 1).copied().unwrap_or(0);
            let high = if bits > 0 { high << (64 - bits) } else { 0 };
            *limb = self.0[index + limbs] >> bits | high;
        }
        Self(shifted)
    }

    fn cmp_unsigned(&self, other: &Self) -> Ordering {
        self.0.iter().rev().cmp(other.0.iter().rev())
    }

    /// As bytes, the lowest first.
    pub fn to_bytes(self) -> [u8; 8 * LIMBS] {
        let mut bytes = [0; 8 * LIMBS];
        bytes.chunks_exact_mut(8).zip(self.0).for_each(|(chunk, limb)| chunk.copy_from_slice(&limb.to_le_bytes()));
        bytes
    }

    /// Of bytes that [`Wide::to_bytes`] gave.
    pub fn from_bytes(bytes: &[u8; 8 * LIMBS]) -> Self {
        let mut limbs = [0; LIMBS];
        for (limb, chunk) in limbs.iter_mut().zip(bytes.chunks_exact(8)) {
            *limb = chunk.iter().rev().fold(0, |limb, byte| limb << 8 | u64::from(*byte));
        }
        Self(limbs)
    }
}

/// Bits of a fraction.
const FRACTION: usize = 192;

const LN_2: Fixed = Fixed(Wide([0x40f3_4326_7298_b62d, 0xc9e3_b398_03f2_f6af, 0xb172_17f7_d1cf_79ab, 0, 0, 0, 0, 0]));

const ONE_OVER_LN_10: Fixed =
    Fixed(Wide([0x1f71_a301_22e4_d101, 0x9aad_d557_d699_ee19, 0x6f2d_ec54_9b94_38ca, 0, 0, 0, 0, 0]));

/// How often the argument of an exponential is halved before the series, and the result squared after it.
const HALVINGS: usize = 16;

/// Terms of the exponential's series: `2^-16` to the twelfth over `12!` is beyond the last bit.
const TERMS: u64 = 12;

/// A number with 192 bits behind the point: some 57 decimal digits. Products need numbers below 2^63.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fixed(Wide);

impl Fixed {
    const ONE: Self = Self(Wide([0, 0, 0, 1, 0, 0, 0, 0]));

    pub(super) const ZERO: Self = Self(Wide([0; LIMBS]));

    /// `digits` over ten to `scale`.
    pub(super) fn decimal(digits: i128, scale: u32) -> Self {
        Self(Wide::from_i128(digits).shifted_signed(FRACTION).over_ten_to(scale))
    }

    /// Of a double from 0 up to 2^63.
    fn of_f64(value: f64) -> Self {
        let bits = value.to_bits();
        let exponent = (bits >> 52 & 0x7ff) as usize;
        if exponent == 0 {
            return Self::ZERO;
        }
        let mantissa = Wide::from_u128(u128::from(bits & ((1 << 52) - 1) | 1 << 52));
        // mantissa * 2^(exponent - 1075)
        let shift = exponent + FRACTION;
        Self(if shift >= 1075 { mantissa.shifted_up(shift - 1075) } else { mantissa.shifted_down(1075 - shift) })
    }

    fn to_f64(self) -> f64 {
        let negative = self.0.is_negative();
        let magnitude = if negative { self.0.negated() } else { self.0 };
        let bits = magnitude.bits();
        let mantissa = magnitude.shifted_down(bits.saturating_sub(64)).0[0] as f64;
        let value = mantissa * 2_f64.powi(bits.saturating_sub(64) as i32 - FRACTION as i32);
        if negative { -value } else { value }
    }

    pub(super) fn is_negative(&self) -> bool {
        self.0.is_negative()
    }

    pub(super) fn negated(&self) -> Self {
        Self(self.0.negated())
    }

    fn plus(&self, other: &Self) -> Self {
        Self(self.0.plus(&other.0))
    }

    fn minus(&self, other: &Self) -> Self {
        Self(self.0.minus(&other.0))
    }

    pub(super) fn times(&self, other: &Self) -> Self {
        let negative = self.is_negative() != other.is_negative();
        let magnitude = |of: &Self| if of.is_negative() { of.0.negated() } else { of.0 };
        let product = Self(magnitude(self).times(&magnitude(other)).shifted_down(FRACTION));
        if negative { product.negated() } else { product }
    }

    fn over_small(&self, divisor: u64) -> Self {
        Self(self.0.over_small(divisor).0)
    }

    /// The quotient of two numbers, neither of which is far from 1 by more than 2^60; the divisor is not zero.
    pub(super) fn over(&self, divisor: &Self) -> Self {
        let negative = self.is_negative() != divisor.is_negative();
        let magnitude = |of: &Self| Self(if of.is_negative() { of.0.negated() } else { of.0 });
        let (dividend, divisor) = (magnitude(self), magnitude(divisor));
        // Newton's steps double the digits of a double's reciprocal.
        let mut reciprocal = Self::of_f64(1.0 / divisor.to_f64());
        for _ in 0..3 {
            let error = Self::ONE.minus(&divisor.times(&reciprocal));
            reciprocal = reciprocal.plus(&reciprocal.times(&error));
        }
        let quotient = dividend.times(&reciprocal);
        if negative { quotient.negated() } else { quotient }
    }

    /// e to this power, as a fraction from 1 to 2 and a power of two. The number is within ±2^31.
    fn exponential(&self) -> (Self, i32) {
        // The number is `twos` times ln 2, and a rest from 0 to ln 2.
        let mut twos = (self.to_f64() / std::f64::consts::LN_2).floor() as i64;
        let multiple = |twos: i64| Self(LN_2.0.times(&Wide::from_i128(i128::from(twos))));
        let mut rest = self.minus(&multiple(twos));
        while rest.is_negative() {
            twos -= 1;
            rest = self.minus(&multiple(twos));
        }
        let small = Self(rest.0.shifted_down(HALVINGS));
        let (mut sum, mut term) = (Self::ONE, Self::ONE);
        for n in 1..=TERMS {
            term = term.times(&small).over_small(n);
            sum = sum.plus(&term);
        }
        for _ in 0..HALVINGS {
            sum = sum.times(&sum);
        }
        (sum, twos as i32)
    }

    /// e to this power with `scale` digits behind the point, as the integer of all of them; `None` if it has more than 38 of them.
    pub(super) fn exp(&self, scale: u32) -> Option<i128> {
        let estimate = self.to_f64() * std::f64::consts::LOG10_E;
        if estimate > 39.0 {
            return None;
        }
        if estimate < -f64::from(scale) - 2.0 {
            return Some(0);
        }
        let (fraction, twos) = self.exponential();
        // What is exact comes out a little below itself: the last bits are lifted over that.
        let lifted = Self(fraction.0.plus(&Wide::from_u128(1 << 40)));
        let scaled = lifted.0.times_ten_to(scale);
        let shift = FRACTION as i32 - twos;
        let doubled = if shift > 0 { scaled.shifted_down(shift as usize - 1) } else { scaled.shifted_up(1) };
        let (half, rest) = doubled.over_small(2);
        let rounded = half.plus(&Wide::from_u128(u128::from(rest))).to_i128()?;
        (rounded < 10_i128.pow(38)).then_some(rounded)
    }

    /// The natural logarithm of `digits` over ten to `scale`, which is above zero.
    pub(super) fn ln(digits: u128, scale: u32) -> Self {
        // The number is a fraction from 1 to 2 times two to a power.
        let lifted = Wide::from_u128(digits).shifted_up(2 * FRACTION).over_ten_to(scale);
        let top = lifted.bits().saturating_sub(1);
        let fraction =
            Self(if top >= FRACTION { lifted.shifted_down(top - FRACTION) } else { lifted.shifted_up(FRACTION - top) });
        let twos = top as i128 - 2 * FRACTION as i128;
        // The double's logarithm, and that of the quotient, which is within 2^-50 of 1.
        let near = Self::of_f64(fraction.to_f64().ln().max(0.0));
        let (over, halves) = near.negated().exponential();
        let quotient = fraction.times(&over);
        let quotient = Self(quotient.0.shifted_down(halves.unsigned_abs() as usize));
        let off = quotient.minus(&Self::ONE);
        let square = off.times(&off);
        let cube = square.times(&off);
        let half = Self(square.0.shifted_down(1));
        let third =
            Fixed(if cube.is_negative() { cube.0.negated().over_small(3).0.negated() } else { cube.0.over_small(3).0 });
        let of_quotient = off.minus(&half).plus(&third);
        let of_twos = Self(LN_2.0.times(&Wide::from_i128(twos)));
        of_twos.plus(&near).plus(&of_quotient)
    }

    /// The decimal logarithm that belongs to a natural one.
    pub(super) fn ln_to_log10(&self) -> Self {
        self.times(&ONE_OVER_LN_10)
    }

    /// With `scale` digits behind the point, as the integer of all of them, rounded half away from zero; `None` beyond 38 of them.
    pub(super) fn to_decimal(self, scale: u32) -> Option<i128> {
        let negative = self.is_negative();
        let magnitude = if negative { self.0.negated() } else { self.0 };
        // What is exact is a little beside itself.
        let lifted = magnitude.plus(&Wide::from_u128(1 << 40));
        let doubled = lifted.times_ten_to(scale).shifted_down(FRACTION - 1);
        let (half, rest) = doubled.over_small(2);
        let rounded = half.plus(&Wide::from_u128(u128::from(rest))).to_i128()?;
        (rounded < 10_i128.pow(38)).then_some(if negative { -rounded } else { rounded })
    }
}

impl Wide {
    fn shifted_signed(&self, bits: usize) -> Self {
        match self.is_negative() {
            true => self.negated().shifted_up(bits).negated(),
            false => self.shifted_up(bits),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_is_that_of_integers() {
        for (a, b) in [(7_i128, 3_i128), (-7, 3), (i128::MAX, 2), (-(1 << 100), -(1 << 90)), (0, -1)] {
            let (x, y) = (Wide::from_i128(a), Wide::from_i128(b));
            assert_eq!(x.plus(&y).minus(&y).to_i128(), Some(a));
            assert_eq!(x.times(&y).minus(&y.times(&x)), Wide::default());
        }
        assert_eq!(Wide::from_i128(-7).times(&Wide::from_i128(3)).to_i128(), Some(-21));
        assert_eq!(Wide::from_i128(-7).over(&[2]).to_i128(), Some(-4));
        assert_eq!(Wide::from_i128(149).over_ten_to(2).to_i128(), Some(1));
        assert_eq!(Wide::from_i128(150).over(&[10, 10]).to_i128(), Some(2));
        assert_eq!(Wide::from_i128(1).times_ten_to(40).over_ten_to(39).to_i128(), Some(10));
        let value = Wide::from_i128(-12345).times_ten_to(60);
        assert_eq!(Wide::from_bytes(&value.to_bytes()), value);
    }

    #[test]
    fn roots_are_rounded() {
        let root = |value: i128| Wide::from_i128(value).root().to_i128().unwrap();
        assert_eq!([root(0), root(1), root(2), root(3), root(16), root(20), root(21)], [0, 1, 1, 2, 4, 4, 5]);
        let two = Wide::from_i128(2).times_ten_to(60);
        assert_eq!(two.root().to_i128(), Some(1_414_213_562_373_095_048_801_688_724_210));
    }

    #[test]
    fn exponentials_and_logarithms_have_all_digits() {
        let exp = |digits: i128, scale, to| Fixed::decimal(digits, scale).exp(to);
        assert_eq!(exp(1, 0, 30), Some(2_718_281_828_459_045_235_360_287_471_353));
        assert_eq!(exp(0, 0, 16), Some(10_i128.pow(16)));
        assert_eq!(exp(-10, 0, 20), Some(4_539_992_976_248_485));
        assert_eq!(exp(50, 0, 16), Some(51_847_055_285_870_724_640_874_533_229_334_853_848));
        assert_eq!(exp(-1000, 0, 16), Some(0));
        assert_eq!(exp(1000, 0, 16), None);
        let ln = |digits, scale| Fixed::ln(digits, scale).to_decimal(30).unwrap();
        assert_eq!(ln(2, 0), 693_147_180_559_945_309_417_232_121_458);
        assert_eq!(ln(10, 1), 0);
        assert_eq!(ln(1, 3), -6_907_755_278_982_137_052_053_974_364_053);
        assert_eq!(ln(10, 0), 2_302_585_092_994_045_684_017_991_454_684);
        assert_eq!(Fixed::ln(1000, 0).ln_to_log10().to_decimal(16), Some(30_000_000_000_000_000));
        assert_eq!(Fixed::ln(64, 0).over(&Fixed::ln(2, 0)).to_decimal(16), Some(60_000_000_000_000_000));
    }

    #[test]
    fn powers_that_are_exact_are_exact() {
        // 0.5 to the 17th is 0.00000762939453125: half of the 16th digit goes up.
        let power = Fixed::ln(5, 1).times(&Fixed::decimal(17, 0)).exp(16);
        assert_eq!(power, Some(76_293_945_313));
        let power = Fixed::ln(9, 0).times(&Fixed::decimal(3, 0)).exp(16);
        assert_eq!(power, Some(7_290_000_000_000_000_000));
    }
}
