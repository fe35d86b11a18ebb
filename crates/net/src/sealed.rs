//! Messages to a party through the hands of somebody who must not read them, and the answers.
//!
//! HPKE (RFC 9180) in base mode: X25519, HKDF-SHA256, ChaCha20-Poly1305. The sender knows the
//! encapsulated key before the message, so that messages to several parties can name each other
//! ([`Sending::encapsulated`]). The answer is encrypted under a secret exported from the message's
//! context, as in Oblivious HTTP (RFC 9458 §4.4).
//!
//! Not given: who the sender is, secrecy against whoever gets the sealing key while it is in use, and
//! secrecy against a quantum computer of the future.

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use hpke::aead::{AeadCtxR, AeadCtxS};
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use zeroize::Zeroizing;

/// Bytes of a sealing key's public half.
pub const KEY: usize = 32;

/// Bytes of an encapsulated key.
pub const ENCAPSULATED: usize = 32;

/// Bytes by which a sealed message is longer, its encapsulated key not counted.
pub const MESSAGE_OVERHEAD: usize = 16;

/// Bytes by which a sealed answer is longer.
pub const ANSWER_OVERHEAD: usize = NONCE + 16;

/// Why something was not sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The operating system gave no randomness.
    #[error("the operating system gives no random bytes")]
    Random,
    /// A public key that is none.
    #[error("a sealing key is none")]
    Key,
    /// It was changed, or was not sealed to this key, for this use.
    #[error("a sealed message was changed on its way, or is not for this key or this use")]
    Message,
}

type Sender = AeadCtxS<hpke::aead::ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>;
type Receiver = AeadCtxR<hpke::aead::ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>;

/// What messages are sealed to. No `Debug`: it holds a private key.
pub struct SealingKey {
    secret: <X25519HkdfSha256 as Kem>::PrivateKey,
    public: [u8; KEY],
}

impl SealingKey {
    /// A new one.
    ///
    /// **Errors:** [`SealError::Random`].
    pub fn generate() -> Result<Self, SealError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(|_| SealError::Random)?;
        let (secret, public) = X25519HkdfSha256::derive_keypair(&*seed);
        Ok(Self { secret, public: public.to_bytes().into() })
    }

    /// What senders know.
    pub fn public(&self) -> [u8; KEY] {
        self.public
    }

    /// Opens what was sealed to this key for `info` and `bound`. The same message opens again: who
    /// must not act on it twice remembers [`Owed::name`].
    ///
    /// **Errors:** [`SealError::Message`].
    pub fn open(
        &self,
        encapsulated: &[u8; ENCAPSULATED],
        info: &[u8],
        bound: &[u8],
        sealed: &[u8],
    ) -> Result<(Zeroizing<Vec<u8>>, Owed), SealError> {
        let wrong = |_| SealError::Message;
        let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(encapsulated).map_err(wrong)?;
        let mut context: Receiver =
            hpke::setup_receiver(&OpModeR::Base, &self.secret, &encapsulated, info).map_err(wrong)?;
        let opened = Zeroizing::new(context.open(sealed, bound).map_err(wrong)?);
        Ok((opened, Owed { context }))
    }
}

/// A message that is about to be sealed.
pub struct Sending {
    encapsulated: [u8; ENCAPSULATED],
    context: Sender,
}

impl Sending {
    /// One to `key`, for the use that `info` names.
    ///
    /// **Errors:** [`SealError::Key`], [`SealError::Random`].
    pub fn begin(key: &[u8; KEY], info: &[u8]) -> Result<Self, SealError> {
        // hpke panics without random bytes; a system that has some now does not run out of them.
        getrandom::fill(&mut [0; 1]).map_err(|_| SealError::Random)?;
        let key = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(key).map_err(|_| SealError::Key)?;
        let begun = hpke::setup_sender(&OpModeS::Base, &key, info);
        let (encapsulated, context): (_, Sender) = begun.map_err(|_| SealError::Key)?;
        Ok(Self { encapsulated: encapsulated.to_bytes().into(), context })
    }

    /// What the receiver needs beside the message. Public, and never the same twice.
    pub fn encapsulated(&self) -> [u8; ENCAPSULATED] {
        self.encapsulated
    }

    /// Seals the message, which opens together with `bound` only. What is returned with it opens the
    /// answer.
    ///
    /// **Errors:** [`SealError::Message`] for one beyond the cipher's limits.
    pub fn seal(mut self, bound: &[u8], message: &[u8]) -> Result<(Vec<u8>, Awaited), SealError> {
        let sealed = self.context.seal(message, bound).map_err(|_| SealError::Message)?;
        Ok((sealed, Awaited { context: self.context }))
    }
}

/// A message's answer, not here yet. It opens one answer.
pub struct Awaited {
    context: Sender,
}

