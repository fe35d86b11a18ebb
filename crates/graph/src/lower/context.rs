//! Lowering one graph in one ring: which integers stand for which value.

use super::Comparing;
use super::builder::Builder;
use super::geometry as geo;
use super::real::Fact;
use super::scale::{self, Scales};
use crate::op::ValueId;
use crate::program::Id;
use crate::{Error, Graph, InputRange, Node, Op};
use std::collections::{HashMap, HashSet};
use subrosa_core::{Shape, fixed};

/// The state of lowering one graph.
pub(super) struct Context<'g> {
    pub(super) graph: &'g Graph,
    pub(super) facts: &'g [Fact],
    pub(super) scales: &'g Scales,
    pub(super) comparing: Comparing,
    pub(super) b: Builder,
    /// The integers of each node that has been lowered, at whatever fraction it left them.
    values: Vec<Option<Id>>,
    uses: Vec<usize>,
    /// Readers still to come.
    pending: Vec<usize>,
    /// Truncations made so far: two readers share one.
    truncated: HashMap<(Id, u32), Id>,
    /// Constants encoded so far, by node and fraction.
    encoded: HashMap<(ValueId, u32), Id>,
}

impl<'g> Context<'g> {
    pub(super) fn new(graph: &'g Graph, facts: &'g [Fact], scales: &'g Scales, comparing: Comparing) -> Self {
        let uses = graph.uses();
        Self {
            graph,
            facts,
            scales,
            comparing,
            b: Builder::new(scales.ring),
            values: vec![None; graph.nodes.len()],
            pending: uses.clone(),
            uses,
            truncated: HashMap::new(),
            encoded: HashMap::new(),
        }
    }

