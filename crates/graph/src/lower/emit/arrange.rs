//! The same elements elsewhere: concatenation, gathers, transposition, padding.

use super::super::context::Context;
use super::super::geometry as geo;
use crate::Error;
use crate::op::ValueId;
use crate::program::Id;
use subrosa_core::{Shape, fixed};

/// End to end, then interleaved.
pub(super) fn concat(cx: &mut Context<'_>, id: ValueId, axis: usize) -> Result<Id, Error> {
    let node = cx.node(id);
    let mut parts = Vec::with_capacity(node.inputs.len());
    for &input in &node.inputs {
        parts.push(cx.activation(input)?);
    }
    let frac = parts.iter().map(|&x| cx.b.frac(x)).max().unwrap_or(0);
    for part in &mut parts {
        *part = cx.at(*part, frac)?;
    }
    let dims: Vec<&[usize]> = node.inputs.iter().map(|&input| cx.dims(input)).collect();
    let joined = cx.b.concat(parts, node.shape.clone())?;
    cx.b.layout(joined, geo::interleave(&dims, axis), node.shape.clone())
}

/// A gather. One that repeats elements truncates before, not after.
pub(super) fn layout(cx: &mut Context<'_>, id: ValueId, map: Vec<u32>) -> Result<Id, Error> {
    let node = cx.node(id);
    let input = node.inputs[0];
    let x = if map.len() > cx.node(input).shape.len() { cx.activation(input)? } else { cx.raw(input)? };
    cx.b.layout(x, map, node.shape.clone())
}

/// Axes permuted.
pub(super) fn transpose(cx: &mut Context<'_>, id: ValueId, perm: &[usize]) -> Result<Id, Error> {
    let node = cx.node(id);
    let x = cx.raw(node.inputs[0])?;
    cx.b.layout(x, geo::permutation(cx.dims(node.inputs[0]), perm), node.shape.clone())
}

/// One public element is put behind the value, and read wherever there is padding.
pub(super) fn pad(cx: &mut Context<'_>, id: ValueId, pads: &[(usize, usize)], value: f64) -> Result<Id, Error> {
    let node = cx.node(id);
    let x = cx.activation(node.inputs[0])?;
    let map = geo::padded(cx.dims(node.inputs[0]), pads);
    gather_or(cx, x, &map, value, node.shape.clone())
}

/// A gather where `None` reads `value`.
pub(super) fn gather_or(
    cx: &mut Context<'_>,
    x: Id,
    map: &[Option<u32>],
    value: f64,
    shape: Shape,
) -> Result<Id, Error> {
    let (len, frac) = (cx.b.len(x), cx.b.frac(x));
    if map.iter().all(Option::is_some) {
        return cx.b.layout(x, map.iter().flatten().copied().collect(), shape);
    }
    let integer = fixed::encode(value, frac).ok_or_else(|| cx.b.too_large(value.abs(), 0, 65))?;
    let mut extra = cx.zeros(1, frac)?;
    if integer != 0 {
        let public = cx.b.public(Shape::vector(1), frac, vec![integer])?;
        extra = cx.b.add(extra, public)?;
    }
    let joined = cx.b.concat(vec![x, extra], Shape::vector(len + 1))?;
    cx.b.layout(joined, map.iter().map(|at| at.unwrap_or(len as u32)).collect(), shape)
}
