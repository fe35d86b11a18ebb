//! The ONNX operators that are supported: one row each. Operator names are strings here
//! and nowhere else.

use super::builder::{Builder, Fault, Value};
use super::node::OnnxNode;
use super::{arrange, elementwise as e, linear, reduce, shape, window};

/// A supported ONNX operator, for documentation.
#[derive(Clone, Copy)]
pub struct OnnxOp {
    /// ONNX operator name (default domain).
    pub name: &'static str,
    /// What it becomes, and its limits.
    pub note: &'static str,
    pub(super) build: Build,
}

/// Emits one ONNX node; returns its outputs, as many as are supported.
pub(super) type Build = fn(&mut Builder, &OnnxNode) -> Result<Vec<Value>, Fault>;

/// Every supported operator, by name.
pub fn supported_ops() -> &'static [OnnxOp] {
    TABLE
}

const fn row(name: &'static str, build: Build, note: &'static str) -> OnnxOp {
    OnnxOp { name, note, build }
}

const TABLE: &[OnnxOp] = &[
    row("Abs", e::abs, ""),
    row("Add", e::add, ""),
    row("ArgMax", reduce::arg_max, "as the model's last step"),
    row("AveragePool", window::average_pool, "1-d and 2-d"),
    row("BatchNormalization", reduce::batch_norm, "inference: Mul and Add, folded into a Conv or Gemm before it"),
    row("Cast", shape::cast, "between float types"),
    row("Clip", e::clip, "constant bounds"),
    row("Concat", arrange::concat, ""),
    row("Constant", shape::constant, "numbers"),
    row("Conv", linear::conv, "1-d and 2-d, constant weights"),
    row("Div", e::div, "by a constant: Mul by its reciprocal"),
    row("Dropout", shape::dropout, "inference: nothing"),
    row("Erf", e::erf, ""),
    row("Exp", e::exp, ""),
    row("Expand", arrange::expand, "constant shape"),
    row("Flatten", shape::flatten, ""),
    row("Gather", arrange::gather, "constant indices"),
    row("Gelu", e::gelu, "exact and tanh"),
    row("Gemm", linear::gemm, "MatMul and Add"),
    row("GlobalAveragePool", window::global_average, "a mean over the axes behind the channels"),
    row("GlobalMaxPool", window::global_max, "a maximum over the axes behind the channels"),
    row("HardSigmoid", e::hard_sigmoid, "Mul, Add, Clip"),
    row("HardSwish", e::hard_swish, "Mul, Add, Clip, Mul"),
    row("Identity", shape::identity, "nothing"),
    row("LeakyRelu", e::leaky_relu, ""),
    row("MatMul", linear::matmul, ""),
    row("Max", e::max, "any number of inputs"),
    row("MaxPool", window::max_pool, "1-d and 2-d, without Indices"),
    row("Min", e::min, "any number of inputs"),
    row("Mul", e::mul, ""),
    row("Neg", e::neg, "0 - x"),
    row("PRelu", e::prelu, "constant slope"),
    row("Pad", arrange::pad, "constant, reflect, edge and wrap"),
    row("Pow", e::pow, "constant exponent 1 to 64, 0.5 or -1"),
    row("Reciprocal", e::reciprocal, ""),
    row("ReduceMax", reduce::max, ""),
    row("ReduceMean", reduce::mean, ""),
    row("ReduceSum", reduce::sum, ""),
    row("Relu", e::relu, ""),
    row("Reshape", shape::reshape, "constant shape"),
    row("Shape", shape::shape, "a constant"),
    row("Sigmoid", e::sigmoid, ""),
    row("Size", shape::size, "a constant"),
    row("Slice", arrange::slice, "constant ranges"),
    row("Softmax", reduce::softmax, ""),
    row("Split", arrange::split, "constant sizes"),
    row("Sqrt", e::sqrt, ""),
    row("Squeeze", shape::squeeze, ""),
    row("Sub", e::sub, ""),
    row("Sum", e::sum, "any number of inputs"),
    row("Tanh", e::tanh, ""),
    row("Transpose", shape::transpose, ""),
    row("Unsqueeze", shape::unsqueeze, ""),
];
