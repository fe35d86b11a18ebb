//! Nodes that select, repeat or join numbers: Slice, Gather, Split, Expand, Pad, Concat.

use super::builder::{Builder, Fault, Value, broadcast, malformed, unsupported, unsupported_hint};
use super::constant::Constant;
use super::node::{OnnxNode, axis_of, to_node};
use crate::op::{Op, ValueId};

type Built = Result<Vec<Value>, Fault>;
type Picks = Vec<Option<Vec<usize>>>;

/// Ranges with a step; starts, ends, axes and steps are inputs since opset 10.
pub(crate) fn slice(b: &mut Builder, n: &OnnxNode) -> Built {
    let x = n.value(b, 0)?;
    let dims = b.dims(x).to_vec();
    let (Some(starts), Some(ends)) = (n.int_list(1, "starts")?, n.int_list(2, "ends")?) else {
        return malformed("its starts or ends are missing");
    };
    let axes = n.int_list(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = n.int_list(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return malformed("its starts, ends, axes and steps differ in number");
    }
    let mut picks: Picks = vec![None; dims.len()];
    for i in 0..starts.len() {
        let axis = axis_of(axes[i], dims.len(), false)?;
        picks[axis] = Some(range(dims[axis], starts[i], ends[i], steps[i])?);
    }
    Ok(vec![Value::Node(b.pick(x, &picks)?)])
}

/// numpy's `start:end:step` on an axis of `size`.
fn range(size: usize, start: i64, end: i64, step: i64) -> Result<Vec<usize>, Fault> {
    let size = size as i64;
    let from_front = |i: i64| if i < 0 { i.saturating_add(size) } else { i };
    let stride = step.unsigned_abs() as usize;
    match step {
        0 => malformed("its step is 0"),
        1.. => {
            let (start, end) = (from_front(start).clamp(0, size), from_front(end).clamp(0, size));
            Ok((start as usize..end as usize).step_by(stride).collect())
        }
        _ => {
            let (start, end) = (from_front(start).clamp(-1, size - 1), from_front(end).clamp(-1, size - 1));
            Ok(((end + 1) as usize..(start + 1) as usize).rev().step_by(stride).collect())
        }
    }
}

/// Constant indices into one axis.
pub(crate) fn gather(b: &mut Builder, n: &OnnxNode) -> Built {
    let Some(Value::Const(indices)) = n.input(1) else {
        return unsupported_hint(
            "its indices are computed from the model's input",
            "look embeddings up before the model and feed it the vectors",
        );
    };
    let x = n.value(b, 0)?;
    let dims = b.dims(x).to_vec();
    let axis = n.axis("axis", 0, dims.len(), false)?;
    let Some(values) = indices.ints() else { return malformed("its indices are not integers") };
    let mut picks: Picks = vec![None; dims.len()];
    picks[axis] = Some(values.iter().map(|&i| axis_of(i, dims[axis], false)).collect::<Result<_, _>>()?);
    let to = [&dims[..axis], &indices.dims, &dims[axis + 1..]].concat();
    Ok(vec![Value::Node(b.layout(x, &dims, &picks, to)?)])
}

/// Consecutive parts of one axis, of given sizes or as equal as possible.
pub(crate) fn split(b: &mut Builder, n: &OnnxNode) -> Built {
    let x = n.value(b, 0)?;
    let dims = b.dims(x).to_vec();
    let axis = n.axis("axis", 0, dims.len(), false)?;
    let sizes = match n.int_list(1, "split")? {
        Some(sizes) => sizes,
        None => equal_parts(dims[axis], n.proto.output.len()),
    };
    let total = sizes.iter().try_fold(0i64, |sum, &s| sum.checked_add(s).filter(|_| s >= 0));
    if total != Some(dims[axis] as i64) || sizes.len() < n.proto.output.len() {
        return malformed(format!("it splits an axis of {} into {sizes:?}", dims[axis]));
    }
    let mut start = 0;
    let mut part = |size: i64| {
        let mut picks: Picks = vec![None; dims.len()];
        picks[axis] = Some((start..start + size as usize).collect());
        start += size as usize;
        Ok(Value::Node(b.pick(x, &picks)?))
    };
    sizes.into_iter().take(n.proto.output.len()).map(&mut part).collect()
}

/// The last part is smaller where it does not divide.
fn equal_parts(size: usize, parts: usize) -> Vec<i64> {
    let each = size.div_ceil(parts.max(1));
    (0..parts).map(|i| size.saturating_sub(i * each).min(each) as i64).collect()
}

/// Broadcast to a constant shape.
pub(crate) fn expand(b: &mut Builder, n: &OnnxNode) -> Built {
    let x = n.value(b, 0)?;
    let Some(target) = n.int_list(1, "shape")? else { return malformed("it has no shape") };
    let Some(target) = target.iter().map(|&d| usize::try_from(d).ok()).collect::<Option<Vec<_>>>() else {
        return malformed(format!("its shape is {target:?}"));
    };
    let dims = broadcast(b.dims(x), &target)?;
    let mut view = vec![1; dims.len() - b.dims(x).len()];
    view.extend(b.dims(x));
    repeat(b, x, &view, dims)
}

/// Repeats axes of size 1 until `view` is `dims`.
fn repeat(b: &mut Builder, x: ValueId, view: &[usize], dims: Vec<usize>) -> Built {
    if subrosa_core::Shape::new(dims.clone()).is_err() {
        return malformed(format!("it repeats {view:?} up to {dims:?}"));
    }
    let picks: Picks = view.iter().zip(&dims).map(|(&v, &d)| (v != d).then(|| vec![0; d])).collect();
    Ok(vec![Value::Node(b.layout(x, view, &picks, dims)?)])
}

/// All inputs along one axis.
pub(crate) fn concat(b: &mut Builder, n: &OnnxNode) -> Built {
    let mut values = Vec::new();
    for v in n.inputs.iter().flatten().filter(|v| !matches!(v, Value::Const(c) if c.len() == 0)) {
        values.push(to_node(b, v)?);
    }
    let Some(&first) = values.first() else { return malformed("it has no inputs") };
    let mut dims = b.dims(first).to_vec();
    let axis = n.axis("axis", 1, dims.len(), false)?;
    for &v in &values[1..] {
        let next = b.dims(v);
        let fits = next.len() == dims.len() && (0..dims.len()).all(|a| a == axis || next[a] == dims[a]);
        if !fits {
            return malformed(format!("shapes {dims:?} and {next:?} cannot be joined along axis {axis}"));
        }
        dims[axis] = dims[axis].saturating_add(next[axis]);
    }
    if values.len() == 1 {
        return Ok(vec![Value::Node(first)]);
    }
    Ok(vec![Value::Node(b.emit(Op::Concat { axis }, values, dims)?)])
}

/// Elements before and after each axis; negative counts remove.
pub(crate) fn pad(b: &mut Builder, n: &OnnxNode) -> Built {
    let x = n.value(b, 0)?;
    let pads = pads(n, b.dims(x).len())?;
    let removed: Picks = pads
        .iter()
        .zip(b.dims(x))
        .map(|(&(before, after), &d)| {
            let (skip, drop) = (before.min(0).unsigned_abs() as usize, after.min(0).unsigned_abs() as usize);
            (skip + drop > 0).then(|| (skip..d.saturating_sub(drop)).collect())
        })
        .collect();
    let x = b.pick(x, &removed)?;
    let pads: Vec<(usize, usize)> = pads.iter().map(|&(s, e)| (s.max(0) as usize, e.max(0) as usize)).collect();
    if pads.iter().all(|&p| p == (0, 0)) {
        return Ok(vec![Value::Node(x)]);
    }
    match n.string("mode").as_deref() {
        None | Some("" | "constant") => pad_constant(b, n, x, pads),
        Some("reflect") => pad_copies(b, x, &pads, reflect),
        Some("edge") => pad_copies(b, x, &pads, |i, d| usize::try_from(i.clamp(0, d - 1)).ok()),
        Some("wrap") => pad_copies(b, x, &pads, |i, d| usize::try_from(i.rem_euclid(d)).ok()),
        Some(mode) => malformed(format!("its mode is '{mode}'")),
    }
}

/// More padding than this is a damaged file.
const MAX_PAD: i64 = 1 << 24;

/// Counts before and after each axis: an attribute up to opset 10, then an input, since
/// opset 18 for chosen axes.
fn pads(n: &OnnxNode, rank: usize) -> Result<Vec<(i64, i64)>, Fault> {
    let Some(given) = n.int_list(1, "pads")? else { return malformed("it has no pads") };
    let axes = match n.int_list(3, "axes")? {
        Some(axes) => axes.iter().map(|&a| axis_of(a, rank, false)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    if given.len() != 2 * axes.len() || given.iter().any(|&p| !(-MAX_PAD..=MAX_PAD).contains(&p)) {
        return malformed(format!("its pads are {given:?} for a tensor of rank {rank}"));
    }
    let mut pads = vec![(0, 0); rank];
    for (i, &axis) in axes.iter().enumerate() {
        pads[axis] = (given[i], given[i + axes.len()]);
    }
    Ok(pads)
}

fn pad_constant(b: &mut Builder, n: &OnnxNode, x: ValueId, pads: Vec<(usize, usize)>) -> Built {
    let given = n.constant(2, "value")?.map_or(Some(n.float("value", 0.0)), Constant::scalar);
    let Some(value) = given.filter(|v| v.is_finite()) else {
        return unsupported("the value it pads with is not one finite number");
    };
    let dims = b.dims(x).iter().zip(&pads).map(|(d, (s, e))| d + s + e).collect();
    Ok(vec![Value::Node(b.emit(Op::Pad { pads, value }, vec![x], dims)?)])
}

/// Padding with copies: `source(i, size)` says which element appears at position `i`
/// (negative before the axis).
fn pad_copies(
    b: &mut Builder,
    x: ValueId,
    pads: &[(usize, usize)],
    source: impl Fn(i64, i64) -> Option<usize>,
) -> Built {
    let results = b.dims(x).iter().zip(pads).fold(1usize, |n, (d, (s, e))| n.saturating_mul(d + s + e));
    b.check_gathered(results, 1)?;
    let picks: Option<Picks> = pads
        .iter()
        .zip(b.dims(x))
        .map(|(&(before, after), &d)| {
            let positions = -(before as i64)..(d + after) as i64;
            positions.map(|i| source(i, d as i64)).collect::<Option<Vec<_>>>().map(Some)
        })
        .collect();
    match picks {
        Some(picks) => Ok(vec![Value::Node(b.pick(x, &picks)?)]),
        None => malformed("its padding is larger than what it mirrors"),
    }
}

/// Mirrored without repeating the border.
fn reflect(i: i64, size: i64) -> Option<usize> {
    let mirrored = if i < 0 {
        -i
    } else if i >= size {
        2 * (size - 1) - i
    } else {
        i
    };
    usize::try_from(mirrored).ok().filter(|&m| (m as i64) < size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_numpys() {
        let pick = |start, end, step| range(5, start, end, step).unwrap();
        assert_eq!(pick(1, 4, 2), [1, 3]);
        assert_eq!(pick(-2, i64::MAX, 1), [3, 4]);
        assert_eq!(pick(i64::MAX, i64::MIN, -1), [4, 3, 2, 1, 0]);
        assert_eq!(pick(-1, 0, -2), [4, 2]);
        assert_eq!(pick(3, 1, 1), [0usize; 0]);
        assert_eq!(pick(0, 5, i64::MAX), [0]);
        assert_eq!(pick(4, i64::MIN, i64::MIN), [4]);
        assert!(range(5, 0, 5, 0).is_err());
    }

    #[test]
    fn parts_are_equal_but_the_last() {
        assert_eq!(equal_parts(6, 3), [2, 2, 2]);
        assert_eq!(equal_parts(7, 3), [3, 3, 1]);
        assert_eq!(equal_parts(0, 0), [0i64; 0]);
    }
}
