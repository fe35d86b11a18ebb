//! A plan as people and programs read it.

use crate::attest::Local;
use crate::backends::{SIMULATED_TEE, Via};
use crate::ckks::Ckks;
use crate::ckks::sheet::CkksSheet;
use crate::model::{Model, Port};
use crate::options::PlanOptions;
use crate::plan::Fixed;
use crate::text;
use serde::Serialize;
use std::fmt;
use subrosa_core::{Claim, Cost, SELF_DEALER};
use subrosa_graph::{Lowered, Reveal};

/// Everything a plan decided and predicts. Rounds and bytes are exact.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanSheet {
    /// Model name.
    pub model: String,
    /// BLAKE3 of the model file.
    pub model_digest: String,
    /// BLAKE3 of what the parties must agree on.
    pub plan_digest: String,
    /// Who computes.
    pub via: Via,
    /// Against whom this protects.
    pub claim: Claim,
    /// Who learns what, one sentence each: the claim's, and what the options add.
    pub learns: Vec<String>,
    /// Where the protocol is described.
    pub source: String,
    /// Samples in one inference.
    pub batch: usize,
    /// What is opened, to the result receiver alone: `logits` or `label`.
    pub reveal: &'static str,
    /// Whether the parties know the weights.
    pub public_weights: bool,
    /// What was asked for that weakens the claim.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub insecure: Vec<String>,
    /// The inputs and the ranges the plan was proven for.
    pub inputs: Vec<InputSheet>,
    /// What is opened, and how exactly.
    pub outputs: Vec<OutputSheet>,
    /// What only a plan on secret shares has.
    pub fixed: Option<FixedSheet>,
    /// What only a plan via ckks has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ckks: Option<CkksSheet>,
}

/// An input.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InputSheet {
    /// ONNX name.
    pub name: String,
    /// Shape of one sample, `N` for a symbolic batch.
    pub shape: String,
    /// Smallest value allowed; none in the clear.
    pub lo: Option<f64>,
    /// Largest value allowed.
    pub hi: Option<f64>,
    /// Where the range comes from.
    pub origin: &'static str,
}

/// An output.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutputSheet {
    /// ONNX name.
    pub name: String,
    /// Shape of one sample.
    pub shape: String,
    /// How far the protocol may be from the exact fixed-point result, in units of the
    /// last place; none where near-equal values may be told apart either way.
    pub last_place_units: Option<u64>,
    /// The same as a real number.
    pub protocol_error: Option<f64>,
}

/// Integers, costs and layers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FixedSheet {
    /// `k` of the ring Z_2^k.
    pub ring_bits: u32,
    /// Fewest and most fraction bits of any layer.
    pub fraction_bits: (u32, u32),
    /// Once a session.
    pub setup: Cost,
    /// Once a batch, before the input is known.
    pub offline: Cost,
    /// Once a batch, with the input.
    pub online: Cost,
    /// Bytes of each server's file of keys for a batch, where the dealer deals ahead of time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<u64>,
    /// About the most memory a party needs (bytes).
    pub memory_bytes: u64,
    /// Layer by layer.
    pub layers: Vec<LayerSheet>,
}

/// One node of the model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerSheet {
    /// ONNX node name.
    pub node: String,
    /// Operation.
    pub op: String,
    /// Shape of one sample.
    pub shape: String,
    /// Fraction bits of its result.
    pub fraction_bits: u32,
    /// Signed width the widest of its values was proven to need, of the ring's `k`.
    pub bits: u32,
    /// Largest magnitude proven possible. Depends on the weights: the model owner's.
    pub magnitude: f64,
    /// Cost before the input is known.
    pub offline: Cost,
    /// Cost with the input.
    pub online: Cost,
}

impl PlanSheet {
    pub(crate) fn new(
        model: &Model,
        options: &PlanOptions,
        fixed: Option<&Fixed>,
        ckks: Option<&Ckks>,
        opened: &[Port],
        plan_digest: String,
    ) -> Self {
        Self {
            model: model.name().to_owned(),
            model_digest: model.digest(),
            plan_digest,
            via: options.via,
            claim: claim(options),
            learns: learns(options),
            source: options.via.source().to_owned(),
            batch: options.batch,
            reveal: match options.reveal {
                Reveal::Logits => "logits",
                Reveal::Label => "label",
            },
            public_weights: options.public_weights,
            insecure: insecure(options),
            inputs: inputs(model, options, fixed, ckks),
            outputs: opened.iter().enumerate().map(|(i, port)| output(i, port, fixed)).collect(),
            fixed: fixed.map(|fixed| FixedSheet::new(model, fixed)),
            ckks: ckks.map(|ckks| CkksSheet::new(ckks, options.batch)),
        }
    }

