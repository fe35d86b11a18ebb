//! Requests that only a verified program can read, and answers that only it can have made.
//!
//! HPKE (RFC 9180) in base mode to a key that was made inside at boot and is named by the
//! evidence; the context of encryption contains everything else that the evidence is bound
//! to. The answer is encrypted under a secret exported from the request's context, as in
//! Oblivious HTTP (RFC 9458 §4.4). It needs no particular transport: a relay in between, TLS or
//! not, sees lengths.
//!
//! Not given: forward secrecy against the theft of the channel key within its lifetime, which
//! ends with the process, and secrecy against a quantum computer of the future.

use crate::binding::{Bound, Role};
use crate::error::Error;
use crate::verify::Attested;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use hpke::aead::{AeadCtxR, AeadCtxS};
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use zeroize::Zeroizing;

/// What is known of the program at the other end.
///
/// [`Attested`] and, in builds that have it, `simulation::Simulated` are all there is, and what
/// comes over a channel carries which of the two it was.
pub trait Standing: sealed::Sealed {
    /// How outputs name it.
    const LABEL: &'static str;

    /// What its evidence is about.
    fn bound(&self) -> &Bound;

    /// The last second (since 1970) at which something may be sent under it.
    fn usable_until(&self) -> u64;
}

impl Standing for Attested {
    const LABEL: &'static str = "attested";

    fn bound(&self) -> &Bound {
        Attested::bound(self)
    }

    fn usable_until(&self) -> u64 {
        self.valid_until()
    }
}

#[cfg(feature = "simulation")]
impl Standing for crate::simulation::Simulated {
    const LABEL: &'static str = crate::simulation::LABEL;

    fn bound(&self) -> &Bound {
        crate::simulation::Simulated::bound(self)
    }

    fn usable_until(&self) -> u64 {
        self.valid_until()
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::verify::Attested {}
    #[cfg(feature = "simulation")]
    impl Sealed for crate::simulation::Simulated {}
}

/// Encrypts a request to a program of known standing. What is returned with it opens the
/// answer.
///
/// **Errors:** [`Error::Stale`] at a `now` after the verdict's end; [`Error::Random`].
pub fn seal<S: Standing>(peer: &S, request: &[u8], now: u64) -> Result<(Vec<u8>, Awaited), Error> {
    if now > peer.usable_until() {
        return Err(Error::Stale { until: peer.usable_until() });
    }
    let (sealed, context) = seal_to(peer.bound(), REQUEST, request)?;
    Ok((sealed, Awaited { context }))
}

/// A request's answer, not here yet. It opens one answer.
pub struct Awaited {
    context: Sender,
}

impl Awaited {
    /// Decrypts the answer.
    ///
    /// **Errors:** [`Error::Message`] if it is not the answer to this request from the program
    /// that was verified.
    pub fn open(self, answer: &[u8]) -> Result<Vec<u8>, Error> {
        let wrong = Error::Message { what: "the answer" };
        let (nonce, sealed) = answer.split_first_chunk::<ANSWER_NONCE>().ok_or(wrong.clone())?;
        let cipher = answer_cipher(nonce, |label, out| self.context.export(label, out).is_ok()).ok_or(wrong.clone())?;
        cipher.decrypt(&Default::default(), Payload { msg: sealed, aad: ANSWER }).map_err(|_| wrong)
    }
}

/// The key of a channel, inside the program: made at boot, never written anywhere. No `Debug`.
pub struct ChannelKey {
    secret: <X25519HkdfSha256 as Kem>::PrivateKey,
    public: [u8; 32],
}

impl ChannelKey {
    /// A new key.
    ///
    /// **Errors:** [`Error::Random`].
    pub fn generate() -> Result<Self, Error> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(|_| Error::Random)?;
        let (secret, public) = X25519HkdfSha256::derive_keypair(&*seed);
        Ok(Self { secret, public: public.to_bytes().into() })
    }

    /// What [`Bound::channel_key`] names.
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// Opens what was sealed to this key for `bound` and `purpose`.
    pub(crate) fn open(&self, bound: &Bound, purpose: &[u8; 8], message: &[u8]) -> Option<(Vec<u8>, Receiver)> {
        let (encapsulated, sealed) = message.strip_prefix(purpose)?.split_first_chunk::<32>()?;
        let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(encapsulated).ok()?;
        let info = info(bound);
        let context = hpke::setup_receiver(&OpModeR::Base, &self.secret, &encapsulated, &info);
        let mut context: Receiver = context.ok()?;
        let opened = context.open(sealed, purpose).ok()?;
        Some((opened, context))
    }
}

