//! From real numbers to integers: choosing ring and fractions, proving ranges.
//!
//! 1. `real`: the real interval of every element of every value, from the input's range.
//! 2. `scale`: for a ring, how many fraction bits each value can have; the narrowest
//!    ring in which all have enough is taken.
//! 3. `emit`: each operation becomes instructions; the `builder` proves for each that it
//!    fits the ring, by exact integer intervals that include what truncations may add.
//!
//! **What a program tells of the weights:** it holds no weight, but `bits`, fractions and
//! the ring follow from their magnitudes, rounded up to powers of two. Slopes, bounds and
//! exponents that are attributes of ONNX nodes (of LeakyRelu, Clip, Pow, Pad) are public.

mod builder;
mod context;
mod emit;
mod geometry;
mod real;
mod rewrite;
mod scale;
mod span;
mod special;
mod spline;
mod ulps;

pub use emit::{FLOOR, SMOOTH_ERROR, SOFTMAX_ERROR};

use crate::{Error, Graph, Op, Program, WeightSet};
use context::Context;
use scale::Scales;
use subrosa_core::{RingWidth, fixed};

/// The values one input may take; anything outside is refused before it is encoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InputRange {
    /// Smallest value.
    pub lo: f64,
    /// Largest value.
    pub hi: f64,
}

/// What the result receiver gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Reveal {
    /// The model's outputs.
    #[default]
    Logits,
    /// Only the index of the largest output along the last axis, computed inside the
    /// protocol.
    Label,
}

/// How a protocol compares, as far as it decides what is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Comparing {
    /// By circuits on shared bits: a wider number costs a few bits more.
    #[default]
    Circuits,
    /// By keys, which have a ciphertext for each bit: narrow numbers are worth a truncation and
    /// its round.
    Keys,
}

/// How to lower.
#[derive(Clone, Debug, Default)]
pub struct LowerOptions {
    /// The ring, or the narrowest that keeps enough fraction bits.
    pub ring: Option<RingWidth>,
    /// One range an input of the model.
    pub inputs: Vec<InputRange>,
    /// What is revealed.
    pub reveal: Reveal,
    /// What comparisons of the protocol cost.
    pub comparing: Comparing,
}

/// A lowered model: the public program, the secret weights, and what was proven.
pub struct Lowered {
    /// Public: what every party executes.
    pub program: Program,
    /// The model owner's integers.
    pub weights: WeightSet,
    /// The ranges the proof assumes.
    pub inputs: Vec<InputRange>,
    /// For each output: any protocol's result differs from the oracle's by at most this
    /// many units in the last place. `None` where a comparison's outcome may differ within
    /// rounding (an argmax of near-equal values).
    pub output_ulps: Vec<Option<u64>>,
    /// Largest real magnitude proven for each instruction (same index as
    /// `program.insts`): for the model owner's eyes, it depends on the weights.
    pub magnitudes: Vec<f64>,
    /// Names of the nodes that [`Inst::node`](crate::Inst::node) refers to.
    pub nodes: Vec<String>,
}

/// Lowers a graph.
///
/// **Errors:** [`Error::Range`] or [`Error::Domain`] naming the node, the bound and the
/// remedy; [`Error::Input`] for ranges that are none; [`Error::Malformed`] for a graph
/// that is inconsistent or holds weights that are not finite.
pub fn lower(graph: &Graph, options: &LowerOptions) -> Result<Lowered, Error> {
    check_ranges(graph, options)?;
    let graph = rewrite::prepare(graph, options.reveal)?;
    let facts = real::facts(&graph, &options.inputs)?;
    let mut refusal = None;
    for (ring, least) in candidates(options.ring) {
        match lower_in(&graph, &facts, options, ring, least) {
            Err(error @ (Error::Range { .. } | Error::Domain { .. })) => refusal = Some(error),
            done => return done,
        }
    }
    Err(refusal.unwrap_or_else(|| Error::Malformed("no ring to try".to_owned())))
}

/// The rings to try in this order, with the fewest fraction bits each must leave.
fn candidates(forced: Option<RingWidth>) -> Vec<(RingWidth, u32)> {
    match forced {
        Some(ring) => vec![(ring, scale::LEAST)],
        None => {
            let good = RingWidth::ALL.map(|ring| (ring, scale::GOOD));
            good.into_iter().chain([(RingWidth::W64, scale::LEAST)]).collect()
        }
    }
}

/// Rounding can push a product past the bound proven for reals: then a bit is given up.
const MOST_SLACK: u32 = 2;

fn lower_in(
    graph: &Graph,
    facts: &[real::Fact],
    options: &LowerOptions,
    ring: RingWidth,
    least: u32,
) -> Result<Lowered, Error> {
    let mut refusal = None;
    for slack in 0..=MOST_SLACK {
        let scales = Scales::new(graph, facts, ring, slack);
        if scales.score < least {
            return Err(refusal.unwrap_or_else(|| scales.refusal(graph, facts)));
        }
        match emit_all(graph, facts, &scales, options) {
            Err(error @ Error::Range { .. }) => refusal = Some(error),
            done => return done,
        }
    }
    Err(refusal.unwrap_or_else(|| Error::Malformed("no fraction to try".to_owned())))
}

