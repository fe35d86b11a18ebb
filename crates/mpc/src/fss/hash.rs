//! The hash below every key: AES under one public key a batch, tweaked.
//!
//! `H(x, i) = pi(sigma(x) ^ i) ^ sigma(x)`, `sigma(l || r) = (l ^ r) || l`: Guo, Katz, Wang, Yu,
//! *Efficient and Secure Multiparty Computation from Fixed-Key Block Ciphers*,
//! <https://eprint.iacr.org/2019/074>, sections 4 and 7. `pi` is AES-128 under a key that is
//! drawn anew for every batch and is known to all.
//!
//! **Assumption:** AES under a random public key is an ideal cipher. Then `H` is tweakable correlation
//! robust; the trees here ask less of it, that it is a pseudo-random generator on seeds that
//! are uniform and independent of what the adversary sees. With `q` hashes a batch and `p`
//! AES calls of the adversary under that key, the advantage is at most about
//! `(p q + q^2) / 2^128`. Other batches have other keys, so what is spent on one batch does not
//! count in another (the attack of <https://eprint.iacr.org/2019/1168>, section 3, is on one
//! key for all).

use aes::Aes128;
use aes::cipher::{Block, BlockCipherEncrypt, KeyInit};

/// The hash of one batch.
pub struct Hash {
    aes: Aes128,
}

/// Bytes of a batch's public key.
pub(crate) const KEY_BYTES: usize = 16;

impl Hash {
    /// Under this public key.
    pub fn new(key: [u8; KEY_BYTES]) -> Self {
        Self { aes: Aes128::new(&key.into()) }
    }

    /// `pi` of each pair of words, in place.
    pub(super) fn permute(&self, pairs: &mut [u64]) {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(pairs);
        let (blocks, _) = Block::<Aes128>::slice_as_chunks_mut(bytes);
        self.aes.encrypt_blocks(blocks);
    }
}

/// `sigma`: linear, and `sigma(x) ^ x` is a permutation too.
#[inline(always)]
pub(super) fn sigma([l, r]: [u64; 2]) -> [u64; 2] {
    [l ^ r, l]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 197, appendix C.1.
    #[test]
    fn the_permutation_is_aes() {
        let key = std::array::from_fn(|i| i as u8);
        let plain: [u8; 16] = std::array::from_fn(|i| (i * 0x11) as u8);
        let mut pair = [0, 8].map(|at| u64::from_le_bytes(plain[at..at + 8].try_into().unwrap()));
        Hash::new(key).permute(&mut pair);
        assert_eq!(pair.map(u64::swap_bytes), [0x69c4_e0d8_6a7b_0430, 0xd8cd_b780_70b4_c55a]);
    }

    #[test]
    fn sigma_is_an_orthomorphism() {
        let mut seen = std::collections::BTreeSet::new();
        for x in 0..256u64 {
            let [l, r] = sigma([x >> 4, x & 15]);
            assert!(seen.insert((l, r)) && seen.insert((l ^ x >> 4 | 16, r ^ x & 15)));
        }
    }
}
