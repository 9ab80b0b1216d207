//! Floats as PostgreSQL prints them: the shortest text that reads back the same, or a number of digits.

use bytes::{BufMut, BytesMut};

/// Digits of a double before `extra_float_digits` comes in.
const DOUBLE_DIGITS: i32 = 15;
/// Digits of a real before `extra_float_digits` comes in.
const REAL_DIGITS: i32 = 6;

/// `double precision`.
pub(crate) fn write_double(value: f64, extra_float_digits: i32, out: &mut BytesMut) {
    if !value.is_finite() {
        return write_special(value, out);
    }
    if extra_float_digits > 0 {
        let mut buffer = ryu::Buffer::new();
        write_shortest(buffer.format_finite(value), DOUBLE_DIGITS, out);
    } else {
        write_digits(value, DOUBLE_DIGITS + extra_float_digits, out);
    }
}

/// `real`.
pub(crate) fn write_real(value: f32, extra_float_digits: i32, out: &mut BytesMut) {
    if !value.is_finite() {
        return write_special(f64::from(value), out);
    }
    if extra_float_digits > 0 {
        let mut buffer = ryu::Buffer::new();
        write_shortest(buffer.format_finite(value), REAL_DIGITS, out);
    } else {
        write_digits(f64::from(value), REAL_DIGITS + extra_float_digits, out);
    }
}

fn write_special(value: f64, out: &mut BytesMut) {
    out.put_slice(if value.is_nan() {
        b"NaN"
    } else if value > 0.0 {
        b"Infinity"
    } else {
        b"-Infinity"
    });
}

/// Takes ryu's text (`1.5`, `1e20`, `-0.0`) apart and lays its digits out as C's `%g` would.
fn write_shortest(text: &str, precision: i32, out: &mut BytesMut) {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if negative {
        out.put_u8(b'-');
    }
    let (mantissa, exponent) = match text.split_once('e') {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().expect("ryu writes an integer after e")),
        None => (text, 0),
    };
    // Digits without the point, and how many of them stand before it.
    let mut digits = [0_u8; 40];
    let mut count = 0;
    let mut before_point = 0;
    let mut seen_point = false;
    for byte in mantissa.bytes() {
        if byte == b'.' {
            seen_point = true;
            continue;
        }
        digits[count] = byte;
        count += 1;
        if !seen_point {
            before_point += 1;
        }
    }
    let mut digits = &digits[..count];
    while let [b'0', rest @ ..] = digits {
        digits = rest;
        before_point -= 1;
    }
    while let [rest @ .., b'0'] = digits {
        digits = rest;
    }
    if digits.is_empty() {
        out.put_u8(b'0');
        return;
    }
    write_general(digits, before_point + exponent - 1, precision, out);
}

/// `%.{precision}g` of C.
fn write_digits(value: f64, precision: i32, out: &mut BytesMut) {
    let precision = precision.max(1);
    let text = format!("{value:.*e}", usize::try_from(precision - 1).expect("it is at least 1"));
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.as_str()),
    };
    if negative {
        out.put_u8(b'-');
    }
    let (mantissa, exponent) = text.split_once('e').expect("an exponent was asked for");
    let exponent: i32 = exponent.parse().expect("it is an integer");
    let digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    let significant = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
    if significant == 0 {
        out.put_u8(b'0');
        return;
    }
    write_general(&digits[..significant], exponent, precision, out);
}

/// Digits `d.ddd` times ten to the `exponent`: plain if that is short, else with an exponent.
fn write_general(digits: &[u8], exponent: i32, precision: i32, out: &mut BytesMut) {
    let count = digits.len() as i32;
    if exponent < -4 || exponent >= precision {
        out.put_u8(digits[0]);
        if count > 1 {
            out.put_u8(b'.');
            out.put_slice(&digits[1..]);
        }
        out.put_u8(b'e');
        out.put_u8(if exponent < 0 { b'-' } else { b'+' });
        let exponent = exponent.unsigned_abs();
        if exponent < 10 {
            out.put_u8(b'0');
        }
        out.put_slice(itoa::Buffer::new().format(exponent).as_bytes());
    } else if exponent < 0 {
        out.put_slice(b"0.");
        out.put_bytes(b'0', (-exponent - 1) as usize);
        out.put_slice(digits);
    } else if count <= exponent + 1 {
        out.put_slice(digits);
        out.put_bytes(b'0', (exponent + 1 - count) as usize);
    } else {
        let (whole, fraction) = digits.split_at((exponent + 1) as usize);
        out.put_slice(whole);
        out.put_u8(b'.');
        out.put_slice(fraction);
    }
}
