//! What everybody in a deployment may know of a model.

use super::config::check_name;
use crate::model::Port;
use crate::output::opened_ports;
use crate::plan::Plan;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use subrosa_graph::{InputRange, Program, Reveal};
use subrosa_mpc::ahead::Purpose;
use subrosa_mpc::relayed::{self, Outline};
use subrosa_mpc::{Options, ProtocolKind};

/// A model's public half: the program that all parties execute, and what a data owner
/// needs to encode inputs and read outputs. It holds no weight.
#[derive(Clone, Serialize, Deserialize)]
pub struct Card {
    /// Its name.
    pub name: String,
    /// The protocol's name.
    protocol: String,
    /// Whether the servers know the weights.
    public_weights: bool,
    /// Whether truncations always round down.
    exact: bool,
    /// Whether only labels are opened.
    pub labels_only: bool,
    /// Inputs, in ONNX order.
    pub inputs: Vec<Port>,
    /// The values each may take.
    ranges: Vec<(f64, f64)>,
    /// What is opened.
    pub outputs: Vec<Port>,
    /// [`Program::encode`].
    program: Vec<u8>,
}

/// A card that was checked: its program decoded, its parts fitting together.
#[derive(Clone)]
pub struct Model {
    /// As sent.
    pub card: Card,
    /// The program.
    pub program: Arc<Program>,
    /// The inputs' ranges.
    pub ranges: Vec<InputRange>,
    /// The protocol.
    pub protocol: ProtocolKind,
    /// How it is run.
    pub options: Options,
}

impl Card {
    /// The card of a plan, under a name.
    ///
    /// **Errors:** [`Error::Misuse`] for a plan via a backend without parties, or a bad name.
    pub fn of(plan: &Plan, name: &str) -> Result<Self> {
        check_name(name)?;
        let inner = &plan.inner;
        let Some(fixed) = &inner.fixed else {
            return Err(Error::misuse("'plain' has no parties to run on", "plan for rep3 (--via rep3)"));
        };
        if inner.options.insecure_self_dealer {
            let hint = "leave --insecure-self-dealer out: it is for measuring on one machine";
            return Err(Error::misuse("in a deployment the dealer is somebody of its own", hint));
        }
        let labels_only = inner.options.reveal == Reveal::Label;
        Ok(Self {
            name: name.to_owned(),
            protocol: fixed.protocol.name().to_owned(),
            public_weights: fixed.options.public_weights,
            exact: fixed.options.exact,
            labels_only,
            inputs: inner.model.inputs().to_vec(),
            ranges: fixed.lowered.inputs.iter().map(|r| (r.lo, r.hi)).collect(),
            outputs: opened_ports(inner.model.outputs(), inner.options.reveal),
            program: fixed.lowered.program.encode()?,
        })
    }

    /// What was asked for that weakens the claim, as [`PlanSheet::insecure`](crate::PlanSheet::insecure) has it.
    pub fn insecure(&self) -> Vec<&'static str> {
        self.public_weights.then_some("public-weights").into_iter().collect()
    }

    /// The card as bytes.
    ///
    /// **Errors:** none that a card of a plan brings about.
    pub fn encode(&self) -> Result<Vec<u8>> {
        postcard::to_stdvec(self).map_err(|e| Error::misuse(format!("the model's card: {e}"), ""))
    }

    /// Reads a card from a peer and checks it: whatever is in it, what follows neither
    /// panics nor allocates more than `memory` bytes for one sample.
    ///
    /// **Errors:** [`Error::Input`] saying what is wrong.
    pub fn decode(bytes: &[u8], memory: u64) -> Result<Model> {
        let card: Self = postcard::from_bytes(bytes).map_err(|e| wrong(&format!("it is damaged ({e})")))?;
        check_name(&card.name)?;
        let program = Program::decode(&card.program).map_err(|e| wrong(&e.to_string()))?;
        let protocol = ProtocolKind::ALL.iter().copied().find(|p| p.name() == card.protocol);
        let protocol = protocol.ok_or_else(|| wrong("its protocol is not known here"))?;
        let elements = elements(&program);
        // A share takes at most two words of eight bytes.
        if elements * 16 > u128::from(memory) {
            return Err(wrong("its values do not fit the memory granted to a session"));
        }
        let finite = |r: &(f64, f64)| r.0.is_finite() && r.1.is_finite() && r.0 < r.1;
        let fits = |ports: &[Port], ids: &[usize]| {
            ports.len() == ids.len()
                && ports.iter().zip(ids).all(|(p, &id)| {
                    p.checked_len().is_some_and(|n| program.insts.get(id).is_some_and(|i| i.shape.len() == n))
                })
        };
        let consistent = fits(&card.inputs, &program.inputs)
            && fits(&card.outputs, &program.outputs)
            && card.ranges.len() == card.inputs.len()
            && card.ranges.iter().all(finite);
        if !consistent {
            return Err(wrong("its inputs and outputs are not those of its program"));
        }
        let options =
            Options { public_weights: card.public_weights, threads: 1, exact: card.exact, insecure_self_dealer: false };
        // Runs every instruction on lengths alone, and so checks that they fit together.
        subrosa_mpc::predict(protocol, &program, 1, &options).map_err(|e| wrong(&e.to_string()))?;
        let ranges = card.ranges.iter().map(|&(lo, hi)| InputRange { lo, hi }).collect();
        Ok(Model { card, program: Arc::new(program), ranges, protocol, options })
    }
}

