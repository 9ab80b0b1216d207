//! Sums of floating point numbers without rounding.
//!
//! A sum that is rounded at every step depends on the order of its terms, and adding 1e20 and taking it away again leaves something
//! else than what was there. An [`ExactSum`] instead is an integer: every finite `f64` is a multiple of 2^-1074, so a sum of them
//! is too, and the sum of their squares is a multiple of 2^-2148. Only reading it rounds, once. (Kulisch's long accumulator; here only
//! the limbs between the smallest and the largest bit ever set are held.)

/// Limbs held in place: 256 bits, of which a number takes 53.
const WINDOW: usize = 4;

/// Limbs that hold every sum: squares reach bit 2 * 2046 + 106, and as many terms as an `i64` counts add 63 bits and a sign.
const WIDE: usize = 68;

/// Position of the bit of weight 1 in a sum of numbers.
pub(super) const UNIT_OF_SUM: i64 = 1074;

/// Position of the bit of weight 1 in a sum of squares.
pub(super) const UNIT_OF_SQUARES: i64 = 2148;

/// An integer of up to 4,352 bits, in two's complement.
#[derive(Clone, Debug, Default)]
pub(super) struct ExactSum {
    /// `limbs[0]` is this limb of the whole; those below are zero. Unused while `wide` is set.
    base: u8,
    /// The limbs from `base`; those above repeat the sign.
    limbs: [u64; WINDOW],
    /// All limbs, once a term did not fit beside the others.
    wide: Option<Box<[u64; WIDE]>>,
}

/// A term: up to four limbs at a limb of the whole, to be added or taken away.
struct Term {
    limb: usize,
    limbs: [u64; WINDOW],
    negative: bool,
}

impl ExactSum {
    /// Adds `weight` times a finite number. The unit is 2^-1074.
    #[inline]
    pub(super) fn add(&mut self, value: f64, weight: i64) {
        let (mantissa, position) = decompose(value);
        self.add_integer(u128::from(mantissa), position, value.is_sign_negative(), weight);
    }

    /// Adds `weight` times the square of a finite number. The unit is 2^-2148.
    #[inline]
    pub(super) fn add_square(&mut self, value: f64, weight: i64) {
        let (mantissa, position) = decompose(value);
        self.add_integer(u128::from(mantissa) * u128::from(mantissa), 2 * position, false, weight);
    }

    /// Adds `weight * magnitude * 2^position`.
    #[inline]
    fn add_integer(&mut self, magnitude: u128, position: usize, negative: bool, weight: i64) {
        if magnitude == 0 || weight == 0 {
            return;
        }
        let limbs = shifted(times(magnitude, weight.unsigned_abs()), position % 64);
        self.add_term(&Term { limb: position / 64, limbs, negative: negative != (weight < 0) });
    }

    #[inline]
    fn add_term(&mut self, term: &Term) {
        if self.wide.is_none() && !self.add_in_window(term) {
            self.widen();
        }
        if let Some(wide) = &mut self.wide {
            add_limbs(&mut wide[..], term.limb, &term.limbs, term.negative);
        }
    }

    /// Adds the term if all of the sum stays within the window; else nothing is changed.
    #[inline]
    fn add_in_window(&mut self, term: &Term) -> bool {
        let used = WINDOW - term.limbs.iter().rev().take_while(|limb| **limb == 0).count();
        if self.limbs == [0; WINDOW] {
            // Room on both sides.
            self.base = term.limb.saturating_sub((WINDOW - used) / 2) as u8;
        }
        let Some(offset) = term.limb.checked_sub(usize::from(self.base)) else { return false };
        if offset + used > WINDOW {
            return false;
        }
        let was_negative = is_negative(&self.limbs);
        let mut sum = self.limbs;
        add_limbs(&mut sum, offset, &term.limbs[..used], term.negative);
        // The topmost bit of the term itself must not be taken for a sign.
        let term_fits = offset + used < WINDOW || term.limbs[used - 1] >> 63 == 0;
        let overflow = was_negative == term.negative && is_negative(&sum) != was_negative;
        if !term_fits || overflow {
            return false;
        }
        self.limbs = sum;
        true
    }

    fn widen(&mut self) {
        let mut wide = Box::new([if is_negative(&self.limbs) { u64::MAX } else { 0 }; WIDE]);
        wide[..usize::from(self.base)].fill(0);
        let top = WIDE.min(usize::from(self.base) + WINDOW);
        let count = top - usize::from(self.base);
        wide[usize::from(self.base)..top].copy_from_slice(&self.limbs[..count]);
        self.limbs = [0; WINDOW];
        self.base = 0;
        self.wide = Some(wide);
    }

