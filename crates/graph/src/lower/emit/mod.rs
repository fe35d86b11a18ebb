//! One operation at a time: which instructions compute it.

mod argmax;
mod arithmetic;
mod arrange;
mod curve;
mod function;
mod linear;
mod piecewise;
mod pool;
mod reduce;
mod softmax;

pub use function::{FLOOR, SMOOTH_ERROR};
pub use softmax::SOFTMAX_ERROR;

use super::context::Context;
use crate::op::{Op, ValueId};
use crate::program::Id;
use crate::{Error, Node};

/// Emits the instructions of one node that depends on an input.
///
/// **Errors:** [`Error::Range`] where a value does not fit the ring, [`Error::Domain`]
/// where a function is undefined on what its input may be.
pub(super) fn node(cx: &mut Context<'_>, id: ValueId) -> Result<Id, Error> {
    let node: &Node = cx.node(id);
    match &node.op {
        Op::Input | Op::Weight(_) => Err(Error::Malformed(format!("'{}' is not among the model's inputs", node.name))),
        Op::MatMul => linear::matmul(cx, id),
        Op::Conv(conv) => linear::conv(cx, id, conv),
        Op::Add => arithmetic::add(cx, id),
        Op::Sub => arithmetic::sub(cx, id),
        Op::Mul => arithmetic::mul(cx, id),
        Op::Div => function::div(cx, id),
        Op::Relu => piecewise::relu(cx, id),
        Op::LeakyRelu { alpha } => piecewise::leaky_relu(cx, id, f64::from(*alpha)),
        Op::PRelu => piecewise::prelu(cx, id),
        Op::Clip { min, max } => piecewise::clip(cx, id, f64::from(*min), f64::from(*max)),
        Op::Abs => piecewise::abs(cx, id),
        Op::Max => piecewise::max(cx, id),
        Op::Min => piecewise::min(cx, id),
        Op::MaxPool(window) => pool::max_pool(cx, id, window),
        Op::AveragePool { window, count_include_pad } => pool::average_pool(cx, id, window, *count_include_pad),
        Op::Sigmoid => function::sigmoid(cx, id),
        Op::Tanh => function::tanh(cx, id),
        Op::Erf => function::erf(cx, id),
        Op::Gelu { tanh } => function::gelu(cx, id, *tanh),
        Op::Softmax { axis } => softmax::softmax(cx, id, *axis),
        Op::Exp => function::exp(cx, id),
        Op::Sqrt => function::sqrt(cx, id),
        Op::Reciprocal => function::reciprocal(cx, id),
        Op::Pow { exponent } => arithmetic::pow(cx, id, *exponent),
        Op::Reduce { kind, axes } => reduce::reduce(cx, id, *kind, axes),
        Op::ArgMax { axis } => argmax::arg_max(cx, id, *axis),
        Op::Concat { axis } => arrange::concat(cx, id, *axis),
        Op::Layout { map } => arrange::layout(cx, id, map.clone()),
        Op::Transpose { perm } => arrange::transpose(cx, id, perm),
        Op::Pad { pads, value } => arrange::pad(cx, id, pads, f64::from(*value)),
        Op::Reshape => cx.raw(node.inputs[0]),
    }
}
