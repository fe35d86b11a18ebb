//! Who gets the key of a sealed model: programs that its owner's policy accepts, in a version
//! that is not too old.
//!
//! The exchange is a challenge, evidence about it, and the key sealed to the attested channel
//! key, as in Confidential Containers' Trustee
//! (<https://github.com/confidential-containers/trustee>). The evidence names the model, the
//! owner's policy and, if there is one, the data owner's, so that both know what the other
//! asked for.
//!
//! **Invariant:** no I/O. Whoever runs a broker keeps [`Broker::oldest_allowed`] where it
//! cannot be rolled back, and gives it back through [`Broker::retire`].

use crate::binding::{Bound, Freshness, Role};
use crate::channel::{ChannelKey, seal_to};
use crate::error::{Error, Refusal};
use crate::evidence::Stapled;
use crate::names::Piece;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::seal::{Header, ModelKey};
use crate::verify::{Roots, Verdict, verify_under};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// How long a challenge may be answered, seconds.
pub const CHALLENGE_LASTS: u64 = 300;

/// The most challenges that are open at a time.
const MOST_CHALLENGES: usize = 4096;

/// What a key may be released to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUse {
    /// Attested programs only.
    Production,
    /// Simulated programs too: the model is not worth protecting.
    Trial,
}

/// Releases keys of models. No `Debug`: it holds them.
#[derive(Default)]
pub struct Broker {
    models: BTreeMap<String, Model>,
    /// Open challenges, and the last second of each.
    challenges: BTreeMap<[u8; 32], u64>,
}

#[derive(Default)]
struct Model {
    oldest: u64,
    versions: BTreeMap<u64, Kept>,
}

struct Kept {
    header: Header,
    key: ModelKey,
    policy: Policy,
    #[cfg_attr(not(feature = "simulation"), expect(dead_code, reason = "only simulation asks for trial keys"))]
    key_use: KeyUse,
}

/// A program asking for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The model's name.
    pub model: String,
    /// Its version.
    pub version: u64,
    /// Evidence with collateral.
    pub stapled: Stapled,
    /// What the evidence is about.
    pub bound: Bound,
}

impl Ask {
    /// The message: the name with its length in 2 bytes, the version in 8, what the evidence is
    /// about, and the stapled evidence to the end.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = ASK.to_vec();
        out.extend((self.model.len() as u16).to_le_bytes());
        out.extend(self.model.as_bytes());
        out.extend(self.version.to_le_bytes());
        out.extend(self.bound.to_bytes());
        out.extend(self.stapled.to_bytes());
        out
    }

    /// Reads such a message. Nothing in it is trusted yet.
    ///
    /// **Errors:** [`Reason::Malformed`] and what [`Stapled::from_bytes`] gives.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Reason> {
        let cut = Reason::Malformed { piece: Piece::Evidence, detail: "the message to the broker is none" };
        let rest = bytes.strip_prefix(ASK).ok_or(cut.clone())?;
        let (length, rest) = rest.split_first_chunk::<2>().ok_or(cut.clone())?;
        let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length))).ok_or(cut.clone())?;
        let (version, rest) = rest.split_first_chunk::<8>().ok_or(cut.clone())?;
        let (bound, stapled) = rest.split_first_chunk::<{ Bound::BYTES }>().ok_or(cut.clone())?;
        Ok(Self {
            model: str::from_utf8(name).map_err(|_| cut.clone())?.to_owned(),
            version: u64::from_le_bytes(*version),
            bound: Bound::from_bytes(bound).ok_or(cut)?,
            stapled: Stapled::from_bytes(stapled)?,
        })
    }
}

impl Broker {
    /// Without any model.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the key of a sealed model, to be released under `policy`.
    ///
    /// **Errors:** [`Error::Rollback`] for a version that is retired already;
    /// [`Error::SealedModel`] if the model was sealed for another policy, or the version is
    /// another model's.
    pub fn keep(
        &mut self,
        name: &str,
        header: Header,
        key: ModelKey,
        policy: Policy,
        key_use: KeyUse,
    ) -> Result<(), Error> {
        if header.policy != policy.id() {
            return Err(Error::SealedModel("it was sealed for another policy"));
        }
        let model = self.models.entry(name.to_owned()).or_default();
        let (version, least) = (header.version, model.oldest);
        if version < least {
            return Err(Error::Rollback { version, least });
        }
        if model.versions.contains_key(&version) {
            return Err(Error::SealedModel("there is a model of this version; count on"));
        }
        model.versions.insert(version, Kept { header, key, policy, key_use });
        Ok(())
    }

    /// From now on refuses versions before `oldest`, and forgets their keys. It never goes
    /// back.
    pub fn retire(&mut self, name: &str, oldest: u64) {
        let model = self.models.entry(name.to_owned()).or_default();
        model.oldest = model.oldest.max(oldest);
        let kept = model.versions.split_off(&model.oldest);
        model.versions = kept;
    }

    /// The oldest allowed version of each model, to be kept outside.
    pub fn oldest_allowed(&self) -> impl Iterator<Item = (&str, u64)> {
        self.models.iter().map(|(name, model)| (name.as_str(), model.oldest))
    }