    /// The sum as sign and magnitude: the lowest limb that isn't zero comes first, and none above the highest.
    pub(super) fn magnitude(&self) -> Magnitude {
        let (base, limbs): (usize, &[u64]) = match &self.wide {
            Some(wide) => (0, &wide[..]),
            None => (usize::from(self.base), &self.limbs),
        };
        let negative = is_negative(limbs);
        let mut limbs = limbs.to_vec();
        if negative {
            negate(&mut limbs);
        }
        Magnitude { negative, position: 64 * base, limbs }.trimmed()
    }

    /// The sum of numbers as a double, rounded once, half to even; infinite beyond the largest double.
    pub(super) fn to_f64(&self) -> f64 {
        self.magnitude().to_f64(UNIT_OF_SUM, 1.0)
    }

    /// Appends the value in a form that depends on nothing but the value.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let magnitude = self.magnitude();
        let sign = if magnitude.negative { 0x80 } else { 0 };
        out.push(magnitude.limbs.len() as u8 | sign);
        if !magnitude.limbs.is_empty() {
            out.push((magnitude.position / 64) as u8);
        }
        for limb in &magnitude.limbs {
            out.extend_from_slice(&limb.to_le_bytes());
        }
    }

    /// Reads what [`ExactSum::encode`] wrote; `None` if it didn't.
    pub(super) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        let (negative, count) = (first & 0x80 != 0, usize::from(first & 0x7f));
        let mut sum = Self::default();
        if count == 0 {
            return Some(sum);
        }
        let (base, rest) = bytes.split_first()?;
        let (limbs, rest) = rest.split_at_checked(8 * count)?;
        *bytes = rest;
        if usize::from(*base) + count > WIDE {
            return None;
        }
        for (index, limb) in limbs.chunks_exact(8).enumerate() {
            let limb = u64::from_le_bytes(limb.try_into().ok()?);
            let term = [limb, 0, 0, 0];
            if limb != 0 {
                sum.add_term(&Term { limb: usize::from(*base) + index, limbs: term, negative });
            }
        }
        Some(sum)
    }
}

/// The integer and the exponent, from 2^-1074 up, of a finite number's magnitude.
#[inline]
fn decompose(value: f64) -> (u64, usize) {
    let bits = value.to_bits();
    let exponent = (bits >> 52 & 0x7ff) as usize;
    let fraction = bits & ((1 << 52) - 1);
    debug_assert!(exponent != 0x7ff, "only finite numbers are added");
    if exponent == 0 { (fraction, 0) } else { (fraction | 1 << 52, exponent - 1) }
}

#[inline]
fn times(magnitude: u128, weight: u64) -> [u64; 3] {
    let (low, high) = (magnitude as u64, (magnitude >> 64) as u64);
    if weight == 1 {
        return [low, high, 0];
    }
    let low = u128::from(low) * u128::from(weight);
    let high = u128::from(high) * u128::from(weight) + (low >> 64);
    [low as u64, high as u64, (high >> 64) as u64]
}

#[inline]
fn shifted(limbs: [u64; 3], bits: usize) -> [u64; WINDOW] {
    let [a, b, c] = limbs;
    if bits == 0 {
        return [a, b, c, 0];
    }
    let carry = 64 - bits;
    [a << bits, b << bits | a >> carry, c << bits | b >> carry, c >> carry]
}

#[inline]
fn is_negative(limbs: &[u64]) -> bool {
    limbs.last().is_some_and(|top| top >> 63 != 0)
}

/// `sum ± term * 2^(64 offset)`, modulo the width of `sum`.
#[inline]
fn add_limbs(sum: &mut [u64], offset: usize, term: &[u64], negative: bool) {
    let mut carry = false;
    for (index, limb) in sum[offset..].iter_mut().enumerate() {
        let term_limb = term.get(index).copied();
        if term_limb.is_none() && !carry {
            return;
        }
        let term_limb = term_limb.unwrap_or(0);
        let (value, first) = if negative { limb.overflowing_sub(term_limb) } else { limb.overflowing_add(term_limb) };
        let (value, second) =
            if negative { value.overflowing_sub(carry.into()) } else { value.overflowing_add(carry.into()) };
        *limb = value;
        carry = first || second;
    }
}

fn negate(limbs: &mut [u64]) {
    let mut carry = true;
    for limb in limbs {
        (*limb, carry) = (!*limb).overflowing_add(carry.into());
    }
}

