//! Sum, mean and maximum along axes.

use super::super::context::Context;
use super::super::geometry as geo;
use super::{arithmetic, piecewise};
use crate::Error;
use crate::op::{Reduction, ValueId};
use crate::program::Id;
use subrosa_core::Shape;

/// The reduced axes are brought to the front, as `[taps, rest]`.
pub(super) fn reduce(cx: &mut Context<'_>, id: ValueId, kind: Reduction, axes: &[usize]) -> Result<Id, Error> {
    let node = cx.node(id);
    let (input, shape) = (node.inputs[0], node.shape.clone());
    let (taps, map) = geo::axes_first(cx.dims(input), axes);
    if taps == 0 || map.is_empty() {
        return Err(cx.domain(id, "reduces no element".to_owned()));
    }
    match kind {
        Reduction::Max => {
            let x = cx.activation(input)?;
            let front = cx.b.layout(x, map, geo::shape([taps, shape.len()])?)?;
            largest(cx, front, taps, shape)
        }
        Reduction::Sum => sum(cx, input, taps, map, shape),
        Reduction::Mean => {
            let sum = sum(cx, input, taps, map, shape)?;
            divided(cx, sum, taps, cx.scales.target[id])
        }
    }
}

fn sum(cx: &mut Context<'_>, input: ValueId, taps: usize, map: Vec<u32>, shape: Shape) -> Result<Id, Error> {
    let raw = cx.raw(input)?;
    let x = with_room_for_sum(cx, raw, taps, cx.scales.target[input])?;
    let front = cx.b.layout(x, map, geo::shape([taps, shape.len()])?)?;
    cx.b.sum(front, taps, shape.len(), shape)
}

/// The value itself if sums of `taps` elements can still be truncated, else truncated.
pub(super) fn with_room_for_sum(cx: &mut Context<'_>, x: Id, taps: usize, target: u32) -> Result<Id, Error> {
    let growth = taps.next_power_of_two().ilog2();
    if cx.b.room(x) >= growth { Ok(x) } else { cx.at_most(x, target) }
}

/// `sum / n`; a power of two is free.
pub(super) fn divided(cx: &mut Context<'_>, sum: Id, n: usize, target: u32) -> Result<Id, Error> {
    match n.is_power_of_two() {
        true => cx.b.divided(sum, n.ilog2()),
        false => arithmetic::times_public(cx, sum, 1.0 / n as f64, target),
    }
}

/// The largest of `taps` rows, by halving: each level is one batch of comparisons.
pub(super) fn largest(cx: &mut Context<'_>, x: Id, taps: usize, shape: Shape) -> Result<Id, Error> {
    let len = shape.len();
    let (mut x, mut taps) = (x, taps);
    while taps > 1 {
        let half = taps / 2;
        let (a, b) = (rows(cx, x, 0, half, len)?, rows(cx, x, half, half, len)?);
        let larger = piecewise::maximum(cx, a, b)?;
        x = match taps % 2 {
            0 => larger,
            _ => {
                let odd = rows(cx, x, 2 * half, 1, len)?;
                cx.b.concat(vec![larger, odd], geo::shape([half + 1, len])?)?
            }
        };
        taps = taps.div_ceil(2);
    }
    cx.b.layout(x, (0..len as u32).collect(), shape)
}

/// Rows `from..from + n` of `[_, len]`.
pub(super) fn rows(cx: &mut Context<'_>, x: Id, from: usize, n: usize, len: usize) -> Result<Id, Error> {
    let map = ((from * len) as u32..((from + n) * len) as u32).collect();
    cx.b.layout(x, map, geo::shape([n, len])?)
}
