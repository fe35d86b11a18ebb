//! Arithmetic and activations: one value in, or two under broadcast.

use super::builder::{Builder, Fault, Value, malformed, unsupported, unsupported_hint};
use super::constant::Constant;
use super::node::{OnnxNode, to_node};
use crate::op::{Op, ValueId};

type Built = Result<Vec<Value>, Fault>;

fn one(id: ValueId) -> Built {
    Ok(vec![Value::Node(id)])
}

fn map(b: &mut Builder, n: &OnnxNode, op: Op) -> Built {
    let x = n.value(b, 0)?;
    one(b.unary(op, x)?)
}

/// All inputs, combined two at a time from the left.
fn chain(b: &mut Builder, n: &OnnxNode, op: Op) -> Built {
    let values = n.values(b)?;
    let Some((&first, rest)) = values.split_first() else { return malformed("it has no inputs") };
    one(rest.iter().try_fold(first, |x, &y| b.binary(op.clone(), x, y))?)
}

fn two(b: &mut Builder, n: &OnnxNode, op: Op) -> Built {
    let (x, y) = (n.value(b, 0)?, n.value(b, 1)?);
    one(b.binary(op, x, y)?)
}

pub(crate) fn add(b: &mut Builder, n: &OnnxNode) -> Built {
    two(b, n, Op::Add)
}

pub(crate) fn sub(b: &mut Builder, n: &OnnxNode) -> Built {
    two(b, n, Op::Sub)
}

pub(crate) fn mul(b: &mut Builder, n: &OnnxNode) -> Built {
    two(b, n, Op::Mul)
}

/// A variadic Add.
pub(crate) fn sum(b: &mut Builder, n: &OnnxNode) -> Built {
    chain(b, n, Op::Add)
}

/// Variadic; against the constant 0 alone it is a Relu.
pub(crate) fn max(b: &mut Builder, n: &OnnxNode) -> Built {
    let zero = |v: Option<&Value>| matches!(v, Some(Value::Const(c)) if c.scalar() == Some(0.0) && c.dims.is_empty());
    match n.inputs.len() {
        2 if zero(n.input(1)) => relu(b, n),
        _ => chain(b, n, Op::Max),
    }
}

pub(crate) fn min(b: &mut Builder, n: &OnnxNode) -> Built {
    chain(b, n, Op::Min)
}

/// By a constant: Mul by its reciprocal. A constant by a value: Mul with Reciprocal.
pub(crate) fn div(b: &mut Builder, n: &OnnxNode) -> Built {
    match (n.input(0), n.input(1)) {
        (_, Some(Value::Const(c))) => {
            let x = n.value(b, 0)?;
            let y = reciprocals(b, c)?;
            one(b.binary(Op::Mul, x, y)?)
        }
        (Some(Value::Const(c)), Some(y)) => {
            let y = to_node(b, y)?;
            let inverse = b.unary(Op::Reciprocal, y)?;
            if c.scalar() == Some(1.0) && c.dims.len() <= b.dims(inverse).len() {
                return one(inverse);
            }
            let c = b.weight(c)?;
            one(b.binary(Op::Mul, c, inverse)?)
        }
        _ => two(b, n, Op::Div),
    }
}

fn reciprocals(b: &mut Builder, c: &Constant) -> Result<ValueId, Fault> {
    let values = c.floats();
    if values.contains(&0.0) {
        return malformed(format!("it divides by '{}', which contains 0", c.name));
    }
    b.tensor(&c.name, c.dims.clone(), values.iter().map(|&x| (1.0 / f64::from(x)) as f32).collect())
}

/// `0 - x`.
pub(crate) fn neg(b: &mut Builder, n: &OnnxNode) -> Built {
    let x = n.value(b, 0)?;
    let zero = b.scalar(0.0)?;
    one(b.binary(Op::Sub, zero, x)?)
}

pub(crate) fn relu(b: &mut Builder, n: &OnnxNode) -> Built {
    map(b, n, Op::Relu)
}

pub(crate) fn leaky_relu(b: &mut Builder, n: &OnnxNode) -> Built {
    let alpha = finite("alpha", n.float("alpha", 0.01))?;
    map(b, n, Op::LeakyRelu { alpha })
}

pub(crate) fn prelu(b: &mut Builder, n: &OnnxNode) -> Built {
    let (x, slope) = (n.value(b, 0)?, n.required(1, "slope")?);
    let slope = b.weight(slope)?;
    let y = b.binary(Op::PRelu, x, slope)?;
    if b.dims(y) != b.dims(x) {
        return malformed(format!("its slope of shape {:?} does not fit {:?}", b.dims(slope), b.dims(x)));
    }
    one(y)
}

