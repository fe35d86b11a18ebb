//! The models that a server has.

use crate::clear::Sessions;
use crate::encrypted::{Encrypted, Offer};
use crate::error::{Error, Result};
use crate::options::Limits;
use crate::relayed::Shared;
use crate::worker::Queue;
use std::collections::BTreeMap;
use std::sync::Arc;
use subrosa::attest::enclave::Configuration;
use subrosa::attest::{Enclave, Hosted};
use subrosa::deploy::Gateway;
use subrosa::{Model, Plan, Port, Via};

/// Models by name and version, and the way to them.
pub struct Catalogue {
    models: BTreeMap<String, BTreeMap<u64, Arc<Served>>>,
    way: Way,
}

/// How requests are answered.
#[derive(Clone)]
pub(crate) enum Way {
    /// The server sees them.
    Clear,
    /// A program inside trusted hardware does.
    Attested(Arc<Enclave>),
    /// Nobody but the client does.
    Encrypted,
    /// The same: parties elsewhere compute on shares of them.
    Relayed(Arc<Gateway>),
}

/// A model to be served.
pub struct Entry {
    /// The model.
    pub model: Model,
    /// The name that clients use.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// What was sealed, if it was: the header's policy.
    pub policy: Option<[u8; 32]>,
    /// How it is computed on ciphertexts, if it is: plans via ckks, for one sample at a time and for
    /// many at once.
    pub plans: Vec<Plan>,
}

/// A model that is served.
pub(crate) struct Served {
    pub(crate) name: String,
    pub(crate) version: u64,
    /// Its inputs, in ONNX order.
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    /// What it is known by: the SHA-256 of its file, or which dealing of it the parties hold.
    pub(crate) origin: [u8; 32],
    /// What it was sealed under: its evidence says so.
    policy: Option<[u8; 32]>,
    pub(crate) work: Work,
    /// In trusted hardware: what its evidence is about.
    pub(crate) hosted: Option<Hosted>,
}

/// What a model computes on.
pub(crate) enum Work {
    Values(Queue<Sessions>),
    Ciphertexts(Encrypted),
    Shares(Shared),
}

impl Catalogue {
    /// Without models; in the clear, or in trusted hardware.
    pub fn new(enclave: Option<Enclave>) -> Self {
        let way = enclave.map_or(Way::Clear, |enclave| Way::Attested(Arc::new(enclave)));
        Self { models: BTreeMap::new(), way }
    }

    /// Without models; on ciphertexts.
    pub fn encrypted() -> Self {
        Self { models: BTreeMap::new(), way: Way::Encrypted }
    }

    /// Without models; on shares, by parties behind this gateway.
    pub fn relayed(gateway: Gateway) -> Self {
        Self { models: BTreeMap::new(), way: Way::Relayed(Arc::new(gateway)) }
    }

    /// Without models; of the same kind.
    #[must_use]
    pub fn alike(&self) -> Self {
        Self { models: BTreeMap::new(), way: self.way.clone() }
    }

    /// Takes a model from another catalogue of its kind as it is there, if it is there, of this
    /// origin and sealed under this policy, or not at all; returns whether it is.
    pub fn keep(&mut self, old: &Self, name: &str, version: u64, origin: [u8; 32], policy: Option<[u8; 32]>) -> bool {
        let same = |served: &&Arc<Served>| served.origin == origin && served.policy == policy;
        let Some(served) = old.find(name, Some(version)).filter(same) else { return false };
        self.models.entry(name.to_owned()).or_default().insert(version, Arc::clone(served));
        true
    }

    /// Takes a model, with `threads` threads of its own.
    ///
    /// **Errors:** [`Error::Library`] if it cannot run, [`Error::Misuse`] if there is one of this
    /// name and version, or one on ciphertexts has no plan or is beyond the limits; [`Error::Io`].
    pub fn add(&mut self, entry: Entry, threads: usize, limits: &Limits) -> Result<()> {
        let Entry { model, name, version, policy, plans } = entry;
        if self.models.get(&name).is_some_and(|versions| versions.contains_key(&version)) {
            return Err(Error::Misuse(format!("two models are called {name} {version}; give NAME@VERSION=FILE")));
        }
        let hosted = self.enclave().map(|enclave| {
            let configuration = Configuration::of(enclave.service(), &model, &name, version, policy.is_some());
            Hosted::new(model.sha256(), policy.map(subrosa::attest::PolicyId), &configuration)
        });
        let work = match &self.way {
            Way::Clear | Way::Attested(_) => {
                let workers = (0..threads.max(1)).map(|_| Sessions::new(&model, limits.samples, limits.batch));
                Work::Values(Queue::start(model.name(), workers.collect::<Result<_>>()?, limits.waits())?)
            }
            Way::Relayed(_) => {
                return Err(Error::Misuse("a gateway has no models of its own: the parties hold them".to_owned()));
            }
            Way::Encrypted => Work::Ciphertexts(Encrypted::start(&name, &plans, threads, limits)?),
        };
        let (inputs, outputs) = (model.inputs().to_vec(), model.outputs().to_vec());
        let (origin, hosted) = (model.sha256(), hosted.transpose()?);
        self.insert(Served { name, version, inputs, outputs, origin, policy, work, hosted });
        Ok(())
    }

