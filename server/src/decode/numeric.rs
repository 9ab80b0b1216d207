//! Decimals from their two forms, into the precision and scale that the type has inside.

use engine::{Parameter, SqlType};

use super::binary::{Problem, fixed};
use super::{invalid_text, null};
use crate::error::WireError;

/// Decimal128 holds this many digits.
const MAX_PRECISION: u8 = 38;

/// From text: sign, digits, point, exponent.
pub(super) fn of_text(text: &str, typmod: Option<(u8, i8)>, sql_type: &SqlType) -> Result<Parameter, WireError> {
    let invalid = || invalid_text(sql_type, text);
    let (negative, unsigned) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    if ["nan", "inf", "infinity"].iter().any(|word| unsigned.eq_ignore_ascii_case(word)) {
        return Err(WireError::new("0A000", format!("numeric \"{text}\" is not supported"))
            .with_hint("double precision has NaN and infinities"));
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| invalid())?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(invalid());
    }
    let point = i64::try_from(whole.len()).expect("a text's length") + i64::from(exponent);
    of_digits(negative, &digits, point, typmod, sql_type)
}

/// From `numeric_recv`'s form.
pub(super) fn of_binary(bytes: &[u8], typmod: Option<(u8, i8)>, sql_type: &SqlType) -> Result<Parameter, Problem> {
    const POSITIVE: u16 = 0x0000;
    const NEGATIVE: u16 = 0x4000;
    const HEADER_BYTES: usize = 8;
    let word = |index: usize| -> Result<u16, Problem> {
        Ok(u16::from_be_bytes(fixed(bytes.get(index * 2..index * 2 + 2).ok_or(Problem::Shape)?)?))
    };
    let count = usize::from(word(0)?);
    let weight = word(1)? as i16;
    let sign = word(2)?;
    if bytes.len() != HEADER_BYTES + count * 2 {
        return Err(Problem::Shape);
    }
    if sign != POSITIVE && sign != NEGATIVE {
        return Err(WireError::new("0A000", "numeric NaN and infinities are not supported").into());
    }
    let mut digits = Vec::with_capacity(count * 4);
    for index in 0..count {
        let group = word(4 + index)?;
        if group > 9999 {
            return Err(Problem::Shape);
        }
        digits.extend(format!("{group:04}").bytes());
    }
    if digits.is_empty() {
        digits.push(b'0');
    }
    Ok(of_digits(sign == NEGATIVE, &digits, (i64::from(weight) + 1) * 4, typmod, sql_type)?)
}

/// `digits` with the point before position `point`, rounded half away from zero to the type's scale.
fn of_digits(
    negative: bool,
    digits: &[u8],
    point: i64,
    typmod: Option<(u8, i8)>,
    sql_type: &SqlType,
) -> Result<Parameter, WireError> {
    let Parameter::Decimal128(_, precision, scale) = null(sql_type)? else {
        return Err(WireError::new("XX000", format!("{sql_type} is not carried by a 128 bit decimal")));
    };
    let overflow = || {
        let error = WireError::new("22003", "numeric field overflow");
        match typmod {
            Some((precision, scale)) => WireError {
                detail: Some(format!(
                    "A field with precision {precision}, scale {scale} must round to an absolute value less than 10^{}.",
                    i16::from(precision) - i16::from(scale)
                )),
                ..error
            },
            None => WireError {
                detail: Some(format!("Plain numeric holds {precision} digits here, {scale} of them after the point.")),
                hint: Some("a numeric(p, s) with another scale may hold it".into()),
                ..error
            },
        }
    };
    let kept = point + i64::from(scale);
    let mut value: i128 = 0;
    for index in 0..kept.max(0) {
        let digit = usize::try_from(index).ok().and_then(|index| digits.get(index)).map_or(0, |digit| digit - b'0');
        if value == 0 && digit == 0 {
            // Zeros in front cost nothing; behind the last digit there is nothing to add.
            if index >= digits.len() as i64 {
                break;
            }
            continue;
        }
        value = value.checked_mul(10).and_then(|value| value.checked_add(i128::from(digit))).ok_or_else(overflow)?;
    }
    let lost = usize::try_from(kept.max(0)).ok().and_then(|kept| digits.get(kept..)).unwrap_or_default();
    if typmod.is_none() && lost.iter().any(|digit| *digit != b'0') {
        let error = WireError::new("22003", "numeric field overflow");
        return Err(WireError {
            detail: Some(format!("It has more than {scale} digits behind the point, which plain numeric holds here.")),
            hint: Some("a numeric(p, s) with a larger scale holds them, or rounds them to its own".into()),
            ..error
        });
    }
    if kept >= 0 && usize::try_from(kept).ok().and_then(|kept| digits.get(kept)).is_some_and(|digit| *digit >= b'5') {
        value += 1;
    }
    if precision <= MAX_PRECISION && value >= 10_i128.pow(u32::from(precision)) {
        return Err(overflow());
    }
    Ok(Parameter::Decimal128(Some(if negative { -value } else { value }), precision, scale))
}