    /// The plan in one line: what it takes and costs.
    pub fn terms(&self) -> String {
        if let Some(ckks) = &self.ckks {
            return ckks.terms();
        }
        let Some(fixed) = &self.fixed else {
            let place =
                if self.via == Via::Tee { "inside trusted hardware, where there is some" } else { "in the clear" };
            return place.to_owned();
        };
        let ranges: Vec<_> = self.inputs.iter().map(InputSheet::range).collect();
        format!(
            "Z_2^{}, inputs in {}, {} rounds and {} for a batch of {}",
            fixed.ring_bits,
            ranges.join(" and "),
            fixed.offline.rounds + fixed.online.rounds,
            text::bytes((fixed.offline.bytes + fixed.online.bytes) as f64),
            self.batch
        )
    }
}

impl InputSheet {
    /// `[lo, hi]`.
    pub fn range(&self) -> String {
        match (self.lo, self.hi) {
            (Some(lo), Some(hi)) => format!("[{lo}, {hi}]"),
            _ => "any".to_owned(),
        }
    }
}

fn learns(options: &PlanOptions) -> Vec<String> {
    let claimed = claim(options).learns.iter().map(|s| (*s).to_owned());
    let public = options.public_weights.then(|| "each server, by --public-weights: the weights too".to_owned());
    let exact = options.exact.then(|| {
        "result receiver, by --exact: what a fixed function tells, as hidden values are always rounded down".to_owned()
    });
    claimed.chain(public).chain(exact).collect()
}

/// The backend's claim, or what is left of it where trusted hardware is only simulated, or a party deals for itself.
fn claim(options: &PlanOptions) -> Claim {
    match (simulated(options), options.insecure_self_dealer) {
        (Some(_), _) => SIMULATED_TEE,
        (None, true) => options.via.self_dealt(),
        (None, false) => options.via.claim(),
    }
}

fn simulated(options: &PlanOptions) -> Option<&'static str> {
    options.tee.as_ref().filter(|_| options.via == Via::Tee).and_then(Local::warning)
}

fn insecure(options: &PlanOptions) -> Vec<String> {
    let weights = options.public_weights.then(|| "public-weights".to_owned());
    let dealer = options.insecure_self_dealer.then(|| SELF_DEALER.to_owned());
    weights.into_iter().chain(dealer).chain(simulated(options).map(str::to_owned)).collect()
}

fn inputs(model: &Model, options: &PlanOptions, fixed: Option<&Fixed>, ckks: Option<&Ckks>) -> Vec<InputSheet> {
    let range = |i: usize| fixed.and_then(|f| f.lowered.inputs.get(i)).or(ckks.map(|c| &c.range));
    let sheet = |(i, port): (usize, &Port)| InputSheet {
        name: port.name.clone(),
        shape: port.dims_text(),
        lo: range(i).map(|r| r.lo),
        hi: range(i).map(|r| r.hi),
        origin: if fixed.is_some() || ckks.is_some() { options.input.origin() } else { "not limited" },
    };
    model.inputs().iter().enumerate().map(sheet).collect()
}

fn output(index: usize, port: &Port, fixed: Option<&Fixed>) -> OutputSheet {
    let units = fixed.and_then(|f| f.lowered.output_ulps.get(index).copied().flatten());
    let inst = fixed.and_then(|f| f.lowered.program.insts.get(*f.lowered.program.outputs.get(index)?));
    OutputSheet {
        name: port.name.clone(),
        shape: port.dims_text(),
        last_place_units: units,
        protocol_error: units.zip(inst).map(|(u, inst)| u as f64 / f64::from(inst.frac).exp2()),
    }
}

impl FixedSheet {
    fn new(model: &Model, fixed: &Fixed) -> Self {
        let layers = layers(model, fixed);
        let fractions = layers.iter().map(|l| l.fraction_bits);
        let predicted = &fixed.predicted;
        Self {
            ring_bits: fixed.lowered.program.ring.bits(),
            fraction_bits: (fractions.clone().min().unwrap_or(0), fractions.max().unwrap_or(0)),
            setup: predicted.setup,
            offline: predicted.offline,
            online: predicted.online,
            keys: fixed.key_bytes(),
            memory_bytes: predicted.memory_bytes,
            layers,
        }
    }
}

/// One line for each node of the model that computes something on samples.
fn layers(model: &Model, fixed: &Fixed) -> Vec<LayerSheet> {
    let names = &fixed.lowered.nodes;
    let mut groups: Vec<(&str, Vec<usize>)> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        // One ONNX node may have become several, with its weights between them.
        match groups.iter_mut().find(|(known, _)| known == name) {
            Some((_, indices)) => indices.push(index),
            None => groups.push((name, vec![index])),
        }
    }
    groups.into_iter().filter_map(|(name, indices)| layer(model, name, &indices, fixed)).collect()
}

