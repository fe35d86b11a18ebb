//! Pseudo-random streams that never meet.
//!
//! A [`Seed`] is 32 bytes from the operating system, or derived from another seed under
//! a context. A [`Prg`] is AES-128 in counter mode under a key derived from a seed and a
//! *purpose*: two streams are equal only if seed and purpose are. A stream moves
//! forward only, so no part of it is handed out twice; its 2^64 blocks outlast any
//! session. AES is a permutation, so `q` blocks of one key differ from random ones with
//! advantage at most `q^2 / 2^129`: protocols derive new streams for every batch.
//!
//! Key derivation: BLAKE3 in its `derive_key` mode,
//! <https://github.com/BLAKE3-team/BLAKE3-specs>, section 2.3. Stream: AES-128-CTR, NIST
//! SP 800-38A section 6.5: a little-endian 64-bit counter, then a 64-bit nonce derived
//! with the key, so that no two keys encrypt the same blocks.

use aes::cipher::{Block, BlockCipherEncrypt, KeyInit};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// 32 secret bytes from which streams are derived.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Seed([u8; 32]);

/// The operating system gave no randomness.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no randomness ({0}); nothing secret can be made without it")]
pub struct EntropyError(String);

impl Seed {
    /// A fresh seed from the operating system.
    ///
    /// **Errors:** [`EntropyError`] when the system has no randomness to give.
    pub fn random() -> Result<Self, EntropyError> {
        let mut seed = Self([0; 32]);
        getrandom::fill(&mut seed.0).map_err(|e| EntropyError(e.to_string()))?;
        Ok(seed)
    }

    /// A seed from bytes agreed elsewhere: a key exchange, or a test's fixed value.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, to be sent to the one peer that shares this seed.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// An independent seed for `context` (for example a session id).
    pub fn derive(&self, context: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("subrosa 2026-11 seed derivation");
        hasher.update(&self.0);
        hasher.update(context);
        let mut hash = hasher.finalize();
        let seed = Self(*hash.as_bytes());
        hash.zeroize();
        hasher.zeroize();
        seed
    }

    /// The stream of this seed for `purpose`. Ask once: a second call starts the *same*
    /// stream again.
    pub fn stream(&self, purpose: &str) -> Prg {
        let mut hasher = blake3::Hasher::new_derive_key("subrosa 2026-11 aes-128-ctr stream");
        hasher.update(&self.0);
        hasher.update(purpose.as_bytes());
        let (mut key, mut nonce) = ([0u8; 16], [0u8; 8]);
        let mut output = hasher.finalize_xof();
        output.fill(&mut key);
        output.fill(&mut nonce);
        // By reference: an array made of the key would be a copy that nobody wipes.
        let aes = aes::Aes128::new((&key).into());
        output.zeroize();
        hasher.zeroize();
        key.zeroize();
        Prg { blocks: Blocks { aes, nonce, counter: 0 }, buffer: Zeroizing::new(), at: CHUNK }
    }
}

/// A forward-only pseudo-random stream. No `Clone`: a copy would repeat itself.
pub struct Prg {
    blocks: Blocks,
    buffer: Zeroizing,
    at: usize,
}

/// The cipher, which wipes its key when dropped, and what it encrypts next.
struct Blocks {
    aes: aes::Aes128,
    nonce: [u8; 8],
    counter: u64,
}

/// Bytes made at once: enough blocks to keep the AES pipeline full.
const CHUNK: usize = 1024;

#[derive(Zeroize, ZeroizeOnDrop)]
struct Zeroizing([u8; CHUNK]);

impl Zeroizing {
    fn new() -> Self {
        Self([0; CHUNK])
    }
}

impl Prg {
    /// Fills `out` with the next bytes of the stream.
    pub fn fill(&mut self, mut out: &mut [u8]) {
        while !out.is_empty() {
            if self.at == CHUNK {
                if out.len() >= CHUNK {
                    let (whole, rest) = out.split_at_mut(out.len() / CHUNK * CHUNK);
                    self.blocks.fill(whole);
                    out = rest;
                    continue;
                }
                self.blocks.fill(&mut self.buffer.0);
                self.at = 0;
            }
            let take = out.len().min(CHUNK - self.at);
            let (now, rest) = out.split_at_mut(take);
            now.copy_from_slice(&self.buffer.0[self.at..self.at + take]);
            // What was handed out stays in the buffer until it is made anew: the key next
            // to it would give it back anyway.
            self.at += take;
            out = rest;
        }
    }

