//! A checksum for bytes that are handed to decoders which trust them: compressed and nested columns, outbox entries. RocksDB's own
//! checksums cover what lies on disk; this one covers what stood in memory on the way there.

/// Of a multiplication that spreads each bit over the upper half of the word.
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

/// A change of any eight neighbouring bytes changes it, other changes do but for one in four billion. The same on every machine.
pub fn checksum(bytes: &[u8]) -> u32 {
    let mix = |state: u64, word: u64| (state ^ word).wrapping_mul(FACTOR).rotate_left(29);
    let (words, rest) = bytes.as_chunks::<8>();
    let state = words.iter().fold(bytes.len() as u64, |state, word| mix(state, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let state = mix(mix(state, u64::from_le_bytes(last)), 0);
    (state ^ (state >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::checksum;

    #[test]
    fn every_flipped_bit_and_every_lost_byte_shows() {
        let bytes: Vec<u8> = (0..77_u8).map(|i| i.wrapping_mul(31)).collect();
        let whole = checksum(&bytes);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(checksum(&flipped), whole, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_ne!(checksum(&bytes[..len]), whole, "{len} bytes");
        }
        assert_ne!(checksum(&[]), checksum(&[0]));
        assert_ne!(checksum(&[0; 8]), checksum(&[0; 16]));
    }
}
