//! The server's role in a process that stays: keys and requests come as bytes and go as bytes.

use crate::model::hex;
use crate::plan::Plan;
use crate::{Error, Result};
use subrosa_he::{Server, files, incoming};
use subrosa_lattice::EvaluationKeys;

/// A model that is computed on ciphertexts. It holds the encoded weights, and no key.
pub struct Service {
    server: Server,
    plan: Vec<u8>,
    digest: files::Digest,
    key_bytes: usize,
}

/// A client's evaluation keys. With them a server computes; it cannot decrypt.
pub struct Keys {
    id: KeysId,
    keys: EvaluationKeys,
    bytes: usize,
}

/// What names evaluation keys: BLAKE3 of their file.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeysId([u8; 32]);

impl Service {
    /// Encodes the weights; evaluations take `threads >= 1` threads.
    ///
    /// **Errors:** [`Error::Misuse`] for a plan of another backend, or a number of threads that
    /// cannot be; [`Error::Plan`], [`Error::Io`].
    pub fn new(plan: &Plan, threads: usize) -> Result<Self> {
        crate::plan::check_threads(threads)?;
        let Some(ckks) = &plan.inner.ckks else {
            return Err(Error::misuse("only a plan via ckks is computed on ciphertexts", "add --via ckks"));
        };
        let public = &ckks.plan.public;
        let mut server = Server::new(&ckks.plan)?;
        server.set_threads(threads)?;
        Ok(Self { server, plan: public.to_bytes(), digest: public.digest(), key_bytes: public.key_file_bytes() })
    }

    /// The plan's file, as [`super::roles::save_plan`] writes it.
    pub fn plan_file(&self) -> &[u8] {
        &self.plan
    }

    /// BLAKE3 of the plan, by which requests and answers name it, in hexadecimal.
    pub fn plan_digest(&self) -> String {
        hex(&self.digest)
    }

    /// Samples in one evaluation.
    pub fn batch(&self) -> usize {
        self.server.plan().batch()
    }

    /// Bytes of a file of evaluation keys for this plan: of each the same.
    pub fn key_file_bytes(&self) -> usize {
        self.key_bytes
    }

    /// Bytes that evaluation keys for this plan take in memory.
    pub fn key_memory(&self) -> u64 {
        self.server.plan().key_memory()
    }

    /// Bytes of a request: of each the same.
    pub fn request_bytes(&self) -> usize {
        super::request_bytes(self.server.plan())
    }

    /// Whether these are evaluation keys for this plan, as far as can be told before they are
    /// decoded.
    pub fn is_for(&self, keys: &[u8]) -> bool {
        incoming::carries(keys, &self.plan)
    }

    /// Reads evaluation keys. What they carry of a plan must be this plan: one of somebody
    /// else's choice could ask for any amount of memory.
    ///
    /// **Errors:** [`Error::Input`] for what is damaged, or of another plan.
    pub fn read_keys(&self, bytes: &[u8]) -> Result<Keys> {
        if !self.is_for(bytes) {
            return Err(Error::input("the evaluation keys are of another plan", "make keys for this model's plan"));
        }
        let (_, keys, digest) = files::bundle_from_bytes(bytes)?;
        Ok(Keys { id: KeysId(digest), keys, bytes: bytes.len() })
    }

    /// The keys that a request for this plan names.
    ///
    /// **Errors:** [`Error::Input`] for what is no request, or one of another plan.
    pub fn keys_of(&self, request: &[u8]) -> Result<KeysId> {
        let names = incoming::names(request)?;
        if names.plan == self.digest {
            return Ok(KeysId(names.keys));
        }
        Err(Error::input("the request is of another plan", "fetch the model's plan and make keys for it"))
    }

    /// Computes a request; gives the answer's bytes and the samples in it.
    ///
    /// **Errors:** [`Error::Input`] for a request that is damaged, or of other keys.
    pub fn evaluate(&self, keys: &Keys, request: &[u8]) -> Result<(Vec<u8>, usize)> {
        let plan = self.server.plan();
        let input = files::request_from_bytes(plan, &keys.id.0, request)?;
        let output = self.server.evaluate(&keys.keys, input)?;
        Ok((files::answer_to_bytes(plan, &keys.id.0, &output), output.samples))
    }
}

impl Keys {
    /// What names them.
    pub fn id(&self) -> KeysId {
        self.id
    }

    /// Bytes of their file.
    pub fn file_bytes(&self) -> usize {
        self.bytes
    }
}

impl KeysId {
    /// The name of a file of evaluation keys.
    pub fn of(file: &[u8]) -> Self {
        Self(*blake3::hash(file).as_bytes())
    }

    /// Its bytes.
    pub(crate) fn digest(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 hexadecimal digits, lower case.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
        let digit = |c: u8| match c {
            b'0'..=b'9' => Some(c - b'0'),
            b'a'..=b'f' => Some(c - b'a' + 10),
            _ => None,
        };
        let mut id = [0; 32];
        for (byte, [high, low]) in id.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Some(Self(id))
    }
}

impl std::fmt::Display for KeysId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_spelling() {
        let id = KeysId::of(b"keys");
        let text = id.to_string();
        assert!(KeysId::parse(&text) == Some(id));
        for wrong in [&text[1..], &text.to_uppercase(), &text.replace(|c: char| c.is_ascii_digit(), "g"), ""] {
            assert!(KeysId::parse(wrong).is_none(), "{wrong}");
        }
    }
}
