//! Tokens of an OpenID Connect issuer: who its clients are, it says, and signs.
//!
//! **Source:** RFC 7519 (tokens), RFC 7517 (keys), and OpenID Connect Core 1.0, section 3.1.3.7.
//!
//! The keys come from a file: nothing is fetched. A key is for one algorithm, which it names itself
//! or its kind does; what a token says of algorithms chooses nothing.

use crate::access::{Denied, Known};
use crate::error::{Error, Result};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Whose tokens are taken.
pub struct Tokens {
    keys: Vec<Key>,
    rate: Option<f64>,
    subjects: Mutex<Subjects>,
}

/// A key of the issuer.
struct Key {
    id: Option<String>,
    key: DecodingKey,
    /// The one algorithm, the issuer, the audience and the time.
    terms: Validation,
}

/// What is read of a token.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    /// One, and no list.
    #[serde(rename = "iss")]
    _issuer: String,
}

/// Those who were here last, for what they may still ask.
#[derive(Default)]
struct Subjects {
    by_name: HashMap<String, Seen>,
    /// Grows with each use.
    turn: u64,
}

struct Seen {
    known: Arc<Known>,
    used: u64,
}

impl Tokens {
    /// Tokens that `issuer` made for `audience`, under the keys of a JSON Web Key Set. RS256 and
    /// ES256 are understood; keys for anything else are passed over. Each subject may send `rate`
    /// requests a second, or any number.
    ///
    /// **Errors:** [`Error::Io`]; [`Error::Tokens`] for a file that holds no key of use.
    pub fn read(issuer: &str, audience: &str, keys: &Path, rate: Option<f64>) -> Result<Self> {
        let io = |source| Error::Io { what: format!("cannot read {}", keys.display()), source };
        let mut text = Vec::new();
        std::fs::File::open(keys).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut text)).map_err(io)?;
        let found = Key::parse(&text, issuer, audience);
        let found = found.map_err(|reason| Error::Tokens { path: keys.to_owned(), reason })?;
        Ok(Self { keys: found, rate, subjects: Mutex::default() })
    }

    /// The client that a token is about, if it may ask now.
    pub(crate) fn admit(&self, token: &[u8]) -> std::result::Result<Arc<Known>, Denied> {
        let subject = self.subject(token).ok_or(Denied::Invalid)?;
        let known = self.known(subject);
        known.take(Instant::now()).map_err(Denied::TooOften)?;
        Ok(known)
    }

    /// The subject of a token that holds.
    fn subject(&self, token: &[u8]) -> Option<String> {
        if token.len() > MOST_TOKEN {
            return None;
        }
        let header = decode_header(token).ok()?;
        let key = match (&header.kid, &self.keys[..]) {
            (Some(id), keys) => keys.iter().find(|key| key.id.as_ref() == Some(id))?,
            (None, [only]) => only,
            // Which key it is, a token has to say where there are several.
            (None, _) => return None,
        };
        let claims: Claims = decode(token, &key.key, &key.terms).ok()?.claims;
        (1..=MOST_SUBJECT).contains(&claims.sub.len()).then_some(claims.sub)
    }

    fn known(&self, subject: String) -> Arc<Known> {
        // No API key's name has a colon.
        let new = || Arc::new(Known::new(format!("sub:{subject}"), self.rate));
        if self.rate.is_none() {
            return new();
        }
        let mut subjects = self.subjects.lock().unwrap_or_else(PoisonError::into_inner);
        subjects.turn += 1;
        let used = subjects.turn;
        if let Some(seen) = subjects.by_name.get_mut(&subject) {
            seen.used = used;
            return Arc::clone(&seen.known);
        }
        if subjects.by_name.len() >= MOST_SUBJECTS {
            let oldest = subjects.by_name.iter().min_by_key(|(_, seen)| seen.used).map(|(name, _)| name.clone());
            oldest.iter().for_each(|name| drop(subjects.by_name.remove(name)));
        }
        let known = new();
        subjects.by_name.insert(subject, Seen { known: Arc::clone(&known), used });
        known
    }
}

impl Key {
    fn parse(text: &[u8], issuer: &str, audience: &str) -> std::result::Result<Vec<Self>, &'static str> {
        let set: JwkSet = serde_json::from_slice(text).map_err(|_| "it is no JSON Web Key Set")?;
        let mut keys: Vec<Self> = Vec::new();
        for jwk in &set.keys {
            let Some(algorithm) = algorithm(jwk) else { continue };
            let key = DecodingKey::from_jwk(jwk).map_err(|_| "a key of it is damaged")?;
            let id = jwk.common.key_id.clone();
            if id.is_some() && keys.iter().any(|known| known.id == id) {
                return Err("two keys of it have the same kid");
            }
            let mut terms = Validation::new(algorithm);
            terms.set_issuer(&[issuer]);
            terms.set_audience(&[audience]);
            terms.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
            terms.validate_nbf = true;
            terms.leeway = LEEWAY;
            keys.push(Self { id, key, terms });
        }
        if keys.is_empty() { Err("it has no key for RS256 or ES256, so that nobody could ask") } else { Ok(keys) }
    }
}

/// What a key signs with, if it is for signatures that are understood here.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    if jwk.common.public_key_use.as_ref().is_some_and(|used| *used != PublicKeyUse::Signature) {
        return None;
    }
    let (algorithm, name) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::EllipticCurve(_)
        | AlgorithmParameters::OctetKey(_)
        | AlgorithmParameters::OctetKeyPair(_)
        | AlgorithmParameters::Other(_)
        // It may grow.
        | _ => return None,
    };
    jwk.common.key_algorithm.as_ref().is_none_or(|said| *said == name).then_some(algorithm)
}

/// Seconds that the issuer's clock and this one may differ by.
const LEEWAY: u64 = 60;

/// The longest file of keys.
const MOST_BYTES: u64 = 1 << 20;

/// The longest token.
const MOST_TOKEN: usize = 8 << 10;

/// The longest subject: OpenID Connect Core 1.0, section 2.
const MOST_SUBJECT: usize = 255;

/// Subjects whose rates are known at a time.
const MOST_SUBJECTS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rates_of_many_subjects_take_bounded_memory() {
        let tokens = Tokens { keys: Vec::new(), rate: Some(0.001), subjects: Mutex::default() };
        let ask = |subject: usize| tokens.known(subject.to_string()).take(Instant::now());
        assert!(ask(0).is_ok() && ask(1).is_ok());
        assert!(ask(0).is_err(), "it has asked");
        for subject in 2..=MOST_SUBJECTS {
            assert!(ask(subject).is_ok());
        }
        assert_eq!(tokens.subjects.lock().unwrap().by_name.len(), MOST_SUBJECTS);
        assert!(ask(0).is_err(), "the least recently seen made way, and that was another");
    }
}
