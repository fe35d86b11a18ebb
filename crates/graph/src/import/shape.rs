//! Nodes that pass numbers on under another shape, or say what a shape is.

use super::builder::{Builder, Fault, MAX_RANK, Value, malformed, unsupported, unsupported_hint};
use super::constant::Constant;
use super::node::{OnnxNode, axes_of};
use tract_onnx::pb::tensor_proto::DataType;

type Built = Result<Vec<Value>, Fault>;

/// The input itself, constant or not.
pub(crate) fn identity(_: &mut Builder, n: &OnnxNode) -> Built {
    match n.input(0) {
        Some(v) => Ok(vec![v.clone()]),
        None => malformed("its input is missing"),
    }
}

/// The identity, as it is outside of training.
pub(crate) fn dropout(b: &mut Builder, n: &OnnxNode) -> Built {
    match n.constant(2, "training_mode")?.and_then(Constant::scalar) {
        Some(mode) if mode != 0.0 => {
            unsupported_hint("it is in training mode", "export the model in inference mode (model.eval() in PyTorch)")
        }
        _ => identity(b, n),
    }
}

/// A tensor written into the node itself.
pub(crate) fn constant(_: &mut Builder, n: &OnnxNode) -> Built {
    let name = n.output();
    let float = |dims: Vec<usize>, v: Vec<f32>| Ok(vec![Value::Const(Constant::float(name, dims, v))]);
    let int = |dims: Vec<usize>, v: Vec<i64>| Ok(vec![Value::Const(Constant::int(name, dims, v))]);
    let Some(a) = n.proto.attribute.first() else { return malformed("it has no value") };
    match (a.name.as_str(), &a.t) {
        ("value", Some(t)) => match Constant::from_proto(name, t) {
            Ok(c) => Ok(vec![Value::Const(c)]),
            Err(why) => malformed(why),
        },
        ("value_float", _) => float(vec![], vec![a.f]),
        ("value_floats", _) => float(vec![a.floats.len()], a.floats.clone()),
        ("value_int", _) => int(vec![], vec![a.i]),
        ("value_ints", _) => int(vec![a.ints.len()], a.ints.clone()),
        (other, _) => unsupported(format!("a constant of kind '{other}' is not supported")),
    }
}

/// Two dimensions, split at `axis`.
pub(crate) fn flatten(b: &mut Builder, n: &OnnxNode) -> Built {
    let x = n.value(b, 0)?;
    let dims = b.dims(x);
    let axis = n.axis("axis", 1, dims.len(), true)?;
    let flat = vec![dims[..axis].iter().product(), dims[axis..].iter().product()];
    Ok(vec![Value::Node(b.reshape(x, flat)?)])
}

/// 0 keeps a dimension (unless `allowzero`), -1 is what remains.
pub(crate) fn reshape(b: &mut Builder, n: &OnnxNode) -> Built {
    let x = n.value(b, 0)?;
    let Some(target) = n.int_list(1, "shape")? else { return malformed("it has no shape") };
    let dims = resolve(b.dims(x), &target, n.flag("allowzero"))?;
    Ok(vec![Value::Node(b.reshape(x, dims)?)])
}

fn resolve(from: &[usize], target: &[i64], allowzero: bool) -> Result<Vec<usize>, Fault> {
    let bad = || malformed(format!("cannot reshape {from:?} to {target:?}"));
    let mut dims = Vec::with_capacity(target.len());
    for (i, &t) in target.iter().enumerate() {
        dims.push(match (t, from.get(i)) {
            (0, Some(&d)) if !allowzero => d,
            (-1, _) => 1,
            _ => match usize::try_from(t) {
                Ok(d) if d > 0 => d,
                _ => return bad(),
            },
        });
    }
    let known = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let (Some(known), total) = (known, from.iter().product::<usize>()) else { return bad() };
    let open: Vec<usize> = (0..target.len()).filter(|&i| target[i] == -1).collect();
    match *open.as_slice() {
        [] if known == total => {}
        [i] if total % known == 0 => dims[i] = total / known,
        _ => return bad(),
    }
    Ok(dims)
}