    /// `n` random 32-bit words.
    pub fn u32s(&mut self, n: usize) -> Vec<u32> {
        self.words(n, u32::from_le_bytes)
    }

    /// `n` random 64-bit words.
    pub fn u64s(&mut self, n: usize) -> Vec<u64> {
        self.words(n, u64::from_le_bytes)
    }

    /// `n` words of `BYTES` bytes; the bytes pass through a buffer that stays in the cache.
    fn words<W, const BYTES: usize>(&mut self, n: usize, word: fn([u8; BYTES]) -> W) -> Vec<W> {
        let mut words = Vec::with_capacity(n);
        let mut buffer = Zeroizing::new();
        while words.len() < n {
            let bytes = CHUNK.min((n - words.len()) * BYTES);
            let bytes = &mut buffer.0[..bytes];
            self.fill(bytes);
            words.extend(bytes.as_chunks::<BYTES>().0.iter().map(|&bytes| word(bytes)));
        }
        words
    }
}

impl Blocks {
    /// Overwrites `out`, whose length is a multiple of [`CHUNK`], with whole blocks.
    fn fill(&mut self, out: &mut [u8]) {
        let (blocks, _) = Block::<aes::Aes128>::slice_as_chunks_mut(out);
        // Counters are written and encrypted while they are in the cache.
        for blocks in blocks.chunks_mut(CHUNK / 16) {
            for block in &mut *blocks {
                block[..8].copy_from_slice(&self.counter.to_le_bytes());
                block[8..].copy_from_slice(&self.nonce);
                self.counter += 1;
            }
            self.aes.encrypt_blocks(blocks);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(b: u8) -> Seed {
        Seed::from_bytes([b; 32])
    }

    #[test]
    fn a_stream_does_not_depend_on_how_it_is_read() {
        let mut whole = vec![0u8; 5000];
        seed(1).stream("a").fill(&mut whole);
        let mut prg = seed(1).stream("a");
        let mut parts = Vec::new();
        for n in [0, 1, 15, 16, 17, 1000, 1024, 2048, 879] {
            let mut part = vec![0u8; n];
            prg.fill(&mut part);
            parts.extend(part);
        }
        assert_eq!(whole, parts);
    }

    #[test]
    fn purposes_and_seeds_separate_streams() {
        let first = |s: Seed, p: &str| s.stream(p).u64s(4);
        assert_ne!(first(seed(1), "a"), first(seed(1), "b"));
        assert_ne!(first(seed(1), "a"), first(seed(2), "a"));
        assert_eq!(first(seed(1), "a"), first(seed(1), "a"));
        assert_ne!(seed(1).derive(b"x").expose(), seed(1).derive(b"y").expose());
    }

    /// SP 800-38A's cipher through our counter layout: block i is AES_k(le64(i) || nonce),
    /// checked against a direct call.
    #[test]
    fn the_stream_is_aes_in_counter_mode() {
        let mut hasher = blake3::Hasher::new_derive_key("subrosa 2026-11 aes-128-ctr stream");
        hasher.update(&[7; 32]);
        hasher.update(b"kat");
        let mut derived = [0u8; 24];
        hasher.finalize_xof().fill(&mut derived);
        let (key, nonce) = derived.split_at(16);
        let aes = aes::Aes128::new(key.try_into().unwrap());
        let mut block = Block::<aes::Aes128>::default();
        block[..8].copy_from_slice(&3u64.to_le_bytes());
        block[8..].copy_from_slice(nonce);
        aes.encrypt_block(&mut block);
        let mut got = vec![0u8; 64];
        seed(7).stream("kat").fill(&mut got);
        assert_eq!(&got[48..], block.as_slice());
    }

    #[test]
    fn bytes_are_balanced() {
        let mut bytes = vec![0u8; 1 << 18];
        seed(9).stream("chi").fill(&mut bytes);
        let mut counts = [0u32; 256];
        bytes.iter().for_each(|&b| counts[b as usize] += 1);
        let expect = bytes.len() as f64 / 256.0;
        let chi2: f64 = counts.iter().map(|&c| (f64::from(c) - expect).powi(2) / expect).sum();
        // 255 degrees of freedom: mean 255, standard deviation 22.6; six deviations either way.
        assert!((120.0..390.0).contains(&chi2), "chi-squared {chi2}");
    }
}
