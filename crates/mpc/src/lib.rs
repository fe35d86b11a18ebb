//! Stub of the interface the front is written against; the real crate replaces it.
#![allow(missing_docs, clippy::panic)]
use std::sync::Arc;
use std::time::Duration;
use subrosa_core::{Adversary, Claim, Cost};
use subrosa_graph::{Program, WeightSet};

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("{0}")]
    Stub(String),
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolKind {
    Rep3,
}
impl ProtocolKind {
    pub const ALL: &[Self] = &[Self::Rep3];
    pub fn name(self) -> &'static str {
        "rep3"
    }
    pub fn claim(self) -> Claim {
        Claim {
            adversary: Adversary::SemiHonest,
            parties: 3,
            threshold: 1,
            security_bits: 128,
            summary: "three servers compute on secret shares; no two of them may collude",
            learns: &["each server: the model's architecture, nothing else"],
        }
    }
    pub fn source(self) -> &'static str {
        "Araki et al. 2016, https://eprint.iacr.org/2016/768"
    }
    pub fn parties(self) -> usize {
        3
    }
}
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub public_weights: bool,
}
#[derive(Clone, Debug)]
pub struct NodeCost {
    pub node: usize,
    pub offline: Cost,
    pub online: Cost,
}
#[derive(Clone, Debug)]
pub struct Predicted {
    pub setup: Cost,
    pub offline: Cost,
    pub online: Cost,
    pub memory_bytes: u64,
    pub nodes: Vec<NodeCost>,
}
pub fn predict(_: ProtocolKind, _: &Program, _: usize, _: &Options) -> Predicted {
    Predicted { setup: Cost::FREE, offline: Cost::FREE, online: Cost::FREE, memory_bytes: 0, nodes: Vec::new() }
}
pub struct LocalCluster;
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    pub cost: Cost,
    pub time: Duration,
}
pub struct Inference {
    pub outputs: Vec<Vec<i64>>,
    pub offline: Measured,
    pub online: Measured,
}
impl LocalCluster {
    pub fn start(_: ProtocolKind, _: Arc<Program>, _: WeightSet, _: &Options) -> Result<Self, Error> {
        Ok(Self)
    }
    pub fn setup(&self) -> Measured {
        Measured::default()
    }
    pub fn infer(&mut self, _: Vec<Vec<i64>>, _: usize) -> Result<Inference, Error> {
        Err(Error::Stub("not built yet".into()))
    }
}