/// Axes permuted; reversed if no permutation is given.
pub(crate) fn transpose(b: &mut Builder, n: &OnnxNode) -> Built {
    let x = n.value(b, 0)?;
    let rank = b.dims(x).len();
    let perm = match n.ints("perm") {
        None => (0..rank).rev().collect(),
        Some(given) if given.len() == rank && axes_of(given, rank).is_ok() => {
            given.iter().map(|&p| if p < 0 { (p + rank as i64) as usize } else { p as usize }).collect()
        }
        Some(given) => return malformed(format!("perm {given:?} is no permutation of {rank} axes")),
    };
    Ok(vec![Value::Node(b.transpose(x, perm)?)])
}

/// Axes of size 1 removed: the given ones, or all. Where none are given, a batch axis
/// stays: it is 1 only during import.
pub(crate) fn squeeze(b: &mut Builder, n: &OnnxNode) -> Built {
    let x = n.value(b, 0)?;
    let dims = b.dims(x).to_vec();
    let axes = match n.int_list(1, "axes")? {
        Some(axes) => axes_of(&axes, dims.len())?,
        None => (usize::from(b.batched)..dims.len()).filter(|&a| dims[a] == 1).collect(),
    };
    if let Some(&a) = axes.iter().find(|&&a| dims[a] != 1) {
        return malformed(format!("it drops axis {a} of {dims:?}, which is not 1"));
    }
    let kept = (0..dims.len()).filter(|a| !axes.contains(a)).map(|a| dims[a]).collect();
    Ok(vec![Value::Node(b.reshape(x, kept)?)])
}

/// Axes of size 1 inserted, counted in the result.
pub(crate) fn unsqueeze(b: &mut Builder, n: &OnnxNode) -> Built {
    let x = n.value(b, 0)?;
    let Some(axes) = n.int_list(1, "axes")? else { return malformed("it has no axes") };
    let mut dims = b.dims(x).to_vec();
    if axes.len() > MAX_RANK {
        return malformed(format!("it inserts {} axes", axes.len()));
    }
    for a in axes_of(&axes, dims.len() + axes.len())? {
        dims.insert(a, 1);
    }
    Ok(vec![Value::Node(b.reshape(x, dims)?)])
}

/// The dimensions as a constant; a batch axis counts as 1.
pub(crate) fn shape(b: &mut Builder, n: &OnnxNode) -> Built {
    let dims = dims(b, n)?;
    let at = |name: &str, default: i64| {
        let i = n.int(name, default);
        let from_front = if i < 0 { i.saturating_add(dims.len() as i64) } else { i };
        from_front.clamp(0, dims.len() as i64) as usize
    };
    let (start, end) = (at("start", 0), at("end", i64::MAX));
    let picked: Vec<i64> = dims[start..end.max(start)].iter().map(|&d| d as i64).collect();
    Ok(vec![Value::Const(Constant::int(n.output(), vec![picked.len()], picked))])
}

/// The number of elements as a constant.
pub(crate) fn size(b: &mut Builder, n: &OnnxNode) -> Built {
    let len = dims(b, n)?.iter().product::<usize>();
    Ok(vec![Value::Const(Constant::int(n.output(), Vec::new(), vec![len as i64]))])
}

fn dims(b: &Builder, n: &OnnxNode) -> Result<Vec<usize>, Fault> {
    match n.input(0) {
        Some(Value::Node(x)) => Ok(b.dims(*x).to_vec()),
        Some(Value::Const(c)) => Ok(c.dims.clone()),
        Some(Value::Unknown) | None => malformed("its input is missing"),
    }
}

/// Nothing, between float types; an ArgMax's index is a number already.
pub(crate) fn cast(b: &mut Builder, n: &OnnxNode) -> Built {
    let float = [DataType::Float, DataType::Double, DataType::Float16, DataType::Bfloat16];
    match DataType::try_from(n.int("to", 0) as i32) {
        Ok(_) if matches!(n.input(0), Some(Value::Node(x)) if b.is_index(*x)) => identity(b, n),
        Ok(to) if float.contains(&to) => identity(b, n),
        Ok(to) => unsupported(format!("it turns computed numbers into {}", to.as_str_name())),
        Err(_) => malformed(format!("element type {} is unknown", n.int("to", 0))),
    }
}