/// A sign and an integer `limbs * 2^position`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Magnitude {
    negative: bool,
    /// A multiple of 64.
    position: usize,
    limbs: Vec<u64>,
}

impl Magnitude {
    fn trimmed(mut self) -> Self {
        while self.limbs.last() == Some(&0) {
            self.limbs.pop();
        }
        let zeros = self.limbs.iter().take_while(|limb| **limb == 0).count();
        self.limbs.drain(..zeros);
        self.position = if self.limbs.is_empty() { 0 } else { self.position + 64 * zeros };
        self.negative &= !self.limbs.is_empty();
        self
    }

    /// The product of two magnitudes.
    pub(super) fn times(&self, other: &Self) -> Self {
        let mut limbs = vec![0; self.limbs.len() + other.limbs.len()];
        for (i, a) in self.limbs.iter().enumerate() {
            let mut carry = 0_u128;
            for (j, b) in other.limbs.iter().enumerate() {
                let sum = u128::from(*a) * u128::from(*b) + u128::from(limbs[i + j]) + carry;
                limbs[i + j] = sum as u64;
                carry = sum >> 64;
            }
            limbs[i + other.limbs.len()] = carry as u64;
        }
        let (negative, position) = (self.negative != other.negative, self.position + other.position);
        Self { negative, position, limbs }.trimmed()
    }

    /// An integer.
    pub(super) fn integer(value: u64) -> Self {
        Self { negative: false, position: 0, limbs: vec![value] }.trimmed()
    }

    /// `self - other`.
    pub(super) fn minus(&self, other: &Self) -> Self {
        let position = self.position.min(other.position);
        let top = |m: &Self| m.position / 64 + m.limbs.len();
        // One limb more for the carry, and one for the sign.
        let mut limbs = vec![0; top(self).max(top(other)) - position / 64 + 2];
        for (term, negative) in [(self, self.negative), (other, !other.negative)] {
            if !term.limbs.is_empty() {
                add_limbs(&mut limbs, (term.position - position) / 64, &term.limbs, negative);
            }
        }
        let negative = is_negative(&limbs);
        if negative {
            negate(&mut limbs);
        }
        Self { negative, position, limbs }.trimmed()
    }

    /// The number over `divisor`, where the bit at position `unit` weighs 1. Rounded once (half to even) to 53 bits before the division.
    pub(super) fn to_f64(&self, unit: i64, divisor: f64) -> f64 {
        let Some(top_limb) = self.limbs.last() else { return 0.0 };
        let sign = if self.negative { -1.0 } else { 1.0 };
        let length = 64 * self.limbs.len() - top_limb.leading_zeros() as usize;
        let lowest = self.position as i64 - unit;
        let Some(last) = length.checked_sub(53).filter(|last| *last > 0) else {
            return sign * scaled(self.bits(0, length) as f64 / divisor, lowest);
        };
        let mut mantissa = self.bits(last, 53);
        let half = self.bits(last - 1, 1) == 1;
        let sticky = self.any_below(last - 1);
        if half && (sticky || mantissa & 1 == 1) {
            mantissa += 1;
        }
        sign * scaled(mantissa as f64 / divisor, lowest + last as i64)
    }

    /// `count` (at most 64) bits from bit `from` of the limbs.
    fn bits(&self, from: usize, count: usize) -> u64 {
        let limb = |index: usize| self.limbs.get(index).copied().unwrap_or(0);
        let (index, shift) = (from / 64, from % 64);
        let wide = u128::from(limb(index)) | u128::from(limb(index + 1)) << 64;
        let bits = (wide >> shift) as u64;
        if count >= 64 { bits } else { bits & ((1 << count) - 1) }
    }

    fn any_below(&self, bit: usize) -> bool {
        let whole = bit / 64;
        self.limbs[..whole.min(self.limbs.len())].iter().any(|limb| *limb != 0) || self.bits(whole * 64, bit % 64) != 0
    }
}

/// `value * 2^exponent`.
fn scaled(mut value: f64, mut exponent: i64) -> f64 {
    while exponent > 1000 && value.is_finite() {
        value *= power_of_two(1000);
        exponent -= 1000;
    }
    // In steps that leave the value normal; only the last one may reach the subnormal numbers, so that it rounds once.
    while exponent < -900 && value != 0.0 {
        let step = (-exponent - 900).min(900);
        value *= power_of_two(-step);
        exponent += step;
    }
    value * power_of_two(exponent.clamp(-1000, 1000))
}

/// `2^exponent`, from -1022 to 1023.
fn power_of_two(exponent: i64) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests;
