//! Words on the wire: only their low bits, densely packed.
//!
//! Word `i` occupies bits `i * bits ..` of the message, least significant bit of the
//! first byte first; the last byte is filled up with zeros.

use crate::word::{Word, mask};

/// Bytes that [`pack`] makes of `n` words of `bits` bits.
pub const fn packed_len(n: usize, bits: u32) -> usize {
    (n * bits as usize).div_ceil(8)
}

/// The low `bits` bits of each word, densely packed; `1 <= bits <= 64`. Bits that the
/// word does not have are zero.
pub fn pack<W: Word>(words: &[W], bits: u32) -> Vec<u8> {
    let mut bytes = vec![0; packed_len(words.len(), bits)];
    match bits {
        8 => pack_bytes::<W, 1>(words, &mut bytes),
        16 => pack_bytes::<W, 2>(words, &mut bytes),
        32 => pack_bytes::<W, 4>(words, &mut bytes),
        48 => pack_bytes::<W, 6>(words, &mut bytes),
        64 => pack_bytes::<W, 8>(words, &mut bytes),
        _ => pack_bits(words, bits, &mut bytes),
    }
    bytes
}

/// The first `n` words of `bits` bits of a packed message, `1 <= bits <= 64`, each modulo
/// 2^BITS.
///
/// **Panics** if there are not exactly [`packed_len`]`(n, bits)` bytes; a session hands
/// over messages of the length that was asked for only.
pub fn unpack<W: Word>(bytes: &[u8], bits: u32, n: usize) -> Vec<W> {
    assert_eq!(bytes.len(), packed_len(n, bits), "a message of {n} words of {bits} bits");
    match bits {
        8 => unpack_bytes::<W, 1>(bytes),
        16 => unpack_bytes::<W, 2>(bytes),
        32 => unpack_bytes::<W, 4>(bytes),
        48 => unpack_bytes::<W, 6>(bytes),
        64 => unpack_bytes::<W, 8>(bytes),
        _ => unpack_bits(bytes, bits, n),
    }
}

fn pack_bytes<W: Word, const BYTES: usize>(words: &[W], out: &mut [u8]) {
    for (out, word) in out.as_chunks_mut::<BYTES>().0.iter_mut().zip(words) {
        let le = word.to_u64().to_le_bytes();
        out.copy_from_slice(&le[..BYTES]);
    }
}

fn unpack_bytes<W: Word, const BYTES: usize>(bytes: &[u8]) -> Vec<W> {
    let word = |bytes: &[u8; BYTES]| {
        let mut le = [0; 8];
        le[..BYTES].copy_from_slice(bytes);
        W::from_u64(u64::from_le_bytes(le))
    };
    bytes.as_chunks::<BYTES>().0.iter().map(word).collect()
}

/// `bits < 64` and no whole number of bytes: bits collect in `held` and leave it 64 at a
/// time.
fn pack_bits<W: Word>(words: &[W], bits: u32, out: &mut [u8]) {
    let mask = mask(bits);
    let (mut held, mut count) = (0u64, 0u32);
    let mut at = 0;
    for word in words {
        let word = word.to_u64() & mask;
        held |= word << count;
        count += bits;
        if count >= 64 {
            out[at..at + 8].copy_from_slice(&held.to_le_bytes());
            at += 8;
            count -= 64;
            // `bits - count` of the word's bits have left, at least one and so fewer than 64.
            held = word >> (bits - count);
        }
    }
    let rest = out.len() - at;
    out[at..].copy_from_slice(&held.to_le_bytes()[..rest]);
}

fn unpack_bits<W: Word>(bytes: &[u8], bits: u32, n: usize) -> Vec<W> {
    let mask = mask(bits);
    let (mut held, mut count) = (0u64, 0u32);
    let mut rest = bytes;
    let next = || {
        if count >= bits {
            let word = held & mask;
            held >>= bits;
            count -= bits;
            return W::from_u64(word);
        }
        let more;
        (more, rest) = eight(rest);
        let word = (held | more << count) & mask;
        let used = bits - count;
        held = more >> used;
        count = 64 - used;
        W::from_u64(word)
    };
    std::iter::repeat_with(next).take(n).collect()
}

/// The next eight bytes as a number, zeros beyond the end, and what follows.
#[inline(always)]
fn eight(bytes: &[u8]) -> (u64, &[u8]) {
    if let Some((first, rest)) = bytes.split_first_chunk() {
        return (u64::from_le_bytes(*first), rest);
    }
    let mut le = [0; 8];
    le[..bytes.len()].copy_from_slice(bytes);
    (u64::from_le_bytes(le), &[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bit `j` of word `i` is bit `i * bits + j` of the message.
    fn naive(words: &[u64], bits: u32) -> Vec<u8> {
        let mut bytes = vec![0; packed_len(words.len(), bits)];
        for (i, word) in words.iter().enumerate() {
            for j in 0..bits as usize {
                let at = i * bits as usize + j;
                bytes[at / 8] |= ((word >> j & 1) as u8) << (at % 8);
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn packing_is_dense_and_loses_only_high_bits(words in prop::collection::vec(any::<u64>(), 0..70), bits in 1u32..=64) {
            let bytes = pack(&words, bits);
            prop_assert_eq!(&bytes, &naive(&words, bits));
            let low: Vec<u64> = words.iter().map(|w| w & mask(bits)).collect();
            prop_assert_eq!(unpack::<u64>(&bytes, bits, words.len()), low);
            let narrow: Vec<u32> = words.iter().map(|&w| w as u32).collect();
            let bytes = pack(&narrow, bits);
            let low: Vec<u32> = narrow.iter().map(|&w| (u64::from(w) & mask(bits)) as u32).collect();
            prop_assert_eq!(unpack::<u32>(&bytes, bits, narrow.len()), low);
        }

        #[test]
        fn any_bytes_unpack(bytes in prop::collection::vec(any::<u8>(), 0..200), bits in 1u32..=64) {
            let n = bytes.len() * 8 / bits as usize;
            let words = unpack::<u64>(&bytes[..packed_len(n, bits)], bits, n);
            prop_assert!(words.iter().all(|w| w & !mask(bits) == 0));
        }
    }
}
