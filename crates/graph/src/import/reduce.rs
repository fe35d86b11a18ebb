//! Nodes that look along axes: reductions, ArgMax, Softmax and BatchNormalization.

use super::builder::{Builder, Fault, Value, malformed, unsupported, unsupported_hint};
use super::node::{OnnxNode, axes_of};
use crate::op::{Op, Reduction, ValueId};

type Built = Result<Vec<Value>, Fault>;

pub(crate) fn sum(b: &mut Builder, n: &OnnxNode) -> Built {
    reduce(b, n, Reduction::Sum)
}

pub(crate) fn mean(b: &mut Builder, n: &OnnxNode) -> Built {
    reduce(b, n, Reduction::Mean)
}

pub(crate) fn max(b: &mut Builder, n: &OnnxNode) -> Built {
    reduce(b, n, Reduction::Max)
}

/// Axes are an attribute, or an input since opset 13 (ReduceSum) and 18 (the others).
fn reduce(b: &mut Builder, n: &OnnxNode, kind: Reduction) -> Built {
    let x = n.value(b, 0)?;
    let rank = b.dims(x).len();
    let axes = match n.int_list(1, "axes")? {
        Some(axes) if !axes.is_empty() => axes_of(&axes, rank)?,
        _ if n.flag("noop_with_empty_axes") => return Ok(vec![Value::Node(x)]),
        _ => (0..rank).collect(),
    };
    if axes.is_empty() {
        return Ok(vec![Value::Node(x)]);
    }
    let keep = n.int("keepdims", 1) != 0;
    let y = along(b, Op::Reduce { kind, axes: axes.clone() }, x, &axes)?;
    Ok(vec![Value::Node(if keep { y } else { without(b, y, &axes)? })])
}

/// Index of the largest value; the first of equal ones.
pub(crate) fn arg_max(b: &mut Builder, n: &OnnxNode) -> Built {
    if n.flag("select_last_index") {
        return unsupported("select_last_index is not supported: the first of equal values is taken");
    }
    let x = n.value(b, 0)?;
    let axis = n.axis("axis", 0, b.dims(x).len(), false)?;
    let y = along(b, Op::ArgMax { axis }, x, &[axis])?;
    Ok(vec![Value::Node(if n.int("keepdims", 1) != 0 { y } else { without(b, y, &[axis])? })])
}

/// Emits an operation that leaves size 1 in `axes`.
fn along(b: &mut Builder, op: Op, x: ValueId, axes: &[usize]) -> Result<ValueId, Fault> {
    let mut dims = b.dims(x).to_vec();
    axes.iter().for_each(|&a| dims[a] = 1);
    b.emit(op, vec![x], dims)
}

fn without(b: &mut Builder, x: ValueId, axes: &[usize]) -> Result<ValueId, Fault> {
    let kept = b.dims(x).iter().enumerate().filter(|(a, _)| !axes.contains(a)).map(|(_, &d)| d).collect();
    b.reshape(x, kept)
}

/// Along one axis; before opset 13 along all axes from it on, taken as one.
pub(crate) fn softmax(b: &mut Builder, n: &OnnxNode) -> Built {
    let x = n.value(b, 0)?;
    let dims = b.dims(x).to_vec();
    let axis = n.axis("axis", if n.opset < 13 { 1 } else { -1 }, dims.len(), false)?;
    if n.opset >= 13 || dims[axis + 1..].iter().all(|&d| d == 1) {
        return Ok(vec![Value::Node(b.unary(Op::Softmax { axis }, x)?)]);
    }
    let mut flat = dims[..axis].to_vec();
    flat.push(dims[axis..].iter().product());
    let x = b.reshape(x, flat)?;
    let y = b.unary(Op::Softmax { axis }, x)?;
    Ok(vec![Value::Node(b.reshape(y, dims)?)])
}

/// In inference: `scale * (x - mean) / sqrt(variance + epsilon) + shift` for each channel,
/// as Mul and Add, which fold into a Conv or MatMul before it.
pub(crate) fn batch_norm(b: &mut Builder, n: &OnnxNode) -> Built {
    let training = n.flag("training_mode") || n.proto.output.iter().skip(1).any(|o| !o.is_empty());
    if training {
        return unsupported_hint("it is in training mode", "export the model in eval mode (model.eval() in PyTorch)");
    }
    if n.int("spatial", 1) == 0 {
        return unsupported("it normalises every position on its own (spatial = 0)");
    }
    let x = n.value(b, 0)?;
    let Some(&channels) = b.dims(x).get(1) else { return malformed("its input has no channel axis") };
    let (factors, shifts) = affine(n, channels)?;
    let mut dims = vec![channels];
    dims.resize(b.dims(x).len() - 1, 1);
    let name = n.required(1, "scale")?.name.clone();
    let factors = b.tensor(&name, dims.clone(), factors)?;
    let shifts = b.tensor(&name, dims, shifts)?;
    let y = b.binary(Op::Mul, x, factors)?;
    Ok(vec![Value::Node(b.binary(Op::Add, y, shifts)?)])
}

/// Factor and shift of each channel.
fn affine(n: &OnnxNode, channels: usize) -> Result<(Vec<f32>, Vec<f32>), Fault> {
    let read = |i: usize, what: &str| match n.required(i, what)? {
        c if c.dims == [channels] => Ok(c.floats()),
        c => malformed(format!("its {what} has shape {:?}, not [{channels}]", c.dims)),
    };
    let (scale, shift, mean, variance) = (read(1, "scale")?, read(2, "B")?, read(3, "mean")?, read(4, "variance")?);
    let epsilon = f64::from(n.float("epsilon", 1e-5));
    let pair = |c: usize| {
        let factor = f64::from(scale[c]) / (f64::from(variance[c]) + epsilon).sqrt();
        (factor as f32, (f64::from(shift[c]) - f64::from(mean[c]) * factor) as f32)
    };
    Ok((0..channels).map(pair).unzip())
}