fn wrong(why: &str) -> Error {
    Error::input(format!("the model's card cannot be used: {why}"), "provision the model again with this version")
}

/// Elements of all values of one sample; an instruction itself counts as some.
fn elements(program: &Program) -> u128 {
    const INST: u128 = 16;
    let values: u128 = program.insts.iter().map(|i| i.shape.len() as u128 + INST).sum();
    values + program.weights.iter().map(|w| w.shape.len() as u128).sum::<u128>()
}

impl Model {
    /// Elements of all values of one sample.
    pub(super) fn elements(&self) -> u128 {
        elements(&self.program)
    }

    /// What a dealer deals for, ahead of time, where the parties hold this sharing of it.
    pub(super) fn purpose(&self, sharing: [u8; 32]) -> Purpose {
        Purpose { kind: self.protocol, program: Arc::clone(&self.program), options: self.options, sharing }
    }

    /// What an owner behind a gateway knows of it, where the parties hold this sharing of it.
    ///
    /// **Errors:** [`Error::Misuse`] via a protocol that has to tell an owner something first; as
    /// [`Card::encode`].
    pub(super) fn outline(&self, dealing: [u8; 32]) -> Result<Outline> {
        let via = self.protocol.name();
        let sharing = self.protocol.sharing().ok_or_else(|| {
            let message = format!("via {via} the parties tell whoever gives an input its mask");
            Error::misuse(message, "give inputs through a gateway via rep3, rep3-malicious or rep4")
        })?;
        let port = |(port, &id): (&Port, &usize)| relayed::Port {
            name: port.name.clone(),
            shape: port.shape.iter().map(|&d| u32::try_from(d).unwrap_or(u32::MAX)).collect(),
            batched: port.batched,
            frac: self.program.insts.get(id).map_or(0, |i| i.frac),
        };
        let inputs = self.card.inputs.iter().zip(&self.program.inputs).map(port).zip(&self.ranges);
        let outline = Outline {
            model: self.card.name.clone(),
            dealing,
            card: self.digest()?,
            sharing,
            ring: self.program.ring,
            public_weights: self.card.public_weights,
            labels_only: self.card.labels_only,
            inputs: inputs.map(|(port, range)| relayed::Input { port, lo: range.lo, hi: range.hi }).collect(),
            outputs: self.card.outputs.iter().zip(&self.program.outputs).map(port).collect(),
        };
        outline.encode()?;
        Ok(outline)
    }

    /// BLAKE3 of the card.
    ///
    /// **Errors:** as [`Card::encode`].
    pub fn digest(&self) -> Result<[u8; 32]> {
        Ok(*blake3::hash(&self.card.encode()?).as_bytes())
    }

    /// Length of party `party`'s share of the weights, bytes.
    pub fn share_bytes(&self, party: usize) -> usize {
        subrosa_mpc::roles::model_share_bytes(self.protocol, &self.program, &self.options, party)
    }

    /// About how much memory a party needs for a batch, bytes.
    ///
    /// **Errors:** those of [`subrosa_mpc::predict`](fn@subrosa_mpc::predict).
    pub fn memory(&self, batch: usize) -> Result<u64> {
        Ok(subrosa_mpc::predict(self.protocol, &self.program, batch, &self.options)?.memory_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PlanOptions, Via};

    fn card() -> Card {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/breast_cancer_logreg.onnx");
        let model = crate::Model::open(path).unwrap();
        let options = PlanOptions { via: Via::Rep3, ..PlanOptions::default() };
        Card::of(&model.plan(&options).unwrap(), "risk").unwrap()
    }

    const MEMORY: u64 = 1 << 26;

    #[test]
    fn cards_round_trip() {
        let card = card();
        let model = Card::decode(&card.encode().unwrap(), MEMORY).unwrap();
        assert_eq!(model.card.encode().unwrap(), card.encode().unwrap());
        // Party 2 keeps two seeds, the others a seed and the masked weights.
        assert!(model.share_bytes(2) < model.share_bytes(0) && model.share_bytes(0) == model.share_bytes(1));
    }

    #[test]
    fn damaged_cards_are_refused_or_harmless() {
        let bytes = card().encode().unwrap();
        for len in 0..bytes.len() {
            assert!(Card::decode(&bytes[..len], MEMORY).is_err(), "{len} bytes");
        }
        for i in 0..bytes.len() {
            for bit in [0, 3, 7] {
                let mut damaged = bytes.clone();
                damaged[i] ^= 1 << bit;
                let _ = Card::decode(&damaged, MEMORY);
            }
        }
    }

    #[test]
    fn a_card_beyond_the_memory_granted_is_refused() {
        let error = Card::decode(&card().encode().unwrap(), 64).err().unwrap();
        assert!(error.to_string().contains("memory"), "{error}");
        let plain = crate::Model::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/breast_cancer_logreg.onnx"));
        assert!(Card::of(&plain.unwrap().plan(&PlanOptions::default()).unwrap(), "risk").is_err());
    }
}
