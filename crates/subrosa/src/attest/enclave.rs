//! The program's end of the attested channel: evidence when asked, requests opened, answers
//! sealed.
//!
//! A client names a nonce (or takes the evidence of the hour) and its policy. Nothing of that is
//! kept: a request names the same fields again, and opens only if it was sealed under them.

use super::attester::Attester;
use super::{now, unhex_bytes};
use crate::model::{Model, Port, hex};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use subrosa_tee::binding::{Freshness, Role, Suite};
use subrosa_tee::channel::{ChannelKey, Owed, Responder};
use subrosa_tee::{Bound, PolicyId, Stapled, sha256};

/// The length of an epoch, seconds: evidence of an epoch is shared by its clients.
pub const EPOCH_S: u64 = 3600;

/// A program that can be attested, and its channel key, made at boot.
pub struct Enclave {
    attester: Arc<Attester>,
    service: String,
    responder: RwLock<Arc<Responder>>,
    shared: Mutex<Shared>,
}

/// What was offered of the epoch, and when, by the 64 bytes that it is evidence about: they name
/// key, model, configuration, epoch and policy.
type Shared = BTreeMap<[u8; 64], (u64, Offer)>;

/// A model that it serves.
#[derive(Clone, Debug)]
pub struct Hosted {
    model: [u8; 32],
    model_policy: Option<PolicyId>,
    configuration: String,
}

/// What a program says of the way it serves a model; its hash is in the evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// The service's name, chosen by whoever runs it.
    pub service: String,
    /// Program and version.
    pub program: String,
    /// The model's name.
    pub model: String,
    /// Its version.
    pub version: u64,
    /// Whether the model was sealed, and a broker released its key.
    pub sealed: bool,
    /// The model's inputs, in its order.
    pub inputs: Vec<Port>,
    /// Its outputs.
    pub outputs: Vec<Port>,
}

/// What a client asks evidence for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// 32 random bytes, hexadecimal; evidence of the present epoch if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// The client's policy, 32 bytes in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// Evidence, and what a client needs to compute what it should be about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// Evidence and collateral, as `attest staple` writes them, hexadecimal.
    pub evidence: String,
    /// The public channel key, hexadecimal.
    pub channel_key: String,
    /// SHA-256 of the model, hexadecimal.
    pub model: String,
    /// The model owner's policy, if the model was sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_policy: Option<String>,
    /// The text of a [`Configuration`], byte for byte as it is hashed.
    pub configuration: String,
    /// The epoch, where no nonce was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
}

impl Configuration {
    /// What this version of this program says of the way it serves `model`.
    pub fn of(service: &str, model: &Model, name: &str, version: u64, sealed: bool) -> Self {
        Self {
            service: service.to_owned(),
            program: concat!("subrosa ", env!("CARGO_PKG_VERSION")).to_owned(),
            model: name.to_owned(),
            version,
            sealed,
            inputs: model.inputs().to_vec(),
            outputs: model.outputs().to_vec(),
        }
    }
}

impl Hosted {
    /// `model` is its ONNX file's SHA-256.
    ///
    /// **Errors:** [`Error::Misuse`] if the configuration cannot be written down.
    pub fn new(model: [u8; 32], model_policy: Option<PolicyId>, configuration: &Configuration) -> Result<Self> {
        let text = serde_json::to_string(configuration).map_err(|e| Error::misuse(e.to_string(), ""))?;
        Ok(Self { model, model_policy, configuration: text })
    }
}

impl Enclave {
    /// Makes the channel key.
    ///
    /// **Errors:** [`Error::Io`] if the system has no randomness.
    pub fn start(attester: Arc<Attester>, service: &str) -> Result<Self> {
        let responder = RwLock::new(Arc::new(Responder::new(ChannelKey::generate()?)));
        Ok(Self { attester, service: service.to_owned(), responder, shared: Mutex::default() })
    }

    /// The name that its configurations carry.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// What can attest it.
    pub fn attester(&self) -> &Attester {
        &self.attester
    }

    /// Evidence as a client wishes it; that of the epoch is made anew after a few minutes.
    ///
    /// **Errors:** [`Error::Input`] for a wish that is none; those of [`Attester::attest`].
    pub fn offer(&self, hosted: &Hosted, wish: &Wish) -> Result<Offer> {
        let wrong = || Error::input("nonce and policy are 64 hexadecimal digits each", "leave out what you lack");
        let bytes =
            |text: &Option<String>| text.as_deref().map(|text| unhex_bytes::<32>(text).ok_or_else(wrong)).transpose();
        let (nonce, policy) = (bytes(&wish.nonce)?, bytes(&wish.policy)?);
        let freshness = nonce.map_or(Freshness::Epoch(now() / EPOCH_S), Freshness::Nonce);
        let bound = self.bound(&self.responder(), hosted, freshness, policy.map(PolicyId));
        match freshness {
            Freshness::Nonce(_) => self.made(&bound, hosted),
            Freshness::Epoch(_) => self.shared(&bound, hosted),
        }
    }

