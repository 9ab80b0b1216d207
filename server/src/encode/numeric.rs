//! Decimals in PostgreSQL's two forms.

use bytes::{BufMut, BytesMut};

/// `numeric` as text: every digit of the scale, or with `trim` no zeros at the end of the fraction.
pub(crate) fn write_text(value: i128, scale: i8, trim: bool, out: &mut BytesMut) {
    if value < 0 {
        out.put_u8(b'-');
    }
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value.unsigned_abs()).as_bytes();
    if scale <= 0 {
        out.put_slice(digits);
        if value != 0 {
            out.put_bytes(b'0', usize::from(scale.unsigned_abs()));
        }
        return;
    }
    let scale = usize::from(scale.unsigned_abs());
    let kept = if trim { scale - trailing_zeros(digits, scale) } else { scale };
    if digits.len() > scale {
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        out.put_slice(whole);
        if kept > 0 {
            out.put_u8(b'.');
            out.put_slice(&fraction[..kept]);
        }
    } else {
        out.put_u8(b'0');
        if kept > 0 {
            let zeros = scale - digits.len();
            out.put_u8(b'.');
            out.put_bytes(b'0', zeros.min(kept));
            out.put_slice(&digits[..kept.saturating_sub(zeros)]);
        }
    }
}

/// Zeros at the end of a fraction of `scale` digits (`digits` may be fewer: the missing ones are zeros in front).
fn trailing_zeros(digits: &[u8], scale: usize) -> usize {
    if digits == b"0" {
        return scale;
    }
    digits.iter().rev().take(scale).take_while(|digit| **digit == b'0').count()
}

/// Digits of a decimal and the zeros that a group of four may add at each end.
const MAX_DIGITS: usize = 39 + 128 + 8;

/// `numeric` as `numeric_send` writes it: base 10,000 digits with the weight of the first, sign and display scale.
pub(crate) fn write_binary(value: i128, scale: i8, trim: bool, out: &mut BytesMut) {
    const GROUP: usize = 4;
    const POSITIVE: u16 = 0x0000;
    const NEGATIVE: u16 = 0x4000;
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value.unsigned_abs()).as_bytes();
    let fraction = usize::from(scale.max(0).unsigned_abs());
    let zeros_behind = usize::from(scale.min(0).unsigned_abs());
    let display_scale = if trim { fraction - trailing_zeros(digits, fraction) } else { fraction };

    // The decimal point lies on a border between groups: pad the fraction behind and the whole part in front.
    let fraction_padding = fraction.next_multiple_of(GROUP) - fraction;
    let significant = digits.len().max(fraction + 1) + zeros_behind;
    let whole = significant - fraction;
    let front = whole.next_multiple_of(GROUP) - whole;
    let total = front + significant + fraction_padding;
    let mut padded = [b'0'; MAX_DIGITS];
    let end = total - fraction_padding - zeros_behind;
    padded[end - digits.len()..end].copy_from_slice(digits);

    let mut groups = [0_u16; MAX_DIGITS / GROUP + 1];
    let count = total / GROUP;
    for (group, four) in groups.iter_mut().zip(padded[..total].chunks_exact(GROUP)) {
        *group = four.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    }
    let whole_groups = (whole + front) / GROUP;
    let groups = &groups[..count];
    let first = groups.iter().position(|group| *group != 0);
    let (digits, weight) = match first {
        None => (&groups[..0], 0),
        Some(first) => {
            let last = groups.iter().rposition(|group| *group != 0).expect("one isn't zero");
            (&groups[first..=last], whole_groups as i16 - 1 - first as i16)
        }
    };
    out.put_u16(digits.len() as u16);
    out.put_i16(weight);
    out.put_u16(if value < 0 { NEGATIVE } else { POSITIVE });
    out.put_u16(display_scale as u16);
    for digit in digits {
        out.put_u16(*digit);
    }
}