/// Bounds are attributes up to opset 10, inputs from 11. `[0, inf]` is a Relu.
pub(crate) fn clip(b: &mut Builder, n: &OnnxNode) -> Built {
    let min = bound(n, 1, "min", f32::NEG_INFINITY)?;
    let max = bound(n, 2, "max", f32::INFINITY)?;
    if min.is_nan() || max.is_nan() || min > max {
        return malformed(format!("its bounds are {min} and {max}"));
    }
    // Exporters write "no bound" as the largest float.
    let open = |x: f32| if x.abs() == f32::MAX { x * 2.0 } else { x };
    let (min, max) = (open(min), open(max));
    match (min == 0.0, max == f32::INFINITY) {
        (true, true) => relu(b, n),
        (_, true) if min == f32::NEG_INFINITY => one(n.value(b, 0)?),
        _ => map(b, n, Op::Clip { min, max }),
    }
}

fn bound(n: &OnnxNode, input: usize, name: &str, absent: f32) -> Result<f32, Fault> {
    if n.opset < 11 {
        return Ok(n.float(name, absent));
    }
    match n.constant(input, name)? {
        None => Ok(absent),
        Some(c) => c.scalar().map_or_else(|| malformed(format!("its {name} is not one number")), Ok),
    }
}

pub(crate) fn abs(b: &mut Builder, n: &OnnxNode) -> Built {
    map(b, n, Op::Abs)
}

pub(crate) fn sigmoid(b: &mut Builder, n: &OnnxNode) -> Built {
    map(b, n, Op::Sigmoid)
}

pub(crate) fn tanh(b: &mut Builder, n: &OnnxNode) -> Built {
    map(b, n, Op::Tanh)
}

pub(crate) fn erf(b: &mut Builder, n: &OnnxNode) -> Built {
    map(b, n, Op::Erf)
}

pub(crate) fn exp(b: &mut Builder, n: &OnnxNode) -> Built {
    map(b, n, Op::Exp)
}

pub(crate) fn sqrt(b: &mut Builder, n: &OnnxNode) -> Built {
    map(b, n, Op::Sqrt)
}

pub(crate) fn reciprocal(b: &mut Builder, n: &OnnxNode) -> Built {
    map(b, n, Op::Reciprocal)
}

pub(crate) fn gelu(b: &mut Builder, n: &OnnxNode) -> Built {
    match n.string("approximate").as_deref() {
        None | Some("" | "none") => map(b, n, Op::Gelu { tanh: false }),
        Some("tanh") => map(b, n, Op::Gelu { tanh: true }),
        Some(other) => malformed(format!("approximate is '{other}'")),
    }
}

/// `clip(alpha * x + beta, 0, 1)`.
pub(crate) fn hard_sigmoid(b: &mut Builder, n: &OnnxNode) -> Built {
    let x = n.value(b, 0)?;
    one(hard_gate(b, x, n.float("alpha", 0.2), n.float("beta", 0.5))?)
}

/// `x * clip(x / 6 + 1 / 2, 0, 1)`.
pub(crate) fn hard_swish(b: &mut Builder, n: &OnnxNode) -> Built {
    let x = n.value(b, 0)?;
    let gate = hard_gate(b, x, 1.0 / 6.0, 0.5)?;
    one(b.binary(Op::Mul, x, gate)?)
}

fn hard_gate(b: &mut Builder, x: ValueId, alpha: f32, beta: f32) -> Result<ValueId, Fault> {
    let (alpha, beta) = (b.scalar(finite("alpha", alpha)?)?, b.scalar(finite("beta", beta)?)?);
    let y = b.binary(Op::Mul, x, alpha)?;
    let y = b.binary(Op::Add, y, beta)?;
    b.unary(Op::Clip { min: 0.0, max: 1.0 }, y)
}

/// Largest exponent of [`Op::Pow`]: far beyond what stays in any ring.
const MAX_EXPONENT: u32 = 64;

/// Exponents 1 to 64, 1/2 and -1.
pub(crate) fn pow(b: &mut Builder, n: &OnnxNode) -> Built {
    let Some(exponent) = n.required(1, "exponent")?.scalar() else {
        return unsupported("its exponents differ from element to element");
    };
    if exponent == 1.0 {
        return one(n.value(b, 0)?);
    }
    if exponent == 0.5 {
        return sqrt(b, n);
    }
    if exponent == -1.0 {
        return reciprocal(b, n);
    }
    if exponent.fract() != 0.0 || !(1.0..=MAX_EXPONENT as f32).contains(&exponent) {
        return unsupported_hint(
            format!("its exponent is {exponent}"),
            format!("exponents 1 to {MAX_EXPONENT}, 0.5 and -1 are supported"),
        );
    }
    map(b, n, Op::Pow { exponent: exponent as u32 })
}

fn finite(name: &str, value: f32) -> Result<f32, Fault> {
    if value.is_finite() { Ok(value) } else { malformed(format!("its {name} is {value}")) }
}
