//! From real numbers to integers: choosing ring and fractions, proving ranges.

use crate::{Error, Graph, Program, WeightSet};
use subrosa_core::RingWidth;

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

/// How to lower.
#[derive(Clone, Debug)]
pub struct LowerOptions {
    /// The ring, or the narrowest that keeps enough fraction bits.
    pub ring: Option<RingWidth>,
    /// One range an input of the model.
    pub inputs: Vec<InputRange>,
    /// What is revealed.
    pub reveal: Reveal,
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
}

/// Lowers a graph.
///
/// **Errors:** [`Error::Range`] or [`Error::Domain`] naming the node, the bound and the
/// remedy.
pub fn lower(graph: &Graph, options: &LowerOptions) -> Result<Lowered, Error> {
    let _ = (graph, options);
    Err(Error::Malformed(String::new()))
}

impl Lowered {
    /// Encodes flat samples of one input.
    ///
    /// **Errors:** [`Error::Input`] for NaN, infinities and values out of range, naming
    /// the first offending position and the remedy, never the value of a neighbour.
    pub fn encode(&self, input: usize, samples: &[f32]) -> Result<Vec<i64>, Error> {
        let _ = (input, samples);
        Err(Error::Malformed(String::new()))
    }

    /// Decodes flat results of one output.
    pub fn decode(&self, output: usize, values: &[i64]) -> Vec<f32> {
        let _ = (output, values);
        Vec::new()
    }
}
