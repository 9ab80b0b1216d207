//! Numbers with a fixed scale, exactly.

/// Why a text is no value of a numeric type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It is no number.
    NotANumber,
    /// It has more digits before the point than the type.
    OutOfRange,
}

/// 10^38 - 1 is the largest number of 38 digits.
fn power_of_ten(exponent: u32) -> i128 {
    10i128.pow(exponent)
}

/// The value of `text` (`[+-]digits[.digits][e[+-]digits]`) times 10^`scale`, rounded half away from zero as PostgreSQL does.
#[inline]
pub(crate) fn parse(text: &[u8], precision: u8, scale: i8) -> Result<i128, Trouble> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let mut magnitude = 0i128; // at most 38 digits, then `dropped`
    let mut significant = 0u32;
    let mut dropped = 0i64; // digits behind the 38th, which count in the exponent only
    let mut first_dropped = 0u8;
    let mut fraction = 0i64;
    let mut point = false;
    let mut seen = false;
    let mut at = 0;
    while let Some(&byte) = digits.get(at) {
        match byte {
            b'0'..=b'9' => {
                seen = true;
                let digit = byte - b'0';
                if significant < 38 {
                    magnitude = magnitude * 10 + i128::from(digit);
                    significant += u32::from(magnitude != 0);
                    fraction += i64::from(point);
                } else {
                    if dropped == 0 {
                        first_dropped = digit;
                    }
                    dropped += 1;
                    fraction += i64::from(point);
                }
            }
            b'.' if !point => point = true,
            _ => break,
        }
        at += 1;
    }
    if !seen {
        return Err(Trouble::NotANumber);
    }
    let exponent = match digits.get(at) {
        None => 0,
        Some(b'e' | b'E') => exponent(&digits[at + 1..])?,
        Some(_) => return Err(Trouble::NotANumber),
    };
    // The value is magnitude · 10^shift · 10^-scale, plus what was dropped.
    let shift = dropped - fraction + exponent + i64::from(scale);
    let scaled = if magnitude == 0 {
        0
    } else if shift >= 0 {
        if shift > 38 {
            return Err(Trouble::OutOfRange);
        }
        magnitude.checked_mul(power_of_ten(shift as u32)).ok_or(Trouble::OutOfRange)?
    } else if shift < -38 {
        0 // Below half of 10^39: the magnitude has at most 38 digits.
    } else {
        let divisor = power_of_ten((-shift) as u32);
        magnitude / divisor + i128::from(magnitude % divisor >= divisor / 2)
    };
    // With exactly the 38 digits kept, the first dropped one decides the rounding.
    let scaled = if shift == 0 && dropped > 0 { scaled + i128::from(first_dropped >= 5) } else { scaled };
    if scaled >= power_of_ten(u32::from(precision)) {
        return Err(Trouble::OutOfRange);
    }
    Ok(if negative { -scaled } else { scaled })
}

fn exponent(text: &[u8]) -> Result<i64, Trouble> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Trouble::NotANumber);
    }
    let value = digits.iter().fold(0i64, |value, digit| (value * 10 + i64::from(digit - b'0')).min(1_000_000));
    Ok(if negative { -value } else { value })
}

/// Writes `value` · 10^-`scale`; with `trim`, without trailing zeros behind the point.
pub(crate) fn write(out: &mut Vec<u8>, value: i128, scale: i8, trim: bool) {
    if value < 0 {
        out.push(b'-');
    }
    let mut magnitude = value.unsigned_abs();
    let mut scale = scale;
    while trim && scale > 0 && magnitude.is_multiple_of(10) {
        magnitude /= 10;
        scale -= 1;
    }
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(magnitude).as_bytes();
    if scale <= 0 {
        out.extend_from_slice(digits);
        if magnitude != 0 {
            out.resize(out.len() + usize::from(scale.unsigned_abs()), b'0');
        }
        return;
    }
    let scale = usize::from(scale.unsigned_abs());
    if digits.len() > scale {
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    } else {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + scale - digits.len(), b'0');
        out.extend_from_slice(digits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: i128, scale: i8, trim: bool) -> String {
        let mut out = Vec::new();
        write(&mut out, value, scale, trim);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn numbers_keep_every_digit() {
        assert_eq!(parse(b"12.34", 12, 2), Ok(1234));
        assert_eq!(parse(b"-0.005", 12, 2), Ok(-1));
        assert_eq!(parse(b"1.004999", 12, 2), Ok(100));
        assert_eq!(parse(b"1.5e3", 12, 2), Ok(150_000));
        assert_eq!(parse(b"15E-1", 12, 0), Ok(2));
        assert_eq!(parse(b"0.1", 38, 10), Ok(1_000_000_000));
        assert_eq!(parse(b".5", 3, 1), Ok(5));
        assert_eq!(parse(b"99999999999999999999999999999999999999", 38, 0), Ok(power_of_ten(38) - 1));
        assert_eq!(parse(b"0.000000000000000000000000000000000000000000000001e48", 38, 0), Ok(1));
        assert_eq!(
            parse(b"1234567890123456789012345678901234567895e-2", 38, 0),
            Ok(12_345_678_901_234_567_890_123_456_789_012_345_679)
        );
        assert_eq!(parse(b"0e999999999", 4, 2), Ok(0));
        assert_eq!(parse(b"1e-999999999", 4, 2), Ok(0));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(parse(b"10000000000", 12, 2), Err(Trouble::OutOfRange));
        assert_eq!(parse(b"9.995", 3, 2), Err(Trouble::OutOfRange));
        assert_eq!(parse(b"1e40", 38, 0), Err(Trouble::OutOfRange));
        assert_eq!(parse(b"1e999999999999999999999", 38, 0), Err(Trouble::OutOfRange));
        for wrong in ["", "-", "1.2.3", "1e", "abc", "1 ", "NaN", "."] {
            assert_eq!(parse(wrong.as_bytes(), 38, 0), Err(Trouble::NotANumber), "{wrong}");
        }
    }

    #[test]
    fn zeros_are_trimmed_where_the_scale_was_not_asked_for() {
        assert_eq!(text(1_250, 2, false), "12.50");
        assert_eq!(text(1_250, 2, true), "12.5");
        assert_eq!(text(-5, 3, false), "-0.005");
        assert_eq!(text(1_200, 2, true), "12");
        assert_eq!(text(12, -2, false), "1200");
        assert_eq!(text(0, 2, true), "0");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in -99_999_999_999_999_999_999_999_999_999_999_999_999i128..=99_999_999_999_999_999_999_999_999_999_999_999_999, scale in 0i8..=38, trim: bool) {
            prop_assert_eq!(parse(text(value, scale, trim).as_bytes(), 38, scale), Ok(value));
        }
    }
}