    /// A nonce for evidence, good once and for [`CHALLENGE_LASTS`] seconds.
    ///
    /// **Errors:** [`Refusal::Busy`]; [`Error::Random`].
    pub fn challenge(&mut self, now: u64) -> Result<[u8; 32], Error> {
        self.challenges.retain(|_, until| *until >= now);
        if self.challenges.len() >= MOST_CHALLENGES {
            return Err(Error::NotReleased(Refusal::Busy));
        }
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(|_| Error::Random)?;
        self.challenges.insert(nonce, now.saturating_add(CHALLENGE_LASTS));
        Ok(nonce)
    }

    /// Takes a challenge back, whose connection has ended: nobody else may answer it.
    pub fn forget(&mut self, nonce: &[u8; 32]) {
        self.challenges.remove(nonce);
    }

    /// The model's key, sealed to the program that `ask` has evidence of. `exporter` is the
    /// exported secret (RFC 9266) of the TLS connection on which the broker was asked, if it was
    /// one: evidence about another connection gets nothing.
    ///
    /// **Errors:** [`Error::NotReleased`], [`Error::Rollback`].
    pub fn release(&mut self, ask: &Ask, exporter: Option<[u8; 32]>, now: u64) -> Result<Vec<u8>, Error> {
        self.release_under(&Roots::VENDORS, ask, exporter, now)
    }

    pub(crate) fn release_under(
        &mut self,
        roots: &Roots<'_>,
        ask: &Ask,
        exporter: Option<[u8; 32]>,
        now: u64,
    ) -> Result<Vec<u8>, Error> {
        let kept = self.asked(ask, exporter, now)?;
        let Stapled { evidence, collateral } = &ask.stapled;
        match verify_under(roots, evidence, collateral, &kept.policy, &ask.bound, now) {
            Verdict::Attested(attested) => kept.wrap(attested.bound()),
            Verdict::Untrusted(reason) => Err(Error::NotReleased(Refusal::Untrusted(reason))),
        }
    }

    /// The key of a trial model, sealed to a simulated program.
    ///
    /// **Errors:** as [`Broker::release`], and [`Refusal::Production`].
    #[cfg(feature = "simulation")]
    pub fn release_simulated(
        &mut self,
        ask: &Ask,
        exporter: Option<[u8; 32]>,
        flag: crate::simulation::AllowSimulated,
        now: u64,
    ) -> Result<Vec<u8>, Error> {
        let kept = self.asked(ask, exporter, now)?;
        match kept.key_use {
            KeyUse::Production => return Err(Error::NotReleased(Refusal::Production)),
            KeyUse::Trial => {}
        }
        let admitted = crate::simulation::admit(&ask.stapled.evidence, &kept.policy, flag, &ask.bound, now);
        admitted
            .map_err(|reason| Error::NotReleased(Refusal::Untrusted(reason)))
            .and_then(|simulated| kept.wrap(simulated.bound()))
    }

    /// What is asked for, if the challenge, the version and the purpose are right. The
    /// challenge is used up either way.
    fn asked(&mut self, ask: &Ask, exporter: Option<[u8; 32]>, now: u64) -> Result<&Kept, Error> {
        let refused = |refusal| Err(Error::NotReleased(refusal));
        let open = match ask.bound.freshness {
            Freshness::Nonce(nonce) => self.challenges.remove(&nonce),
            Freshness::Epoch(_) => None,
        };
        if open.is_none_or(|until| until < now) {
            return refused(Refusal::Nonce);
        }
        let Some(model) = self.models.get(&ask.model) else { return refused(Refusal::Unknown) };
        if ask.version < model.oldest {
            return Err(Error::Rollback { version: ask.version, least: model.oldest });
        }
        let Some(kept) = model.versions.get(&ask.version) else { return refused(Refusal::Unknown) };
        let meant = ask.bound.role == Role::FetchKey
            && ask.bound.exporter == exporter
            && ask.bound.model == kept.header.model
            && ask.bound.model_policy == Some(kept.policy.id());
        if meant { Ok(kept) } else { refused(Refusal::Purpose) }
    }
}

impl Kept {
    fn wrap(&self, bound: &Bound) -> Result<Vec<u8>, Error> {
        seal_to(bound, WRAPPED, &*self.key.0).map(|(wrapped, _)| wrapped)
    }
}

impl ChannelKey {
    /// Opens a model's key that a broker has sealed to this one for `bound`.
    ///
    /// **Errors:** [`Error::Message`].
    pub fn unwrap(&self, bound: &Bound, wrapped: &[u8]) -> Result<ModelKey, Error> {
        let wrong = Error::Message { what: "the model's key" };
        let (key, _) = self.open(bound, WRAPPED, wrapped).ok_or(wrong.clone())?;
        let key = Zeroizing::new(key);
        let bytes: [u8; 32] = key.as_slice().try_into().map_err(|_| wrong)?;
        Ok(ModelKey(Zeroizing::new(bytes)))
    }
}

const WRAPPED: &[u8; 8] = b"SROTKEY1";

const ASK: &[u8; 8] = b"SROTASK1";

#[cfg(test)]
mod tests;
