//! Gemm, MatMul and Conv.

use super::builder::{Builder, Fault, Value, broadcast, malformed, unsupported, unsupported_hint};
use super::constant::Constant;
use super::node::OnnxNode;
use super::window;
use crate::op::{Conv, Op, ValueId};

/// `alpha * A' B' + beta * C`, where `'` is an optional transposition: MatMul then Add,
/// with everything about the constants folded into them.
pub(crate) fn gemm(b: &mut Builder, n: &OnnxNode) -> Result<Vec<Value>, Fault> {
    let (alpha, beta) = (n.float("alpha", 1.0), n.float("beta", 1.0));
    let a = matrix(b, n, 0, "transA", 1.0)?;
    let y = matrix(b, n, 1, "transB", alpha)?;
    let mut product = matmul_of(b, a, y)?;
    if matches!(n.input(1), Some(Value::Node(_))) {
        product = scaled(b, product, alpha)?;
    }
    if n.input(2).is_none() || beta == 0.0 {
        return Ok(vec![Value::Node(product)]);
    }
    let c = match n.input(2) {
        Some(Value::Const(c)) if beta != 1.0 => {
            b.check_grant(&c.name, c.len())?;
            let values = c.floats().iter().map(|x| x * beta).collect();
            b.tensor(&c.name, c.dims.clone(), values)?
        }
        Some(Value::Node(id)) => scaled(b, *id, beta)?,
        _ => n.value(b, 2)?,
    };
    if broadcast(b.dims(product), b.dims(c))? != b.dims(product) {
        return malformed(format!("its C of shape {:?} does not fit {:?}", b.dims(c), b.dims(product)));
    }
    Ok(vec![Value::Node(b.binary(Op::Add, product, c)?)])
}

/// An operand of Gemm: transposed if its attribute says so; a constant also scaled.
fn matrix(b: &mut Builder, n: &OnnxNode, input: usize, flag: &str, scale: f32) -> Result<ValueId, Fault> {
    let transposed = n.flag(flag);
    if let Some(Value::Const(c)) = n.input(input) {
        let &[rows, cols] = c.dims.as_slice() else { return not_a_matrix(input, &c.dims) };
        if !transposed && scale == 1.0 {
            return b.weight(c);
        }
        b.check_grant(&c.name, c.len())?;
        let source = c.floats();
        let at = |i: usize| if transposed { source[i % rows * cols + i / rows] } else { source[i] };
        let values = (0..source.len()).map(|i| at(i) * scale).collect();
        return b.tensor(&c.name, if transposed { vec![cols, rows] } else { vec![rows, cols] }, values);
    }
    let x = n.value(b, input)?;
    if b.dims(x).len() != 2 {
        return not_a_matrix(input, b.dims(x));
    }
    if transposed { b.transpose(x, vec![1, 0]) } else { Ok(x) }
}

fn not_a_matrix<T>(input: usize, dims: &[usize]) -> Result<T, Fault> {
    malformed(format!("its input {input} must be a matrix, but has shape {dims:?}"))
}

/// `x * factor` by a scalar weight; nothing is emitted for 1.
fn scaled(b: &mut Builder, x: ValueId, factor: f32) -> Result<ValueId, Fault> {
    if factor == 1.0 {
        return Ok(x);
    }
    let factor = b.scalar(factor)?;
    b.binary(Op::Mul, x, factor)
}

/// numpy's `matmul`.
pub(crate) fn matmul(b: &mut Builder, n: &OnnxNode) -> Result<Vec<Value>, Fault> {
    let (x, y) = (n.value(b, 0)?, n.value(b, 1)?);
    Ok(vec![Value::Node(matmul_of(b, x, y)?)])
}

fn matmul_of(b: &mut Builder, x: ValueId, y: ValueId) -> Result<ValueId, Fault> {
    let dims = matmul_dims(b.dims(x), b.dims(y))?;
    // Operands are repeated where the other one has more matrices.
    let (left, right) = (b.dims(x).to_vec(), b.dims(y).to_vec());
    let lead = |s: &[usize]| s[..s.len().saturating_sub(2)].iter().fold(1usize, |n, &d| n.saturating_mul(d));
    if lead(&right) > 1 {
        let of = |s: &[usize]| s[s.len().saturating_sub(2)..].iter().fold(1usize, |n, &d| n.saturating_mul(d));
        let groups = broadcast(&left[..left.len().saturating_sub(2)], &right[..right.len().saturating_sub(2)])?;
        let groups = groups.iter().fold(1usize, |n, &d| n.saturating_mul(d));
        b.check_gathered(groups, of(&left).max(of(&right)))?;
    }
    b.emit(Op::MatMul, vec![x, y], dims)
}