    fn made(&self, bound: &Bound, hosted: &Hosted) -> Result<Offer> {
        Ok(Offer::new(&self.attester.attest(bound)?, bound, hosted))
    }

    fn shared(&self, bound: &Bound, hosted: &Hosted) -> Result<Offer> {
        let (about, now) = (bound.report_data(), now());
        // A clock that went back makes it anew, too.
        let recent = |made: u64| now.checked_sub(made).is_some_and(|age| age < SHARED_S);
        if let Some((made, offer)) = self.offers().get(&about)
            && recent(*made)
        {
            return Ok(offer.clone());
        }
        let offer = self.made(bound, hosted)?;
        let mut offers = self.offers();
        offers.retain(|_, (made, _)| recent(*made));
        // Clients name policies as they like.
        if offers.len() >= MOST_SHARED {
            offers.pop_first();
        }
        offers.insert(about, (now, offer.clone()));
        Ok(offer)
    }

    fn offers(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a client's message for this model: what it sealed, and what seals the answer.
    ///
    /// **Errors:** [`Error::Input`] for a message that is none, an old epoch, a replay.
    pub fn open(&self, hosted: &Hosted, message: &[u8]) -> Result<(Vec<u8>, Owed)> {
        let wrong = || Error::input("the message is none of the attested channel", "verify the service again");
        let rest = message.strip_prefix(ENVELOPE).ok_or_else(wrong)?;
        let (freshness, rest) = rest.split_first_chunk::<33>().ok_or_else(wrong)?;
        let freshness = Freshness::from_bytes(freshness).ok_or_else(wrong)?;
        let (policy, sealed) = rest.split_first_chunk::<33>().ok_or_else(wrong)?;
        let policy = match policy {
            [0, zeros @ ..] if zeros.iter().all(|&b| b == 0) => None,
            [1, id @ ..] => Some(PolicyId(*id)),
            _ => return Err(wrong()),
        };
        if let Freshness::Epoch(epoch) = freshness
            && !current(epoch, now())
        {
            return Err(Error::input("the evidence's epoch has ended", "verify the service again"));
        }
        let responder = self.responder();
        let bound = self.bound(&responder, hosted, freshness, policy);
        responder.open(&bound, sealed).map_err(|error| self.refused(&responder, error))
    }

    fn bound(&self, key: &Responder, hosted: &Hosted, freshness: Freshness, data_policy: Option<PolicyId>) -> Bound {
        Bound {
            role: Role::Serve,
            suite: Suite::X25519ChaCha20,
            channel_key: key.public(),
            tls_key: None,
            freshness,
            data_policy,
            model_policy: hosted.model_policy,
            model: hosted.model,
            configuration: sha256(hosted.configuration.as_bytes()),
            exporter: None,
        }
    }

    fn responder(&self) -> Arc<Responder> {
        Arc::clone(&self.responder.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A key that has answered as often as it may makes room for a new one.
    fn refused(&self, spent: &Arc<Responder>, error: subrosa_tee::Error) -> Error {
        if matches!(error, subrosa_tee::Error::KeySpent { .. }) {
            let mut current = self.responder.write().unwrap_or_else(PoisonError::into_inner);
            if Arc::ptr_eq(spent, &current) {
                match ChannelKey::generate() {
                    Ok(key) => {
                        *current = Arc::new(Responder::new(key));
                        self.offers().clear();
                    }
                    Err(error) => return error.into(),
                }
            }
        }
        Error::input(error.to_string(), "verify the service again")
    }
}

impl Offer {
    fn new(stapled: &Stapled, bound: &Bound, hosted: &Hosted) -> Self {
        Self {
            evidence: hex(&stapled.to_bytes()),
            channel_key: hex(&bound.channel_key),
            model: hex(&bound.model),
            model_policy: bound.model_policy.map(|id| hex(&id.0)),
            configuration: hosted.configuration.clone(),
            epoch: match bound.freshness {
                Freshness::Epoch(epoch) => Some(epoch),
                Freshness::Nonce(_) => None,
            },
        }
    }
}

/// What a client sends: the fields that only it knows, and the sealed request.
pub(super) fn envelope(bound: &Bound, sealed: &[u8]) -> Vec<u8> {
    let mut out = ENVELOPE.to_vec();
    out.extend(bound.freshness.to_bytes());
    out.push(u8::from(bound.data_policy.is_some()));
    out.extend(bound.data_policy.map_or([0; 32], |id| id.0));
    out.extend(sealed);
    out
}

/// Whether evidence of `epoch` is of this hour or the last one: clocks differ, and a client uses
/// a verdict for up to an hour.
pub(super) fn current(epoch: u64, now: u64) -> bool {
    let present = now / EPOCH_S;
    epoch == present || epoch.checked_add(1) == Some(present)
}

/// Seconds for which evidence of the epoch is given out again; then also renewed collateral is in it.
const SHARED_S: u64 = 300;

/// Pieces of evidence that are kept.
const MOST_SHARED: usize = 64;

const ENVELOPE: &[u8; 8] = b"SROTENV1";
