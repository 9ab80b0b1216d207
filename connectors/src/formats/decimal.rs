//! Numbers with a fixed scale, exactly.

/// Why a text is no value of a numeric type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It is no number.
    NotANumber,
    /// It has more digits before the point than the type.
    OutOfRange,
    /// It has more digits behind the point than a type without a scale of its own holds.
    TooManyDigits,
}

/// 10^38 - 1 is the largest number of 38 digits.
fn power_of_ten(exponent: u32) -> i128 {
    10i128.pow(exponent)
}

/// The value for a column; `exact` as in [`parse_exact`].
#[inline]
pub(crate) fn of_column(text: &[u8], precision: u8, scale: i8, exact: bool) -> Result<i128, Trouble> {
    if exact { parse_exact(text, precision, scale) } else { parse(text, precision, scale) }
}

/// As [`parse`], but digits behind the scale are no number to round: the type was given no scale to round to.
fn parse_exact(text: &[u8], precision: u8, scale: i8) -> Result<i128, Trouble> {
    match parse(text, precision, scale)? {
        value if fraction_digits(text) <= i64::from(scale) => Ok(value),
        _ => Err(Trouble::TooManyDigits),
    }
}

/// Digits behind the point that a number needs: without zeros at its end.
fn fraction_digits(text: &[u8]) -> i64 {
    let end = text.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(text.len());
    let exponent = text.get(end + 1..).and_then(|text| exponent(text).ok()).unwrap_or(0);
    let mantissa = &text[..end];
    let point = mantissa.iter().position(|byte| *byte == b'.').unwrap_or(mantissa.len());
    let last = mantissa.iter().rposition(|byte| matches!(byte, b'1'..=b'9'));
    match last {
        None => 0,
        // Counted from the point: below zero in front of it.
        Some(last) if last > point => (last - point) as i64 - exponent,
        Some(last) => last as i64 + 1 - point as i64 - exponent,
    }
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
    fn digits_are_not_lost_where_no_scale_was_asked_for() {
        assert_eq!(parse_exact(b"0.1234567890", 38, 10), Ok(1_234_567_890));
        assert_eq!(parse_exact(b"12345678901e-10", 38, 10), Ok(12_345_678_901));
        assert_eq!(parse_exact(b"1.50e-9", 38, 10), Ok(15));
        assert_eq!(parse_exact(b"100e-12", 38, 10), Ok(1));
        for lost in ["0.12345678901", "1e-11", "1.5e-10", "-0.00000000001"] {
            assert_eq!(parse_exact(lost.as_bytes(), 38, 10), Err(Trouble::TooManyDigits), "{lost}");
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
