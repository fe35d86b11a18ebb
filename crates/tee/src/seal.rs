//! Models at rest, encrypted under a key that a broker releases.
//!
//! A file is a header (magic, SHA-256 of the model, version, the owner's policy, length) and
//! the model in chunks of 64 KiB, each ChaCha20-Poly1305 under a key made for this file, with
//! the header authenticated in every chunk and the chunk's number and whether it is the last
//! in the nonce (STREAM, Hoang et al. 2015, <https://eprint.iacr.org/2015/189>).
//!
//! Whether a file is the newest one it cannot say: that is the broker's to know.

use crate::error::Error;
use crate::policy::PolicyId;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// What a sealed model says of itself; known to be true once it has been opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// SHA-256 of the model.
    pub model: [u8; 32],
    /// Grows with each version.
    pub version: u64,
    /// The model owner's policy.
    pub policy: PolicyId,
    /// Length of the model, bytes.
    pub length: u64,
}

/// The key of one sealed model. No `Debug`; wiped when dropped.
pub struct ModelKey(pub(crate) Zeroizing<[u8; 32]>);

/// Encrypts `model` under a new key.
///
/// **Errors:** [`Error::Random`].
pub fn seal(model: &[u8], version: u64, policy: PolicyId) -> Result<(ModelKey, Vec<u8>), Error> {
    let mut key = ModelKey(Zeroizing::new([0; 32]));
    getrandom::fill(&mut *key.0).map_err(|_| Error::Random)?;
    let header = Header { model: Sha256::digest(model).into(), version, policy, length: model.len() as u64 };
    let mut out = header.to_bytes();
    let aad = out.clone();
    let cipher = key.cipher();
    // A model of no bytes is one empty chunk.
    let chunks = model.len().div_ceil(CHUNK).max(1);
    for i in 0..chunks {
        let chunk = model.get(i * CHUNK..).unwrap_or_default();
        let chunk = chunk.get(..CHUNK).unwrap_or(chunk);
        let sealed = cipher.encrypt(&nonce(i, i + 1 == chunks), Payload { msg: chunk, aad: &aad });
        out.extend(sealed.map_err(|_| Error::SealedModel("it cannot be encrypted"))?);
    }
    Ok((key, out))
}

/// Reads the header, which nothing vouches for yet.
///
/// **Errors:** [`Error::SealedModel`].
pub fn header(bytes: &[u8]) -> Result<Header, Error> {
    let cut = Error::SealedModel("it does not start as one");
    let rest = bytes.strip_prefix(MAGIC).ok_or(cut.clone())?;
    let (model, rest) = rest.split_first_chunk::<32>().ok_or(cut.clone())?;
    let (version, rest) = rest.split_first_chunk::<8>().ok_or(cut.clone())?;
    let (policy, rest) = rest.split_first_chunk::<32>().ok_or(cut.clone())?;
    let (length, _) = rest.split_first_chunk::<8>().ok_or(cut)?;
    Ok(Header {
        model: *model,
        version: u64::from_le_bytes(*version),
        policy: PolicyId(*policy),
        length: u64::from_le_bytes(*length),
    })
}

impl ModelKey {
    /// Decrypts a sealed model of version `least` or newer. Memory is taken for what is there,
    /// not for what the header announces.
    ///
    /// **Errors:** [`Error::SealedModel`], [`Error::Rollback`].
    pub fn open(&self, bytes: &[u8], least: u64) -> Result<(Header, Zeroizing<Vec<u8>>), Error> {
        let header = header(bytes)?;
        if header.version < least {
            return Err(Error::Rollback { version: header.version, least });
        }
        let (aad, sealed) = bytes.split_at_checked(HEADER).unwrap_or((bytes, &[]));
        let chunks = usize::try_from(header.length).ok().map(|n| (n, n.div_ceil(CHUNK).max(1)));
        let expected = chunks.and_then(|(n, chunks)| n.checked_add(chunks.checked_mul(TAG)?));
        let (Some((length, count)), Some(expected)) = (chunks, expected) else {
            return Err(Error::SealedModel("its length is no length"));
        };
        if sealed.len() != expected {
            return Err(Error::SealedModel("it is cut off, or goes on after its end"));
        }
        let cipher = self.cipher();
        let mut model = Zeroizing::new(Vec::with_capacity(length));
        for (i, chunk) in sealed.chunks(CHUNK + TAG).enumerate() {
            let opened = cipher.decrypt(&nonce(i, i + 1 == count), Payload { msg: chunk, aad });
            let opened = opened.map_err(|_| Error::SealedModel("it was changed, or has another key"))?;
            model.extend_from_slice(&Zeroizing::new(opened));
        }
        match Sha256::digest(&*model)[..] == header.model {
            true => Ok((header, model)),
            false => Err(Error::SealedModel("it is not the model that its header names")),
        }
    }

