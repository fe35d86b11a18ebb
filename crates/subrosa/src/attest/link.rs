//! The client's end of the attested channel.

use super::enclave::{Configuration, Offer, Wish, current, envelope};
use super::trust::{Peer, Trust};
use super::{now, unhex_bytes};
use crate::model::hex;
use crate::{Error, Result};
use subrosa_tee::binding::{Freshness, Role, Suite};
use subrosa_tee::channel::Awaited;
use subrosa_tee::{Bound, PolicyId, Stapled, sha256};

/// What a client expects of the model that it asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// The model's name.
    pub model: String,
    /// Its version, if it matters.
    pub version: Option<u64>,
    /// SHA-256 of its ONNX file, if it is known.
    pub hash: Option<[u8; 32]>,
    /// The service's name, if it matters.
    pub service: Option<String>,
}

/// A verification under way: what was asked for.
pub struct Inquiry {
    freshness: Option<[u8; 32]>,
    policy: PolicyId,
}

/// A verified program that serves a model.
#[derive(Clone, Debug)]
pub struct Link {
    peer: Peer,
    configuration: Configuration,
}

impl Inquiry {
    /// Draws a nonce.
    ///
    /// **Errors:** [`Error::Io`] if the system has no randomness.
    pub fn fresh(trust: &Trust) -> Result<Self> {
        Ok(Self { freshness: Some(subrosa_tee::nonce()?), policy: trust.policy().id() })
    }

    /// Takes the evidence that all clients of this hour share: cheaper for the server, and as
    /// new as an hour.
    pub fn of_this_epoch(trust: &Trust) -> Self {
        Self { freshness: None, policy: trust.policy().id() }
    }

    /// What to send.
    pub fn wish(&self) -> Wish {
        Wish { nonce: self.freshness.map(|nonce| hex(&nonce)), policy: Some(hex(&self.policy.0)) }
    }

    /// Judges what came back: whether `trust` accepts the evidence, whether it is about the key,
    /// model and configuration in the offer and about this inquiry, and whether those are what is
    /// `expected`.
    ///
    /// **Errors:** [`Error::Peer`] with the reason.
    pub fn judge(self, offer: &Offer, expected: &Expected, trust: &Trust) -> Result<Link> {
        let now = now();
        let bound = self.bound(offer, now)?;
        let configuration: Configuration = serde_json::from_str(&offer.configuration)
            .map_err(|e| refused(format!("its configuration cannot be read ({e})")))?;
        let evidence = unhex_vec(&offer.evidence).ok_or_else(|| refused("its evidence is not hexadecimal"))?;
        let stapled = Stapled::from_bytes(&evidence).map_err(untrusted)?;
        let peer = trust.judge(&stapled, &bound, now).map_err(untrusted)?;
        expected.check(&bound, &configuration)?;
        Ok(Link { peer, configuration })
    }

    /// What the evidence has to be about.
    fn bound(&self, offer: &Offer, now: u64) -> Result<Bound> {
        let field = |name: &str, text: &str| {
            unhex_bytes::<32>(text).ok_or_else(|| refused(format!("its {name} has not 64 hexadecimal digits")))
        };
        let freshness = match (self.freshness, offer.epoch) {
            (Some(nonce), None) => Freshness::Nonce(nonce),
            (None, Some(epoch)) if current(epoch, now) => Freshness::Epoch(epoch),
            (None, Some(_)) => return Err(refused("its evidence is of another hour; check both clocks")),
            (Some(_), Some(_)) | (None, None) => return Err(refused("its evidence is not of the kind asked for")),
        };
        let model_policy = offer.model_policy.as_deref().map(|text| field("model policy", text)).transpose()?;
        Ok(Bound {
            role: Role::Serve,
            suite: Suite::X25519ChaCha20,
            channel_key: field("channel key", &offer.channel_key)?,
            tls_key: None,
            freshness,
            data_policy: Some(self.policy),
            model_policy: model_policy.map(PolicyId),
            model: field("model hash", &offer.model)?,
            configuration: sha256(offer.configuration.as_bytes()),
            exporter: None,
        })
    }
}

impl Expected {
    fn check(&self, bound: &Bound, found: &Configuration) -> Result<()> {
        let other = |what: &str, found: &str, wanted: &str| {
            refused(format!("it is attested to serve {what} {found}, and {wanted} was asked for"))
        };
        if found.model != self.model {
            return Err(other("the model", &found.model, &self.model));
        }
        if let Some(version) = self.version.filter(|v| *v != found.version) {
            return Err(other("version", &found.version.to_string(), &version.to_string()));
        }
        if let Some(hash) = self.hash.filter(|hash| *hash != bound.model) {
            return Err(other("the model with SHA-256", &hex(&bound.model), &hex(&hash)));
        }
        match self.service.as_ref().filter(|service| **service != found.service) {
            Some(service) => Err(other("as", &found.service, service)),
            None => Ok(()),
        }
    }
}

impl Link {
    /// What is known of the program.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// What it said of itself under attestation.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// SHA-256 of the model, hexadecimal.
    pub fn model_hash(&self) -> String {
        hex(&self.peer.bound().model)
    }

    /// The message that carries `request`, and what opens its answer.
    ///
    /// **Errors:** [`Error::Peer`] when the verdict is too old: verify again.
    pub fn seal(&self, request: &[u8]) -> Result<(Vec<u8>, Awaited)> {
        let (sealed, awaited) = self.peer.seal(request, now())?;
        Ok((envelope(self.peer.bound(), &sealed), awaited))
    }
}

fn refused(why: impl std::fmt::Display) -> Error {
    // Some of the words may be the server's: none of them steers a terminal.
    let why: String = why.to_string().chars().filter(|c| !c.is_control()).collect();
    Error::Peer { message: format!("the service is not trusted: {why}") }
}

fn untrusted(reason: subrosa_tee::Reason) -> Error {
    refused(format!("{reason} ({})", reason.code()))
}

/// The bytes of hexadecimal text, of as many as stapled evidence can have.
fn unhex_vec(text: &str) -> Option<Vec<u8>> {
    let nibble = |c: &u8| char::from(*c).to_digit(16).map(|v| v as u8);
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(nibble(high)? << 4 | nibble(low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(byte).collect()
}
