//! A model as integer arithmetic: what every protocol executes.
//!
//! A [`Program`] is the model after fixed-point lowering. Each value is a tensor of
//! integers in Z_2^k with a known number of fraction bits and a proven magnitude;
//! everything a protocol must decide (truncations, comparison widths) is already in it.
//! It contains no weight: those are in [`WeightSet`], the model owner's secret. So a
//! program is public, printable, and has a digest that parties compare.
//!
//! Shapes are per sample; a batch of `b` samples multiplies every value but weights and
//! public constants by `b`, in front.

mod digest;
mod display;
mod wire;

use serde::{Deserialize, Serialize};
use subrosa_core::geometry::{ConvGeometry, MatDims};
use subrosa_core::{RingWidth, Shape};

/// Index of a value: the output of `Program::insts[id]`.
pub type Id = usize;

/// A model lowered to integers. Instructions are in order of execution.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Program {
    /// The ring.
    pub ring: RingWidth,
    /// Instructions; operands are always earlier.
    pub insts: Vec<Inst>,
    /// The model's inputs, each a [`FixedOp::Input`].
    pub inputs: Vec<Id>,
    /// The model's outputs.
    pub outputs: Vec<Id>,
    /// Shapes of the model owner's tensors, by [`FixedOp::Weight`] index.
    pub weights: Vec<WeightShape>,
}

/// What is public about one tensor of the model owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightShape {
    /// Its shape.
    pub shape: Shape,
    /// Fraction bits.
    pub frac: u32,
    /// ONNX name, for messages.
    pub name: String,
}

/// The model owner's tensors as integers, in the order of [`Program::weights`]. Secret:
/// no `Debug`.
#[derive(Clone)]
pub struct WeightSet {
    /// One flat row-major tensor each.
    pub tensors: Vec<Vec<i64>>,
}

/// One instruction: the value it makes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Inst {
    /// What is computed.
    pub op: FixedOp,
    /// Shape of one sample.
    pub shape: Shape,
    /// Fraction bits of the result.
    pub frac: u32,
    /// The result `v` satisfies `-2^(bits-1) <= v < 2^(bits-1)`, proven, whatever the
    /// (range-checked) input and whatever last-place error truncations add. At most `k`.
    pub bits: u32,
    /// Whether the value has a batch axis. Without: a weight, a public constant, or a
    /// rearrangement of one, the same for every sample.
    pub batched: bool,
    /// The model's node this belongs to, for messages and per-layer figures: an index
    /// into the graph's nodes ([`crate::Lowered::nodes`] has their names).
    pub node: usize,
}

/// An integer operation. All arithmetic is exact modulo 2^k except [`FixedOp::Trunc`] and
/// [`FixedOp::TruncRelu`], whose result may be one too large.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FixedOp {
    /// The data owner's tensor, already scaled to integers.
    Input {
        /// Which input.
        index: usize,
    },
    /// The model owner's tensor (no batch axis; the same for every sample).
    Weight {
        /// Index into [`Program::weights`].
        index: usize,
    },
    /// A constant known to all (no batch axis).
    Public {
        /// Its values, row-major.
        values: Vec<i64>,
    },
    /// `groups` independent products `[m, k] x [k, n]`; the result keeps both fractions.
    /// `x` is a batched value. `y` is a batched value of the same `groups`, or a weight,
    /// then either with `groups` matrices or with one shared by all.
    MatMul {
        /// Left operand, `[groups, m, k]`.
        x: Id,
        /// Right operand, `[groups, k, n]` or a weight `[k, n]`.
        y: Id,
        /// Sizes.
        dims: MatDims,
    },
    /// Convolution of a batched value with a weight; the result keeps both fractions.
    Conv {
        /// Batched input, one sample `[c, h, w]`.
        x: Id,
        /// Weight `[o, c/groups, kh, kw]`.
        w: Id,
        /// Sizes.
        geometry: ConvGeometry,
    },
    /// Elementwise product of equal shapes; the result keeps both fractions. Either
    /// operand may be a weight; `x == y` is a square.
    Mul {
        /// Left operand.
        x: Id,
        /// Right operand.
        y: Id,
    },
    /// Elementwise sum of equal shapes and fractions; either operand may be without batch.
    Add {
        /// Left operand.
        x: Id,
        /// Right operand.
        y: Id,
    },
    /// Elementwise difference; as [`FixedOp::Add`].
    Sub {
        /// Left operand.
        x: Id,
        /// Right operand.
        y: Id,
    },
    /// Product with one integer known to all. Also raises the fraction (a shift left).
    MulPublic {
        /// Operand.
        x: Id,
        /// Factor.
        by: i64,
    },
    /// Elementwise product with a public tensor of one sample's shape.
    Scale {
        /// Operand.
        x: Id,
        /// Factors, one for each element of a sample.
        by: Vec<i64>,
    },
    /// `floor(x / 2^shift)`, or one more. The input has at least one bit of slack:
    /// its `bits` is at most `k - 1`.
    Trunc {
        /// Operand.
        x: Id,
        /// Bits dropped.
        shift: u32,
    },
    /// `max(x, 0)`, exact.
    Relu {
        /// Operand.
        x: Id,
    },
    /// `max(trunc(x), 0)`: [`FixedOp::Trunc`] then [`FixedOp::Relu`], fused because many
    /// protocols do both for the price of one. `bits_truncated` bounds the truncated value.
    TruncRelu {
        /// Operand.
        x: Id,
        /// Bits dropped.
        shift: u32,
        /// Signed width of the truncated value, before the comparison.
        bits_truncated: u32,
    },
    /// 1 where `x < 0`, else 0; exact. Fraction 0.
    Ltz {
        /// Operand.
        x: Id,
    },
    /// Elements of each sample in a new arrangement. Of a weight or public constant: one
    /// again, without batch axis.
    Layout {
        /// Operand.
        x: Id,
        /// For each output element of one sample, the input's flat index in its sample.
        map: Vec<u32>,
    },
    /// Samples of several values, flattened, one after another: the result's sample is
    /// the concatenation of the operands' samples. (A `Layout` then interleaves axes.)
    Concat {
        /// Operands.
        xs: Vec<Id>,
    },
    /// Sums of runs: the sample is `[outer, len, inner]`, the result `[outer, inner]`.
    Sum {
        /// Operand.
        x: Id,
        /// Elements summed.
        len: usize,
        /// Elements behind the summed axis.
        inner: usize,
    },
}

impl Program {
    /// Whether the value has no batch axis (a weight, a public constant, or a
    /// rearrangement of one).
    pub fn is_constant(&self, id: Id) -> bool {
        self.insts.get(id).is_some_and(|i| !i.batched)
    }
}

impl FixedOp {
    /// The values this instruction reads.
    pub fn operands(&self) -> Vec<Id> {
        match self {
            Self::Input { .. } | Self::Weight { .. } | Self::Public { .. } => Vec::new(),
            Self::MatMul { x, y, .. } | Self::Mul { x, y } | Self::Add { x, y } | Self::Sub { x, y } => vec![*x, *y],
            Self::Conv { x, w, .. } => vec![*x, *w],
            Self::MulPublic { x, .. }
            | Self::Scale { x, .. }
            | Self::Trunc { x, .. }
            | Self::Relu { x }
            | Self::TruncRelu { x, .. }
            | Self::Ltz { x }
            | Self::Layout { x, .. }
            | Self::Sum { x, .. } => vec![*x],
            Self::Concat { xs } => xs.clone(),
        }
    }
}