    /// From the bytes that [`ModelKey::expose`] gave.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    /// The key itself, for the file in which the model's owner keeps it.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new((&*self.0).into())
    }
}

impl Header {
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(self.model);
        out.extend(self.version.to_le_bytes());
        out.extend(self.policy.0);
        out.extend(self.length.to_le_bytes());
        out
    }
}

fn nonce(chunk: usize, last: bool) -> Nonce {
    let [a, b, c, d, e, f, g, h] = (chunk as u64).to_le_bytes();
    [a, b, c, d, e, f, g, h, u8::from(last), 0, 0, 0].into()
}

const MAGIC: &[u8; 8] = b"SROMODL1";
const HEADER: usize = 88;
const CHUNK: usize = 64 << 10;
const TAG: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POLICY: PolicyId = PolicyId([7; 32]);

    #[test]
    fn models_of_each_length_come_back() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let model: Vec<u8> = (0..length).map(|i| (i * 7) as u8).collect();
            let (key, sealed) = seal(&model, 4, POLICY).unwrap();
            assert_eq!(sealed.len(), HEADER + length + TAG * length.div_ceil(CHUNK).max(1));
            let (header, opened) = key.open(&sealed, 4).unwrap();
            assert!(*opened == model && header.version == 4 && header.policy == POLICY);
            let older = key.open(&sealed, 5).err();
            assert_eq!(older, Some(Error::Rollback { version: 4, least: 5 }));
        }
    }

    #[test]
    fn no_chunk_moves_and_no_byte_changes() {
        let model = vec![5; 2 * CHUNK + 100];
        let (key, sealed) = seal(&model, 1, POLICY).unwrap();
        assert!(!sealed.windows(32).any(|w| w == [5; 32]));
        for at in (0..HEADER).chain([HEADER, HEADER + CHUNK + TAG, sealed.len() - 1]) {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open(&changed, 0).is_err(), "byte {at}");
        }
        for length in [0, 7, HEADER - 1, HEADER, HEADER + CHUNK + TAG, sealed.len() - 1] {
            assert!(key.open(&sealed[..length], 0).is_err(), "{length} bytes");
        }
        let (first, second) = (HEADER..HEADER + CHUNK + TAG, HEADER + CHUNK + TAG..HEADER + 2 * (CHUNK + TAG));
        let swapped = [&sealed[..HEADER], &sealed[second.clone()], &sealed[first], &sealed[second.end..]].concat();
        assert!(key.open(&swapped, 0).is_err());
        // Cut at a chunk, with a header that says so.
        let mut shorter = sealed[..second.end].to_vec();
        shorter[HEADER - 8..HEADER].copy_from_slice(&(2 * CHUNK as u64).to_le_bytes());
        assert!(key.open(&shorter, 0).is_err());
        let (other, _) = seal(&model, 1, POLICY).unwrap();
        assert!(other.open(&sealed, 0).is_err());
    }

    proptest! {
        #[test]
        fn announced_lengths_allocate_nothing(tail in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (key, _) = seal(b"", 0, POLICY).unwrap();
            prop_assert!(key.open(&[&MAGIC[..], &tail].concat(), 0).is_err());
        }
    }
}
