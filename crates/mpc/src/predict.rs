//! The cost of a program before it runs: exact in rounds and bytes.

use crate::dry::{Dry, Length};
use crate::execute::{Weights, execute};
use crate::party::agreement_cost;
use crate::protocol::{Evaluator, Load, Primitive, Protocol, WordOf};
use crate::{Error, Options, ProtocolKind};
use subrosa_core::{Claim, Cost, RingWidth};
use subrosa_graph::Program;
use subrosa_net::EndpointId;
use subrosa_ring::{Ring, packed_len};

/// What a batch will cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predicted {
    /// Once a session: keys and the model's shares.
    pub setup: Cost,
    /// Each batch, before its input is known.
    pub offline: Cost,
    /// Each batch, input and output included.
    pub online: Cost,
    /// Bytes that the dealer says to each party that is online, each batch, where it deals
    /// [`ahead`](crate::ahead) of time. Empty without such a dealer.
    pub dealt_ahead: Vec<u64>,
    /// About the largest memory a party needs for shares and preprocessing, bytes.
    pub memory_bytes: u64,
    /// The same by node of the graph, in order of execution; input and output apart.
    /// Offline rounds are shared by all nodes, so theirs are not to be added up.
    pub nodes: Vec<NodeCost>,
}

/// One node's part of the cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeCost {
    /// Index into the graph's nodes.
    pub node: usize,
    /// Preprocessing.
    pub offline: Cost,
    /// Online.
    pub online: Cost,
}

/// Predicts the cost of `batch` samples.
///
/// **Errors:** [`Error::Misuse`] for a program that lowering would not produce.
pub fn predict(kind: ProtocolKind, program: &Program, batch: usize, options: &Options) -> Result<Predicted, Error> {
    with_protocol!(kind, program.ring, P => priced::<P>(program, batch, options))
}

/// The primitives that running `program` on a batch calls, in order, and how many
/// had been called after each instruction.
pub(crate) fn demand<R: Ring>(
    program: &Program,
    load: Load,
    options: &Options,
) -> Result<(Vec<Primitive>, Vec<usize>), Error> {
    /// No session is there, so no endpoint either.
    const NOWHERE: EndpointId = 0;
    let mut dry = Dry::<R>::default();
    let mut inputs = Vec::new();
    for &id in &program.inputs {
        let n = program.insts.get(id).map_or(0, |i| i.shape.len()) * load.samples;
        inputs.push(dry.input(NOWHERE, load.parts, n)?);
    }
    let sizes = program.weights.iter().map(|w| w.shape.len());
    let weights = match options.public_weights {
        true => Weights::Public(sizes.map(|n| vec![Default::default(); n]).collect()),
        false => Weights::Shares(sizes.map(Length::of).collect()),
    };
    let mut marks = Vec::with_capacity(program.insts.len());
    let mark = |dry: &Dry<R>, _| marks.push(dry.calls().len());
    let outputs = execute(&mut dry, program, &weights, inputs, load.batch(), options.exact, mark)?;
    outputs.iter().try_for_each(|output| dry.open_to(NOWHERE, load.parts, output))?;
    Ok((dry.into_calls(), marks))
}

fn priced<P: Protocol>(program: &Program, batch: usize, options: &Options) -> Result<Predicted, Error> {
    let (calls, marks) = demand::<P::Ring>(program, batch.into(), options)?;
    let online = |calls: &[Primitive]| calls.iter().map(P::online_cost).sum();
    let mut nodes = Vec::new();
    let mut start = program.inputs.len();
    for (inst, &end) in program.insts.iter().zip(&marks) {
        let part = calls.get(start..end).unwrap_or(&[]);
        start = end;
        if !part.is_empty() {
            merge(&mut nodes, NodeCost { node: inst.node, offline: P::offline_cost(part), online: online(part) });
        }
    }
    Ok(Predicted {
        setup: agreement_cost(P::PARTIES) + P::setup_cost() + weights_cost::<P>(program, options),
        offline: P::offline_cost(&calls),
        online: online(&calls),
        dealt_ahead: P::dealt_ahead(&calls),
        memory_bytes: P::offline_memory(&calls) + peak_values::<P>(program, batch),
        nodes,
    })
}

/// Adds `cost` to the last entry if it belongs to the same node.
fn merge(nodes: &mut Vec<NodeCost>, cost: NodeCost) {
    match nodes.last_mut() {
        Some(last) if last.node == cost.node => {
            last.online += cost.online;
            last.offline += cost.offline;
        }
        Some(_) | None => nodes.push(cost),
    }
}

/// The model owner's tensors travel as one vector; public weights as words.
fn weights_cost<P: Protocol>(program: &Program, options: &Options) -> Cost {
    let n = weight_elements(program);
    match (n, options.public_weights) {
        (0, _) => Cost::FREE,
        (_, false) => Cost::round((0..P::PARTIES).map(|party| P::dealt_bytes(party, n) as u64)),
        (_, true) => Cost::messages(P::PARTIES as u64, packed_len(n, P::Ring::WIDTH.bits()) as u64),
    }
}

/// Elements of all the model owner's tensors.
pub(crate) fn weight_elements(program: &Program) -> usize {
    program.weights.iter().map(|w| w.shape.len()).sum()
}

/// The largest sum of live values over the program, as shares of two words, with weights.
fn peak_values<P: Protocol>(program: &Program, batch: usize) -> u64 {
    let word = std::mem::size_of::<WordOf<P>>() as u64;
    let size = |id: usize| program.insts.get(id).map_or(0, |i| i.shape.len()) as u64;
    let mut last_use = vec![usize::MAX; program.insts.len()];
    for (id, inst) in program.insts.iter().enumerate() {
        inst.op.operands().iter().for_each(|&x| last_use[x] = id);
    }
    let (mut live, mut peak) = (0u64, 0u64);
    for (id, inst) in program.insts.iter().enumerate() {
        live += size(id);
        peak = peak.max(live);
        for x in inst.op.operands() {
            if last_use.get(x) == Some(&id) {
                last_use[x] = usize::MAX;
                live = live.saturating_sub(size(x));
            }
        }
    }
    (peak * batch as u64 + 2 * weight_elements(program) as u64) * 2 * word
}

/// Name, claim and source of a protocol.
pub(crate) fn describe(kind: ProtocolKind) -> (&'static str, Claim, &'static str) {
    with_protocol!(kind, RingWidth::W64, P => described::<P>())
}

fn described<P: Protocol>() -> (&'static str, Claim, &'static str) {
    (P::NAME, P::CLAIM, P::SOURCE)
}