fn emit_all(graph: &Graph, facts: &[real::Fact], scales: &Scales, options: &LowerOptions) -> Result<Lowered, Error> {
    let mut cx = Context::new(graph, facts, scales, options.comparing);
    for (id, node) in graph.nodes.iter().enumerate() {
        cx.b.enter(id, &node.name);
        if let Some(i) = graph.inputs.iter().position(|&input| input == id) {
            let input = cx.input(id, options.inputs[i])?;
            cx.define(id, input);
        } else if !cx.is_constant(id) {
            let value = emit::node(&mut cx, id)?;
            cx.define(id, value);
        }
    }
    let mut outputs = Vec::with_capacity(graph.outputs.len());
    for &id in &graph.outputs {
        let raw = cx.raw(id)?;
        outputs.push(cx.b.reshaped(raw, graph.nodes[id].shape.clone())?);
    }
    let built = cx.b.finish(outputs);
    let promise = |&id: &usize| Some(built.errors[id]).filter(|&e| e != ulps::UNBOUNDED);
    Ok(Lowered {
        output_ulps: built.program.outputs.iter().map(promise).collect(),
        program: built.program,
        weights: built.weights,
        inputs: options.inputs.clone(),
        magnitudes: built.magnitudes,
        nodes: graph.nodes.iter().map(|node| node.name.clone()).collect(),
    })
}

fn check_ranges(graph: &Graph, options: &LowerOptions) -> Result<(), Error> {
    let (needed, given) = (graph.inputs.len(), options.inputs.len());
    if needed != given {
        return Err(Error::Input(format!("the model has {needed} inputs, {given} input ranges were given")));
    }
    match options.inputs.iter().find(|r| !(r.lo.is_finite() && r.hi.is_finite() && r.lo <= r.hi)) {
        Some(r) => Err(Error::Input(format!("the input range {}..{} is not an interval", r.lo, r.hi))),
        None => Ok(()),
    }
}

impl Lowered {
    /// Encodes flat samples of one input.
    ///
    /// **Errors:** [`Error::Input`] for NaN, infinities and values out of range, naming
    /// the first offending position and the remedy, never the value of a neighbour; for an
    /// unknown input, and a length that is not a number of samples.
    pub fn encode(&self, input: usize, samples: &[f32]) -> Result<Vec<i64>, Error> {
        encode_input(&self.program, &self.inputs, input, samples)
    }

    /// Decodes flat results of one output. Empty for an output the model does not have.
    pub fn decode(&self, output: usize, values: &[i64]) -> Vec<f32> {
        decode_output(&self.program, output, values)
    }
}

/// As [`Lowered::encode`], for whoever has the public program and its ranges alone.
///
/// **Errors:** as [`Lowered::encode`].
pub fn encode_input(
    program: &Program,
    ranges: &[InputRange],
    input: usize,
    samples: &[f32],
) -> Result<Vec<i64>, Error> {
    let inst = program.inputs.get(input).and_then(|&id| program.insts.get(id));
    let (Some(&range), Some(inst)) = (ranges.get(input), inst) else {
        return Err(Error::Input(format!("the model has no input {input}")));
    };
    let len = inst.shape.len().max(1);
    if !samples.len().is_multiple_of(len) {
        return Err(Error::Input(format!("input {input}: {} values are no multiple of {len}", samples.len())));
    }
    let one = |(i, &v): (usize, &f32)| {
        fixed::encode_within(v, range.lo, range.hi, inst.frac).ok_or_else(|| outside(input, i, len, v, range))
    };
    samples.iter().enumerate().map(one).collect()
}

/// As [`Lowered::decode`].
pub fn decode_output(program: &Program, output: usize, values: &[i64]) -> Vec<f32> {
    let Some(inst) = program.outputs.get(output).and_then(|&id| program.insts.get(id)) else { return Vec::new() };
    values.iter().map(|&v| fixed::decode(v, inst.frac) as f32).collect()
}

fn outside(input: usize, i: usize, len: usize, v: f32, range: InputRange) -> Error {
    let place = format!("input {input}, sample {}, position {}", i / len, i % len);
    if !v.is_finite() {
        return Error::Input(format!("{place}: {v} is not a number to compute with; clean the input"));
    }
    Error::Input(format!(
        "{place}: the value is outside the range {}..{} that the plan was proven for; scale the input, or plan with a \
         wider --input-range",
        range.lo, range.hi
    ))
}

/// Whether an operation has the number of inputs it must have.
fn arity(op: &Op) -> std::ops::RangeInclusive<usize> {
    match op {
        Op::Input | Op::Weight(_) => 0..=0,
        Op::MatMul | Op::Add | Op::Sub | Op::Mul | Op::Div | Op::PRelu | Op::Max | Op::Min => 2..=2,
        Op::Conv(_) => 2..=3,
        Op::Concat { .. } => 1..=usize::MAX,
        Op::Relu
        | Op::LeakyRelu { .. }
        | Op::Clip { .. }
        | Op::Abs
        | Op::MaxPool(_)
        | Op::AveragePool { .. }
        | Op::Sigmoid
        | Op::Tanh
        | Op::Erf
        | Op::Gelu { .. }
        | Op::Softmax { .. }
        | Op::Exp
        | Op::Sqrt
        | Op::Reciprocal
        | Op::Pow { .. }
        | Op::Reduce { .. }
        | Op::ArgMax { .. }
        | Op::Layout { .. }
        | Op::Transpose { .. }
        | Op::Pad { .. }
        | Op::Reshape => 1..=1,
    }
}
