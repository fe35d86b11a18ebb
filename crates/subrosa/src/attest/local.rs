//! Both ends of the attested channel in one process: what a comparison measures, and what
//! `run --via tee` does where no service is named.

use super::attester::Attester;
use super::enclave::{Configuration, Enclave, Hosted};
use super::link::{Expected, Inquiry, Link};
use super::trust::Trust;
use crate::Result;
use crate::model::Model;
use crate::output::{Batch, Phase};
use std::sync::Arc;
use std::time::Instant;
use subrosa_core::Cost;
use subrosa_tee::channel::Owed;

/// What a run via tee needs beyond the model.
#[derive(Clone)]
pub struct Local {
    trust: Trust,
    attester: Arc<Attester>,
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local").field("trust", &self.trust).finish_non_exhaustive()
    }
}

/// The channel at work; the model between its ends is the caller's to run.
pub(crate) struct Engine {
    enclave: Enclave,
    hosted: Hosted,
    link: Link,
}

/// A batch inside: its inputs, and what the answer is owed to.
type Inside = (Vec<Vec<f32>>, Owed);

impl Local {
    /// A client that trusts `trust`, and a program that `attester` attests.
    pub fn new(trust: Trust, attester: Attester) -> Self {
        Self { trust, attester: Arc::new(attester) }
    }

    /// What outputs say of it, if nothing is confidential.
    pub fn warning(&self) -> Option<&'static str> {
        self.attester.warning()
    }
}

impl Engine {
    /// Makes the channel key, attests it and verifies that.
    ///
    /// **Errors:** [`crate::Error::Peer`] with the reason why the evidence is not trusted.
    pub(crate) fn start(local: &Local, model: &Model) -> Result<(Self, Phase)> {
        let start = Instant::now();
        let enclave = Enclave::start(Arc::clone(&local.attester), "local")?;
        let configuration = Configuration::of("local", model, model.name(), 1, false);
        let hosted = Hosted::new(model.sha256(), None, &configuration)?;
        let inquiry = Inquiry::fresh(&local.trust)?;
        let offer = enclave.offer(&hosted, &inquiry.wish())?;
        let expected = Expected { model: model.name().to_owned(), hash: Some(model.sha256()), ..Expected::default() };
        let link = inquiry.judge(&offer, &expected, &local.trust)?;
        Ok((Self { enclave, hosted, link }, Phase::local(start.elapsed())))
    }

    /// Runs `inputs` through the channel, and `compute` inside.
    ///
    /// **Errors:** those of `compute`, [`crate::Error::Peer`], [`crate::Error::Input`].
    pub(crate) fn run(
        &self,
        inputs: &[&[f32]],
        count: usize,
        compute: impl FnOnce(&[&[f32]]) -> Result<Vec<Vec<f32>>>,
    ) -> Result<(Vec<Vec<f32>>, Batch)> {
        let start = Instant::now();
        let (message, awaited) = self.link.seal(&to_bytes(inputs))?;
        let (values, owed) = self.inside(&message)?;
        let values: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
        let outputs = compute(&values)?;
        let outputs: Vec<&[f32]> = outputs.iter().map(Vec::as_slice).collect();
        let answer = owed.seal(&to_bytes(&outputs))?;
        let bytes = (message.len() + answer.len()) as u64;
        let outputs = from_bytes(&awaited.open(&answer)?);
        let online = Phase { cost: Cost { rounds: 2, bytes }, ..Phase::local(start.elapsed()) };
        Ok((outputs, Batch { samples: count, offline: Phase::default(), online }))
    }

    fn inside(&self, message: &[u8]) -> Result<Inside> {
        let (opened, owed) = self.enclave.open(&self.hosted, message)?;
        Ok((from_bytes(&opened), owed))
    }
}

/// Each array with its length before it.
fn to_bytes(arrays: &[&[f32]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(arrays.iter().map(|a| 8 + 4 * a.len()).sum());
    for array in arrays {
        out.extend((array.len() as u64).to_le_bytes());
        array.iter().for_each(|v| out.extend(v.to_le_bytes()));
    }
    out
}

/// Reads them again; both ends are this process's.
fn from_bytes(mut bytes: &[u8]) -> Vec<Vec<f32>> {
    let mut out = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<8>() {
        let (values, rest) = rest.split_at((u64::from_le_bytes(*length) as usize * 4).min(rest.len()));
        out.push(values.as_chunks::<4>().0.iter().map(|v| f32::from_le_bytes(*v)).collect());
        bytes = rest;
    }
    out
}
