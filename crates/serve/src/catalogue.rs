//! The models that a server has.

use crate::error::{Error, Result};
use crate::options::Limits;
use crate::worker::Queue;
use std::collections::BTreeMap;
use std::sync::Arc;
use subrosa::attest::enclave::Configuration;
use subrosa::attest::{Enclave, Hosted};
use subrosa::{Model, Via};

/// Models by name and version, and the way to them.
pub struct Catalogue {
    models: BTreeMap<String, BTreeMap<u64, Arc<Served>>>,
    enclave: Option<Arc<Enclave>>,
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
}

/// A model that is served.
pub(crate) struct Served {
    pub(crate) name: String,
    pub(crate) version: u64,
    pub(crate) model: Model,
    pub(crate) queue: Queue,
    /// In trusted hardware: what its evidence is about.
    pub(crate) hosted: Option<Hosted>,
}

impl Catalogue {
    /// Without models; in the clear, or in trusted hardware.
    pub fn new(enclave: Option<Enclave>) -> Self {
        Self { models: BTreeMap::new(), enclave: enclave.map(Arc::new) }
    }

    /// Takes a model, with `threads` threads of its own.
    ///
    /// **Errors:** [`Error::Library`] if it cannot run, [`Error::Misuse`] if there is one of this
    /// name and version, [`Error::Io`].
    pub fn add(&mut self, entry: Entry, threads: usize, limits: &Limits) -> Result<()> {
        let Entry { model, name, version, policy } = entry;
        if self.models.get(&name).is_some_and(|versions| versions.contains_key(&version)) {
            return Err(Error::Misuse(format!("two models are called {name} {version}; give NAME@VERSION=FILE")));
        }
        let hosted = self.enclave.as_deref().map(|enclave| {
            let configuration = Configuration::of(enclave.service(), &model, &name, version, policy.is_some());
            Hosted::new(model.sha256(), policy.map(subrosa::attest::PolicyId), &configuration)
        });
        let queue = Queue::start(&model, threads, limits.queue, limits.samples)?;
        let served = Served { name: name.clone(), version, queue, hosted: hosted.transpose()?, model };
        self.models.entry(name).or_default().insert(version, Arc::new(served));
        Ok(())
    }

    pub(crate) fn via(&self) -> Via {
        match &self.enclave {
            None => Via::Plain,
            Some(_) => Via::Tee,
        }
    }

    /// How it is served: `plain`, or what is known of the hardware.
    pub fn standing(&self) -> &'static str {
        match &self.enclave {
            None => "plain",
            Some(enclave) => enclave.attester().warning().unwrap_or("attested"),
        }
    }

    /// Names and versions.
    pub fn names(&self) -> impl Iterator<Item = (&str, u64)> {
        self.models.iter().flat_map(|(name, versions)| versions.keys().map(|version| (name.as_str(), *version)))
    }

    pub(crate) fn enclave(&self) -> Option<&Arc<Enclave>> {
        self.enclave.as_ref()
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