/// The program's end of all channels to one key. It opens each request once.
///
/// One key serves many clients, each under what it has evidence about: the nonce and the policy
/// are the client's, and only a request that was sealed under the same fields opens.
pub struct Responder {
    key: ChannelKey,
    /// A name of each context that was opened.
    seen: Mutex<HashSet<[u8; 32]>>,
}

impl Responder {
    /// Answers to `key`.
    pub fn new(key: ChannelKey) -> Self {
        Self { key, seen: Mutex::default() }
    }

    /// What [`Bound::channel_key`] names.
    pub fn public(&self) -> [u8; 32] {
        self.key.public()
    }

    /// Decrypts a request that was made under `bound`. What is returned with it seals the
    /// answer.
    ///
    /// **Errors:** [`Error::Message`], also if `bound` names another key or was not made to
    /// serve; [`Error::Replayed`], [`Error::KeySpent`].
    pub fn open(&self, bound: &Bound, request: &[u8]) -> Result<(Vec<u8>, Owed), Error> {
        let wrong = Error::Message { what: "the request" };
        if bound.channel_key != self.key.public() || bound.role != Role::Serve {
            return Err(wrong);
        }
        let (request, context) = self.key.open(bound, REQUEST, request).ok_or(wrong.clone())?;
        // The name is the secret's, not the message's: two spellings of one message share it.
        let mut name = [0; 32];
        context.export(b"subrosa-tee/replay/1", &mut name).map_err(|_| wrong)?;
        // A panic elsewhere leaves the set whole: it is only ever added to.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST_REQUESTS {
            return Err(Error::KeySpent { answered: seen.len() });
        }
        match seen.insert(name) {
            true => Ok((request, Owed { context })),
            false => Err(Error::Replayed),
        }
    }
}

/// An answer that is owed. It seals one answer.
pub struct Owed {
    context: Receiver,
}

impl Owed {
    /// Encrypts the answer to whoever made the request.
    ///
    /// **Errors:** [`Error::Random`].
    pub fn seal(self, answer: &[u8]) -> Result<Vec<u8>, Error> {
        let wrong = Error::Message { what: "the answer" };
        let mut nonce = [0; ANSWER_NONCE];
        getrandom::fill(&mut nonce).map_err(|_| Error::Random)?;
        let cipher =
            answer_cipher(&nonce, |label, out| self.context.export(label, out).is_ok()).ok_or(wrong.clone())?;
        let sealed = cipher.encrypt(&Default::default(), Payload { msg: answer, aad: ANSWER }).map_err(|_| wrong)?;
        Ok([&nonce[..], &sealed].concat())
    }
}

type Sender = AeadCtxS<hpke::aead::ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>;
type Receiver = AeadCtxR<hpke::aead::ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>;

/// Seals `message` to the key that `bound` names.
pub(crate) fn seal_to(bound: &Bound, purpose: &[u8; 8], message: &[u8]) -> Result<(Vec<u8>, Sender), Error> {
    let wrong = |_| Error::Message { what: "a message to a channel key that is none" };
    // hpke panics without random bytes; a system that has some now does not run out of them.
    getrandom::fill(&mut [0; 1]).map_err(|_| Error::Random)?;
    let key = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&bound.channel_key).map_err(wrong)?;
    let (encapsulated, mut context): (_, Sender) =
        hpke::setup_sender(&OpModeS::Base, &key, &info(bound)).map_err(wrong)?;
    let sealed = context.seal(message, purpose).map_err(wrong)?;
    Ok(([&purpose[..], &encapsulated.to_bytes(), &sealed].concat(), context))
}

/// Each answer has a key of its own, so one nonce is enough for all.
fn answer_cipher(
    nonce: &[u8; ANSWER_NONCE],
    export: impl FnOnce(&[u8], &mut [u8]) -> bool,
) -> Option<ChaCha20Poly1305> {
    let mut key = Zeroizing::new([0; 32]);
    export(&[&b"subrosa-tee/answer/1"[..], nonce].concat(), &mut *key).then(|| ChaCha20Poly1305::new((&*key).into()))
}

fn info(bound: &Bound) -> Vec<u8> {
    [&b"subrosa-tee/channel/1"[..], &bound.report_data()].concat()
}

const REQUEST: &[u8; 8] = b"SROTREQ1";
const ANSWER: &[u8; 8] = b"SROTANS1";
const ANSWER_NONCE: usize = 32;

/// The requests that one channel key opens; each costs some 50 bytes to remember.
const MOST_REQUESTS: usize = 1 << 20;

#[cfg(test)]
mod tests;