    /// Takes a model that the parties behind the gateway hold, its newest version unless one is given, with
    /// so many sessions; as it is in `old`, if it is there.
    ///
    /// **Errors:** [`Error::Library`] if the parties have no such model, or are not there;
    /// [`Error::Misuse`] if there is one of this name and version, or no gateway.
    pub fn relay(
        &mut self,
        name: &str,
        version: Option<u32>,
        sessions: usize,
        limits: &Limits,
        old: Option<&Self>,
    ) -> Result<()> {
        let Way::Relayed(gateway) = &self.way else {
            return Err(Error::Misuse("there is no gateway to parties that hold models".to_owned()));
        };
        let first = gateway.relay(name, version, limits.samples)?;
        let (version, origin) = (u64::from(first.version()), first.outline().dealing);
        if self.models.get(name).is_some_and(|versions| versions.contains_key(&version)) {
            return Err(Error::Misuse(format!("{name} {version} is given twice; give NAME@VERSION")));
        }
        if old.is_some_and(|old| self.keep(old, name, version, origin, None)) {
            return Ok(());
        }
        let (inputs, outputs) = (first.inputs(), first.outputs());
        let work = Work::Shares(Shared::start(name, first, sessions, limits)?);
        self.insert(Served {
            name: name.to_owned(),
            version,
            inputs,
            outputs,
            origin,
            policy: None,
            work,
            hosted: None,
        });
        Ok(())
    }

    fn insert(&mut self, served: Served) {
        self.models.entry(served.name.clone()).or_default().insert(served.version, Arc::new(served));
    }

    /// How it is served: `plain`, `encrypted`, `shared`, or what is known of the hardware.
    pub fn standing(&self) -> &'static str {
        match &self.way {
            Way::Clear => "plain",
            Way::Attested(enclave) => enclave.attester().warning().unwrap_or("attested"),
            Way::Encrypted => "encrypted",
            Way::Relayed(_) => "shared",
        }
    }

    /// Who learns what, in plain words.
    pub fn learns(&self) -> impl Iterator<Item = &'static str> {
        let gateway = matches!(self.way, Way::Relayed(_)).then_some(GATEWAY);
        gateway.into_iter().chain(self.via().claim().learns.iter().copied())
    }

    /// Names and versions.
    pub fn names(&self) -> impl Iterator<Item = (&str, u64)> {
        self.models.iter().flat_map(|(name, versions)| versions.keys().map(|version| (name.as_str(), *version)))
    }

    pub(crate) fn way(&self) -> &Way {
        &self.way
    }

    pub(crate) fn via(&self) -> Via {
        match &self.way {
            Way::Clear => Via::Plain,
            Way::Attested(_) => Via::Tee,
            Way::Encrypted => Via::Ckks,
            Way::Relayed(gateway) => Via::from(gateway.protocol()),
        }
    }

    /// The trusted hardware that it is in, if it is.
    pub fn enclave(&self) -> Option<&Arc<Enclave>> {
        match &self.way {
            Way::Attested(enclave) => Some(enclave),
            Way::Clear | Way::Encrypted | Way::Relayed(_) => None,
        }
    }

    /// Those that are computed on ciphertexts, and how.
    pub(crate) fn ciphertexts(&self) -> impl Iterator<Item = (&Arc<Served>, &Offer)> {
        self.all().flat_map(|served| {
            let offers = match &served.work {
                Work::Values(_) | Work::Shares(_) => &[],
                Work::Ciphertexts(encrypted) => encrypted.offers(),
            };
            offers.iter().map(move |offer| (served, offer))
        })
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.models.values().flat_map(BTreeMap::values)
    }

    /// A model; the newest version if none is given.
    pub(crate) fn find(&self, name: &str, version: Option<u64>) -> Option<&Arc<Served>> {
        let versions = self.models.get(name)?;
        match version {
            Some(version) => versions.get(&version),
            None => versions.values().next_back(),
        }
    }

    pub(crate) fn versions(&self, name: &str) -> Vec<String> {
        self.models.get(name).map_or_else(Vec::new, |v| v.keys().map(u64::to_string).collect())
    }
}

const GATEWAY: &str = "this server, a gateway: who asks, when, which model and how many samples; neither inputs nor results, unless it \
                       colludes with two of the servers behind it";
