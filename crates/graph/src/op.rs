//! The closed set of operations a model may consist of, one sample at a time.
//!
//! ONNX has some 190 operators with options; after import a model is a list of these.
//! Values are real numbers. Shapes are *per sample*: a symbolic batch axis is imported
//! as 1 and the executor adds the batch in front, so no operation may mix samples.
//!
//! **Adding an operation:** add a variant here; the compiler then lists every `match`
//! that needs an arm (none has a wildcard). See `docs/architecture.md`.

use subrosa_core::{Shape, Tensor};

/// Index of a value: the output of `Graph::nodes[id]`.
pub type ValueId = usize;

/// A model: nodes in topological order, each with one output.
#[derive(Clone, Debug)]
pub struct Graph {
    /// Nodes; an input always refers to an earlier node.
    pub nodes: Vec<Node>,
    /// The model's inputs, each an [`Op::Input`] node, in ONNX order.
    pub inputs: Vec<ValueId>,
    /// The model's outputs in ONNX order.
    pub outputs: Vec<ValueId>,
}

impl Graph {
    /// How often each value is read, by nodes and as an output.
    pub fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.nodes.len()];
        let reads = self.nodes.iter().flat_map(|node| &node.inputs).chain(&self.outputs);
        reads.for_each(|&id| uses[id] += 1);
        uses
    }
}

/// One operation with its ONNX name, inputs and output shape.
#[derive(Clone, Debug)]
pub struct Node {
    /// The ONNX node's name, or the name of its output where it has none.
    pub name: String,
    /// What is computed.
    pub op: Op,
    /// Values read, all earlier than this node.
    pub inputs: Vec<ValueId>,
    /// Shape of one sample of the output.
    pub shape: Shape,
}

/// An operation on real tensors. Unless said otherwise it has one input and the output
/// has the input's shape. "Broadcast" is numpy's rule.
#[derive(Clone, Debug)]
pub enum Op {
    /// A model input (no inputs). The data owner's secret.
    Input,
    /// A tensor of the model (no inputs). The model owner's secret unless weights are
    /// declared public.
    Weight(Tensor<f32>),
    /// Product `[..., m, k] x [..., k, n]`, two inputs, numpy `matmul` rules including
    /// broadcast of the leading axes and promotion of vectors.
    MatMul,
    /// 2-d convolution: inputs `x [n, c, h, w]`, `w [o, c/groups, kh, kw]` (a weight),
    /// and optionally a bias weight `[o]`. 1-d convolution is imported with `h = 1`.
    Conv(Conv),
    /// Sum of two inputs, broadcast.
    Add,
    /// Difference of two inputs, broadcast.
    Sub,
    /// Product of two inputs, broadcast. The two may be the same value (a square).
    Mul,
    /// Quotient of two inputs, broadcast. Division by a weight is imported as
    /// [`Op::Mul`] with the reciprocal.
    Div,
    /// `max(x, 0)`.
    Relu,
    /// `x` where positive, `alpha * x` elsewhere.
    LeakyRelu {
        /// Slope for negative inputs.
        alpha: f32,
    },
    /// As [`Op::LeakyRelu`] with a slope tensor as second input (a weight), broadcast.
    PRelu,
    /// `min(max(x, min), max)`; infinities where a bound is absent.
    Clip {
        /// Lower bound.
        min: f32,
        /// Upper bound.
        max: f32,
    },
    /// Absolute value.
    Abs,
    /// Larger of two inputs, broadcast.
    Max,
    /// Smaller of two inputs, broadcast.
    Min,
    /// Largest value in each window of `[n, c, h, w]`; padding never wins.
    MaxPool(Window),
    /// Mean of each window of `[n, c, h, w]`.
    AveragePool {
        /// The window.
        window: Window,
        /// Whether padding counts as zeros in the mean.
        count_include_pad: bool,
    },
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// Gauss error function.
    Erf,
    /// `x * Phi(x)`, exact or with the tanh approximation: equal within 5e-4.
    Gelu {
        /// Whether the tanh formula is meant.
        tanh: bool,
    },
    /// `e^x / sum(e^x)` along one axis.
    Softmax {
        /// Axis, counted from the front.
        axis: usize,
    },
    /// `e^x`.
    Exp,
    /// Square root of a non-negative input.
    Sqrt,
    /// `1 / x`.
    Reciprocal,
    /// `x^exponent`, exponent at least 1.
    Pow {
        /// The exponent.
        exponent: u32,
    },
    /// Reduction along axes, kept as size 1 (a `Reshape` follows where ONNX drops them).
    Reduce {
        /// What is computed over the axes.
        kind: Reduction,
        /// Axes in ascending order.
        axes: Vec<usize>,
    },
    /// Index of the largest value along an axis (kept as size 1), as a number. Ties: any
    /// of the largest may win under protection; the first wins in the clear.
    ArgMax {
        /// Axis, counted from the front.
        axis: usize,
    },
    /// Inputs one after another along an axis.
    Concat {
        /// Axis, counted from the front.
        axis: usize,
    },
    /// Elements of the input in a new arrangement: slices, gathers with constant
    /// indices, expand. `map[i]` is the input's flat index of output element `i`.
    Layout {
        /// For each output element, the input's flat index.
        map: Vec<u32>,
    },
    /// Axes permuted.
    Transpose {
        /// Output axis `i` is input axis `perm[i]`.
        perm: Vec<usize>,
    },
    /// Constant padding; negative counts are imported as a [`Op::Layout`] first.
    Pad {
        /// Elements added before and after each axis.
        pads: Vec<(usize, usize)>,
        /// The value added.
        value: f32,
    },
    /// The same elements under another shape.
    Reshape,
}