impl Awaited {
    /// Decrypts the answer.
    ///
    /// **Errors:** [`SealError::Message`] if it is not the answer to this message, by whoever opened it.
    pub fn open(self, answer: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (nonce, sealed) = answer.split_first_chunk::<NONCE>().ok_or(SealError::Message)?;
        let cipher = answer_cipher(nonce, |label, out| self.context.export(label, out).is_ok())?;
        let opened = cipher.decrypt(&Default::default(), Payload { msg: sealed, aad: ANSWER });
        opened.map(Zeroizing::new).map_err(|_| SealError::Message)
    }
}

/// An answer that is owed. It seals one answer.
pub struct Owed {
    context: Receiver,
}

impl Owed {
    /// The message's name: of its secret and not of its bytes, so that two spellings of one message
    /// share it.
    ///
    /// **Errors:** none that a message brings about.
    pub fn name(&self) -> Result<[u8; 32], SealError> {
        let mut name = [0; 32];
        self.context.export(b"subrosa-net/replay/1", &mut name).map_err(|_| SealError::Message)?;
        Ok(name)
    }

    /// Encrypts the answer to whoever sent the message.
    ///
    /// **Errors:** [`SealError::Random`].
    pub fn seal(self, answer: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|_| SealError::Random)?;
        let cipher = answer_cipher(&nonce, |label, out| self.context.export(label, out).is_ok())?;
        let sealed = cipher.encrypt(&Default::default(), Payload { msg: answer, aad: ANSWER });
        Ok([&nonce[..], &sealed.map_err(|_| SealError::Message)?].concat())
    }
}

/// Each answer has a key of its own, so one nonce is enough for all.
fn answer_cipher(
    nonce: &[u8; NONCE],
    export: impl FnOnce(&[u8], &mut [u8]) -> bool,
) -> Result<ChaCha20Poly1305, SealError> {
    let mut key = Zeroizing::new([0; 32]);
    let label = [&b"subrosa-net/answer/1"[..], nonce].concat();
    export(&label, &mut *key).then(|| ChaCha20Poly1305::new((&*key).into())).ok_or(SealError::Message)
}

const ANSWER: &[u8] = b"SROSANS1";
const NONCE: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_and_its_answer_open_once_for_their_use_and_whole() {
        let (key, other) = (SealingKey::generate().unwrap(), SealingKey::generate().unwrap());
        let sending = Sending::begin(&key.public(), b"use").unwrap();
        let encapsulated = sending.encapsulated();
        let (sealed, awaited) = sending.seal(b"bound", b"a share").unwrap();
        assert_eq!(sealed.len(), 7 + MESSAGE_OVERHEAD);
        let (opened, owed) = key.open(&encapsulated, b"use", b"bound", &sealed).unwrap();
        assert_eq!(opened.as_slice(), b"a share");
        // The same one again, for whoever remembers: it has the same name.
        let (_, again) = key.open(&encapsulated, b"use", b"bound", &sealed).unwrap();
        assert_eq!(owed.name(), again.name());

        assert!(other.open(&encapsulated, b"use", b"bound", &sealed).is_err());
        assert!(key.open(&encapsulated, b"uses", b"bound", &sealed).is_err());
        assert!(key.open(&encapsulated, b"use", b"bounds", &sealed).is_err());
        assert!(key.open(&[0; ENCAPSULATED], b"use", b"bound", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open(&encapsulated, b"use", b"bound", &changed).is_err(), "byte {at}");
            assert!(key.open(&encapsulated, b"use", b"bound", &sealed[..at]).is_err(), "{at} bytes");
        }
        let answer = owed.seal(b"a result").unwrap();
        assert_eq!(answer.len(), 8 + ANSWER_OVERHEAD);
        assert_eq!(awaited.open(&answer).unwrap().as_slice(), b"a result");
    }

    #[test]
    fn an_answer_is_to_its_message() {
        let key = SealingKey::generate().unwrap();
        let mut answers = Vec::new();
        let mut waiting = Vec::new();
        for _ in 0..3 {
            let sending = Sending::begin(&key.public(), b"").unwrap();
            let encapsulated = sending.encapsulated();
            let (sealed, awaited) = sending.seal(b"", b"x").unwrap();
            answers.push(key.open(&encapsulated, b"", b"", &sealed).unwrap().1.seal(b"y").unwrap());
            waiting.push(awaited);
        }
        let mut waiting = waiting.into_iter();
        assert_eq!(waiting.next().unwrap().open(&answers[1]), Err(SealError::Message));
        let mut changed = answers[1].clone();
        changed[40] ^= 1;
        assert_eq!(waiting.next().unwrap().open(&changed), Err(SealError::Message));
        assert_eq!(waiting.next().unwrap().open(&answers[2][..ANSWER_OVERHEAD - 1]), Err(SealError::Message));
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        // Of order 1: every shared secret would be zero.
        assert_eq!(Sending::begin(&[0; KEY], b"").err(), Some(SealError::Key));
    }
}