/// Output dimensions of numpy's `matmul`: vectors are promoted, leading axes broadcast.
pub(crate) fn matmul_dims(x: &[usize], y: &[usize]) -> Result<Vec<usize>, Fault> {
    let mismatch = || malformed(format!("a product of shapes {x:?} and {y:?} does not exist"));
    let (Some(&k), Some(_)) = (x.last(), y.last()) else { return mismatch() };
    let rows = if y.len() == 1 { y[0] } else { y[y.len() - 2] };
    if k != rows {
        return mismatch();
    }
    let lead = |s: &[usize]| s[..s.len().saturating_sub(2)].to_vec();
    let mut dims = broadcast(&lead(x), &lead(y))?;
    if x.len() > 1 {
        dims.push(x[x.len() - 2]);
    }
    if y.len() > 1 {
        dims.push(y[y.len() - 1]);
    }
    Ok(dims)
}

/// 1-d and 2-d convolution; a 1-d one becomes 2-d with height 1.
pub(crate) fn conv(b: &mut Builder, n: &OnnxNode) -> Result<Vec<Value>, Fault> {
    let x = n.value(b, 0)?;
    let Some(Value::Const(w)) = n.input(1) else {
        return unsupported_hint(
            "its weights are computed from the model's input",
            "only convolutions with trained weights are supported",
        );
    };
    let dims = b.dims(x).to_vec();
    if w.dims.len() != dims.len() {
        return malformed(format!("weights of shape {:?} do not fit an input of shape {dims:?}", w.dims));
    }
    window::lifted(b, x, |b, x| {
        let spatial = dims.len() - 2;
        let w = b.weight(&Constant { dims: window::with_height(&w.dims), ..w.clone() })?;
        let conv = conv_of(b, n, x, w, spatial)?;
        let dims = conv_dims(b.dims(x), b.dims(w), &conv)?;
        let mut inputs = vec![x, w];
        if let Some(bias) = bias(n, dims[1])? {
            inputs.push(b.weight(bias)?);
        }
        b.emit(Op::Conv(conv), inputs, dims)
    })
}

/// Window and grouping; the kernel's size is the weights'.
fn conv_of(b: &Builder, n: &OnnxNode, x: ValueId, w: ValueId, spatial: usize) -> Result<Conv, Fault> {
    let kernel = &b.dims(w)[2..];
    if let Some(given) = n.ints("kernel_shape")
        && given.iter().ne(kernel[2 - spatial..].iter().map(|&k| k as i64).collect::<Vec<_>>().iter())
    {
        return malformed(format!("kernel_shape is {given:?}, but its weights have shape {:?}", b.dims(w)));
    }
    let window = window::read(n, &b.dims(x)[2..], (kernel[0], kernel[1]), spatial)?;
    let Ok(groups) = usize::try_from(n.int("group", 1)) else {
        return malformed(format!("group is {}", n.int("group", 1)));
    };
    Ok(Conv { window, groups })
}

/// Output shape, after checking channels and groups.
fn conv_dims(x: &[usize], w: &[usize], conv: &Conv) -> Result<Vec<usize>, Fault> {
    let (c, o) = (x[1], w[0]);
    if conv.groups == 0 || c % conv.groups != 0 || o % conv.groups != 0 || w[1] != c / conv.groups {
        return malformed(format!(
            "weights of shape {w:?} in {} groups do not fit an input of shape {x:?}",
            conv.groups
        ));
    }
    let (h, w) = window::output(&conv.window, x)?;
    Ok(vec![x[0], o, h, w])
}

fn bias<'a>(n: &'a OnnxNode, channels: usize) -> Result<Option<&'a Constant>, Fault> {
    match n.input(2) {
        None => Ok(None),
        Some(Value::Const(c)) if c.dims == [channels] => Ok(Some(c)),
        Some(Value::Const(c)) => malformed(format!("its bias has shape {:?}, not [{channels}]", c.dims)),
        Some(Value::Node(_) | Value::Unknown) => unsupported("its bias is computed from the model's input"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matmul_shapes_are_numpys() {
        assert_eq!(matmul_dims(&[2, 3], &[3, 4]).unwrap(), [2, 4]);
        assert_eq!(matmul_dims(&[3], &[3, 4]).unwrap(), [4]);
        assert_eq!(matmul_dims(&[2, 3], &[3]).unwrap(), [2]);
        assert_eq!(matmul_dims(&[3], &[3]).unwrap(), [0usize; 0]);
        assert_eq!(matmul_dims(&[5, 1, 2, 3], &[7, 3, 4]).unwrap(), [5, 7, 2, 4]);
        assert!(matmul_dims(&[2, 3], &[2, 3]).is_err());
        assert!(matmul_dims(&[], &[2]).is_err());
    }
}