/// What [`Op::Reduce`] computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// The sum.
    Sum,
    /// The arithmetic mean.
    Mean,
    /// The largest value.
    Max,
}

/// A sliding window over height and width; each pair is `(height, width)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Window size.
    pub kernel: (usize, usize),
    /// Step.
    pub strides: (usize, usize),
    /// Distance between window elements.
    pub dilations: (usize, usize),
    /// Padding at the top and left.
    pub pads_begin: (usize, usize),
    /// Padding at the bottom and right.
    pub pads_end: (usize, usize),
    /// Whether a window may start in bounds and end beyond the padding (ONNX `ceil_mode`).
    pub ceil: bool,
}

/// A convolution's window and grouping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// The window; `ceil` is false.
    pub window: Window,
    /// Channel groups; `c` and `o` are multiples of it.
    pub groups: usize,
}

impl Window {
    /// Output height and width for an input of `h x w`, or `None` if the window does not
    /// fit or a stride is zero.
    pub fn output(&self, h: usize, w: usize) -> Option<(usize, usize)> {
        let axis = |size: usize, k: usize, s: usize, d: usize, begin: usize, end: usize| {
            let reach = k.checked_sub(1)?.checked_mul(d)?.checked_add(1)?;
            let padded = size.checked_add(begin)?.checked_add(end)?;
            let room = padded.checked_sub(reach)?;
            let mut n = room.checked_div(s)? + 1;
            // ONNX: with ceil_mode one more window, if it starts inside the input or the
            // padding before it.
            if self.ceil && room % s != 0 && n * s < size + begin {
                n += 1;
            }
            Some(n)
        };
        Some((
            axis(h, self.kernel.0, self.strides.0, self.dilations.0, self.pads_begin.0, self.pads_end.0)?,
            axis(w, self.kernel.1, self.strides.1, self.dilations.1, self.pads_begin.1, self.pads_end.1)?,
        ))
    }

    /// The input's flat `h * w` positions that the window at output `(y, x)` covers, row
    /// by row, `None` where it covers padding.
    pub fn taps(&self, (h, w): (usize, usize), (y, x): (usize, usize)) -> impl Iterator<Item = Option<usize>> + '_ {
        let inside = |out: usize, k: usize, stride: usize, dilation: usize, begin: usize, size: usize| {
            (out * stride + k * dilation).checked_sub(begin).filter(|&p| p < size)
        };
        (0..self.kernel.0 * self.kernel.1).map(move |i| {
            let (ky, kx) = (i / self.kernel.1, i % self.kernel.1);
            let row = inside(y, ky, self.strides.0, self.dilations.0, self.pads_begin.0, h)?;
            let col = inside(x, kx, self.strides.1, self.dilations.1, self.pads_begin.1, w)?;
            Some(row * w + col)
        })
    }
}
