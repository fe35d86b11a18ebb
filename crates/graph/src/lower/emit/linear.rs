//! Matrix products and convolutions. Results keep the product's fraction: what reads them
//! truncates, so that biases are added first and outputs are not truncated at all.

use super::super::context::Context;
use super::super::geometry::{self as geo, MatPlan};
use crate::Error;
use crate::op::{Conv, ValueId};
use crate::program::Id;
use subrosa_core::Shape;
use subrosa_core::geometry::MatDims;

/// `x y`; either may be a weight.
pub(super) fn matmul(cx: &mut Context<'_>, id: ValueId) -> Result<Id, Error> {
    let (x, y) = (cx.node(id).inputs[0], cx.node(id).inputs[1]);
    let plan = MatPlan::new(cx.dims(x), cx.dims(y));
    let shape = cx.node(id).shape.clone();
    if cx.is_constant(x) {
        return weight_times_value(cx, id, &plan, shape);
    }
    let left = if cx.is_constant(y) { cx.factor(x, id)? } else { cx.activation(x)? };
    let left = arranged(cx, left, plan.x)?;
    let right = right_operand(cx, id, y, cx.b.frac(left))?;
    let right = arranged(cx, right, plan.y)?;
    cx.b.matmul(left, right, plan.dims, shape)
}

/// The right operand at a fraction that fits the left one's.
fn right_operand(cx: &mut Context<'_>, id: ValueId, y: ValueId, left_frac: u32) -> Result<Id, Error> {
    match cx.is_constant(y) {
        true => cx.constant(y, cx.scales.weight(id, left_frac)),
        false => cx.activation(y),
    }
}

/// An instruction has its batched operand on the left: `W x = (x^T W^T)^T`.
fn weight_times_value(cx: &mut Context<'_>, id: ValueId, plan: &MatPlan, shape: Shape) -> Result<Id, Error> {
    let (w, x) = (cx.node(id).inputs[0], cx.node(id).inputs[1]);
    let MatDims { groups, m, k, n } = plan.dims;
    let value = cx.factor(x, id)?;
    let weight = cx.constant(w, cx.scales.weight(id, cx.b.frac(value)))?;
    // One matrix for all groups of `plan` is the case where `x` has one, so groups agree.
    let value = arranged(cx, value, transposed(&plan.y, groups, k, n))?;
    let weight = arranged(cx, weight, transposed(&plan.x, groups, m, k))?;
    let swapped = MatDims { groups, m: n, k, n: m };
    let product = cx.b.matmul(value, weight, swapped, geo::shape([groups, n, m])?)?;
    let back = geo::permutation(&[groups, n, m], &[0, 2, 1]);
    cx.b.layout(product, back, shape)
}

/// `map` lists `[groups, a, b]`; the result lists `[groups, b, a]`.
fn transposed(map: &[u32], groups: usize, a: usize, b: usize) -> Vec<u32> {
    geo::permutation(&[groups, a, b], &[0, 2, 1]).into_iter().map(|at| map[at as usize]).collect()
}

fn arranged(cx: &mut Context<'_>, x: Id, map: Vec<u32>) -> Result<Id, Error> {
    match geo::is_identity(&map, cx.b.len(x)) {
        true => Ok(x),
        false => {
            let shape = Shape::vector(map.len());
            cx.b.layout(x, map, shape)
        }
    }
}

/// Convolution, one instruction an image of the sample, and the bias at the product's
/// fraction.
pub(super) fn conv(cx: &mut Context<'_>, id: ValueId, conv: &Conv) -> Result<Id, Error> {
    let node = cx.node(id);
    let (x, w, dims) = (node.inputs[0], node.inputs[1], node.shape.dims());
    if !cx.is_constant(w) || cx.is_constant(x) {
        return Err(Error::Malformed(format!("node '{}': a convolution's kernel must be a weight", node.name)));
    }
    let g = geo::conv_geometry(conv, cx.dims(x), cx.dims(w), dims);
    let value = cx.factor(x, id)?;
    let weight = cx.constant(w, cx.scales.weight(id, cx.b.frac(value)))?;
    let product = match dims[0] {
        1 => cx.b.conv(value, weight, g, node.shape.clone())?,
        images => {
            let len = g.c * g.input.0 * g.input.1;
            let mut parts = Vec::with_capacity(images);
            for i in 0..images {
                let map = ((i * len) as u32..((i + 1) * len) as u32).collect();
                let image = cx.b.layout(value, map, geo::shape([g.c, g.input.0, g.input.1])?)?;
                parts.push(cx.b.conv(image, weight, g, geo::shape([g.o, g.output.0, g.output.1])?)?);
            }
            cx.b.concat(parts, node.shape.clone())?
        }
    };
    match node.inputs.get(2) {
        Some(&bias) => {
            let bias = cx.constant(bias, cx.b.frac(product))?;
            let map = geo::broadcast(&[g.o, 1, 1], dims);
            let bias = cx.b.layout(bias, map, node.shape.clone())?;
            cx.b.add(product, bias)
        }
        None => Ok(product),
    }
}