    pub(super) fn node(&self, id: ValueId) -> &'g Node {
        &self.graph.nodes[id]
    }

    pub(super) fn dims(&self, id: ValueId) -> &'g [usize] {
        self.graph.nodes[id].shape.dims()
    }

    pub(super) fn is_constant(&self, id: ValueId) -> bool {
        self.facts[id].constant.is_some()
    }

    /// Records what a node became and forgets what nobody reads any more.
    pub(super) fn define(&mut self, id: ValueId, value: Id) {
        self.values[id] = Some(value);
        for &input in &self.graph.nodes[id].inputs {
            self.pending[input] -= 1;
        }
        let live = |id: &ValueId| self.pending[*id] > 0;
        let raw: HashSet<Id> =
            (0..=id).filter(live).filter_map(|id| self.values[id]).chain(self.b_inputs_kept()).collect();
        let shared = self.truncated.iter().filter(|((x, _), _)| raw.contains(x)).map(|(_, &id)| id);
        let constants = self.encoded.iter().filter(|((node, _), _)| live(node)).map(|(_, &id)| id);
        let keep: HashSet<Id> = raw.iter().copied().chain(shared).chain(constants).collect();
        self.truncated.retain(|(x, _), _| raw.contains(x));
        self.encoded.retain(|_, id| keep.contains(id));
        self.b.retire(&keep);
    }

    /// Inputs stay known: constants ride on them, see [`Context::zero`].
    fn b_inputs_kept(&self) -> impl Iterator<Item = Id> + '_ {
        self.graph.inputs.iter().filter_map(|&id| self.values[id])
    }

    /// A node's integers, at whatever fraction they are; a constant rides on a batch of
    /// zeros.
    pub(super) fn raw(&mut self, id: ValueId) -> Result<Id, Error> {
        if self.is_constant(id) {
            let constant = self.constant(id, self.scales.target[id])?;
            return self.with_batch(constant);
        }
        self.values[id]
            .ok_or_else(|| Error::Malformed(format!("node '{}' is read before it is made", self.node(id).name)))
    }

    /// A node's integers with at most the fraction bits its readers allow.
    pub(super) fn activation(&mut self, id: ValueId) -> Result<Id, Error> {
        let raw = self.raw(id)?;
        self.at_most(raw, self.scales.target[id])
    }

    /// A node's integers to be multiplied by a weight at node `reader`.
    pub(super) fn factor(&mut self, x: ValueId, reader: ValueId) -> Result<Id, Error> {
        let raw = self.raw(x)?;
        if self.scales.surplus(reader, x, self.b.frac(raw)) { Ok(raw) } else { self.activation(x) }
    }

    /// Whether only one node reads this value, so that a truncation may fuse with it.
    pub(super) fn read_once(&self, id: ValueId) -> bool {
        let node = self.node(id);
        self.uses[id] == 1 && (!matches!(node.op, Op::Reshape) || self.read_once(node.inputs[0]))
    }

    /// Truncated to `frac`, unless it has fewer fraction bits anyway.
    pub(super) fn at_most(&mut self, x: Id, frac: u32) -> Result<Id, Error> {
        let shift = self.b.frac(x).saturating_sub(frac);
        if shift == 0 {
            return Ok(x);
        }
        if let Some(&shared) = self.truncated.get(&(x, frac)) {
            return Ok(shared);
        }
        let truncated = self.b.trunc(x, shift)?;
        self.truncated.insert((x, frac), truncated);
        Ok(truncated)
    }

    /// Shifted to exactly `frac`, either way.
    pub(super) fn at(&mut self, x: Id, frac: u32) -> Result<Id, Error> {
        match frac.checked_sub(self.b.frac(x)) {
            Some(0) => Ok(x),
            Some(up) => self.b.mul_public(x, 1i64 << up.min(62), up),
            None => self.at_most(x, frac),
        }
    }

    /// Whether node `id` at this fraction can be truncated, or is an output and need not be.
    pub(super) fn fits(&self, id: ValueId, frac: u32) -> bool {
        let most = self.scales.ring.bits() - 2 + u32::from(self.scales.untruncated[id]);
        self.facts[id].bound() * f64::from(frac).exp2() < f64::from(most).exp2()
    }

    /// Both at one fraction: the larger where node `id`, their sum or difference, fits at
    /// it, else the targets' smaller.
    pub(super) fn aligned(&mut self, x: Id, y: Id, id: ValueId, target: u32) -> Result<(Id, Id), Error> {
        let frac = self.b.frac(x).max(self.b.frac(y));
        let whole = f64::from(self.scales.ring.bits() - 1 - frac.min(self.scales.ring.bits() - 1)).exp2();
        if self.fits(id, frac) && self.b.magnitude(x) < whole && self.b.magnitude(y) < whole {
            return Ok((self.at(x, frac)?, self.at(y, frac)?));
        }
        let (x, y) = (self.at_most(x, target)?, self.at_most(y, target)?);
        let frac = self.b.frac(x).max(self.b.frac(y));
        Ok((self.at(x, frac)?, self.at(y, frac)?))
    }

    /// A constant at `frac`, without batch axis.
    pub(super) fn constant(&mut self, id: ValueId, frac: u32) -> Result<Id, Error> {
        if let Some(&shared) = self.encoded.get(&(id, frac)) {
            return Ok(shared);
        }
        let values = self.facts[id].constant.as_deref().cloned().unwrap_or_default();
        let integers: Option<Vec<i64>> = values.iter().map(|&v| fixed::encode(v, frac)).collect();
        let bound = self.facts[id].bound() * f64::from(frac).exp2();
        let integers = integers.ok_or_else(|| self.b.too_large(bound, frac, 65))?;
        let node = self.node(id);
        let encoded = self.b.weight(&node.name, node.shape.clone(), frac, integers)?;
        self.encoded.insert((id, frac), encoded);
        Ok(encoded)
    }

    /// `n` zeros for every sample. They are a batched value times zero: no protocol needs
    /// a way to make them.
    pub(super) fn zeros(&mut self, n: usize, frac: u32) -> Result<Id, Error> {
        let carrier = self.graph.inputs.iter().filter_map(|&id| self.values[id]).find(|&id| self.b.len(id) > 0);
        let carrier = carrier.ok_or_else(|| Error::Malformed("the model has no input".to_owned()))?;
        let repeated = self.b.layout(carrier, vec![0; n], Shape::vector(n))?;
        self.b.nothing(repeated, frac)
    }

    /// A constant as a batched value.
    pub(super) fn with_batch(&mut self, constant: Id) -> Result<Id, Error> {
        let zeros = self.zeros(self.b.len(constant), self.b.frac(constant))?;
        self.b.add(zeros, constant)
    }

    /// Broadcast from the shape of one node to that of another.
    pub(super) fn broadcast(&mut self, x: Id, from: ValueId, to: ValueId) -> Result<Id, Error> {
        let map = geo::broadcast(self.dims(from), self.dims(to));
        self.b.layout(x, map, self.node(to).shape.clone())
    }

    /// A model input at its target fraction.
    pub(super) fn input(&mut self, id: ValueId, range: InputRange) -> Result<Id, Error> {
        let frac = self.scales.target[id];
        let ends = (fixed::encode(range.lo, frac), fixed::encode(range.hi, frac));
        let (Some(lo), Some(hi)) = ends else {
            return Err(self.b.too_large(self.facts[id].bound() * f64::from(frac).exp2(), frac, 65));
        };
        self.b.input(self.node(id).shape.clone(), frac, (lo, hi))
    }

    /// That a function cannot be computed on what its input may be.
    pub(super) fn domain(&self, id: ValueId, why: String) -> Error {
        Error::Domain { node: self.node(id).name.clone(), why, remedy: scale::NARROWER.to_owned() }
    }
}