fn layer(model: &Model, name: &str, nodes: &[usize], fixed: &Fixed) -> Option<LayerSheet> {
    let Lowered { program, magnitudes, .. } = &fixed.lowered;
    let ids: Vec<_> = (0..program.insts.len())
        .filter(|&id| nodes.contains(&program.insts[id].node) && !program.is_constant(id))
        .collect();
    let last = &program.insts[*ids.last()?];
    let costs = || fixed.predicted.nodes.iter().filter(|n| nodes.contains(&n.node));
    Some(LayerSheet {
        node: name.to_owned(),
        op: op_names(model, name),
        shape: last.shape.to_string(),
        fraction_bits: last.frac,
        bits: ids.iter().map(|&id| program.insts[id].bits).max().unwrap_or(0),
        magnitude: ids.iter().filter_map(|&id| magnitudes.get(id)).fold(0.0, |a: f64, &b| a.max(b)),
        offline: costs().map(|c| c.offline).sum(),
        online: costs().map(|c| c.online).sum(),
    })
}

/// The operations imported from the ONNX node of this name.
fn op_names(model: &Model, name: &str) -> String {
    let nodes = model.graph().graph().nodes.iter().filter(|n| n.name == name);
    let mut names: Vec<_> = nodes.map(|n| op_name(&n.op)).filter(|op| op != "Weight").collect();
    names.dedup();
    names.join(", ")
}

/// The variant's name.
fn op_name(op: &subrosa_graph::Op) -> String {
    // A weight's Debug prints its values: those are never layers, and cut off anyway.
    let mut name = NameOnly(String::new());
    let _stopped = fmt::write(&mut name, format_args!("{op:?}"));
    name.0
}

/// Keeps what is printed up to the first character that is not of a name, then stops.
struct NameOnly(String);

impl fmt::Write for NameOnly {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let name: String = text.chars().take_while(char::is_ascii_alphanumeric).collect();
        self.0 += &name;
        if name.len() == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// The right-hand side of a line of the plan, continued under itself.
fn line(text: &str) -> String {
    crate::text::wrap(text, 100, 15)
}

impl fmt::Display for PlanSheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} via {}, batch {}", self.model, self.via, self.batch)?;
        writeln!(f, "  claim        {}", line(self.claim.summary))?;
        writeln!(f, "  adversary    {}", self.adversary())?;
        for (i, sentence) in self.learns.iter().enumerate() {
            writeln!(f, "  {:<12} {}", if i == 0 { "who learns" } else { "" }, line(sentence))?;
        }
        writeln!(f, "  weights      {}", self.weights())?;
        writeln!(f, "  opened       {}, to the result receiver alone", self.reveal)?;
        for input in &self.inputs {
            writeln!(f, "  input        {} {} in {} ({})", input.name, input.shape, input.range(), input.origin)?;
        }
        for output in &self.outputs {
            writeln!(f, "  output       {} {}{}", output.name, output.shape, output.exactness())?;
        }
        if let Some(fixed) = &self.fixed {
            fixed.fmt(f)?;
        }
        if let Some(ckks) = &self.ckks {
            ckks.fmt(f)?;
        }
        writeln!(f, "  source       {}", line(&self.source))?;
        writeln!(f, "  digest       {}", &self.plan_digest[..16])
    }
}

impl PlanSheet {
    fn adversary(&self) -> String {
        let Claim { adversary, parties, threshold, security_bits, .. } = self.claim;
        match security_bits {
            0 => adversary.to_string(),
            bits => format!("{adversary}, {threshold} of {parties} parties, {bits}-bit security"),
        }
    }

    fn weights(&self) -> &'static str {
        match (self.via, self.public_weights) {
            (Via::Plain, _) => "in the clear",
            (Via::Tee, _) => "with the program inside, whose evidence names their hash",
            (Via::Ckks, _) => "with the server, in the clear; the client never sees them",
            (_, true) => "known to the compute parties (--public-weights)",
            (_, false) => "secret: shared by the model owner",
        }
    }
}

impl OutputSheet {
    fn exactness(&self) -> String {
        let error = self.protocol_error.map(text::significant);
        error.map(|e| format!(", rounding under {e} in the worst case, typically far less")).unwrap_or_default()
    }
}

impl fmt::Display for FixedSheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = self.fraction_bits;
        writeln!(
            f,
            "  integers     Z_2^{}, {least} to {most} fraction bits; no overflow, proven for every input in range",
            self.ring_bits
        )?;
        for (phase, cost, when) in [
            ("setup", self.setup, "once a session"),
            ("offline", self.offline, "a batch, before the input is known"),
            ("online", self.online, "a batch, with the input"),
        ] {
            writeln!(f, "  {phase:<12} {} rounds, {} bytes, {when}", cost.rounds, text::thousands(cost.bytes))?;
        }
        if !self.keys.is_empty() {
            let each: Vec<_> = self.keys.iter().map(|&bytes| text::thousands(bytes)).collect();
            writeln!(
                f,
                "  keys         {} bytes a batch, a file for each server, where dealt ahead",
                each.join(" and ")
            )?;
        }
        writeln!(f, "  memory       about {} a party", text::bytes(self.memory_bytes as f64))
    }
}
