//! The index of the largest element, by a tournament: each level halves the candidates.

use super::super::builder::Theorem;
use super::super::context::Context;
use super::super::geometry as geo;
use super::super::span::Span;
use super::reduce::rows;
use crate::Error;
use crate::op::ValueId;
use crate::program::Id;

/// Index of the largest element along `axis`, fraction 0. Of equals the one that comes
/// first in its pair wins, which need not be the first of all.
pub(super) fn arg_max(cx: &mut Context<'_>, id: ValueId, axis: usize) -> Result<Id, Error> {
    let node = cx.node(id);
    let x = cx.activation(node.inputs[0])?;
    let (taps, map) = geo::axes_first(cx.dims(node.inputs[0]), &[axis]);
    if taps == 0 || map.is_empty() {
        return Err(cx.domain(id, "has no element to choose from".to_owned()));
    }
    let len = map.len() / taps;
    let exact = cx.b.error(x) == 0;
    let mut best = cx.b.layout(x, map, geo::shape([taps, len])?)?;
    let mut index = Index::Known((0..taps * len).map(|i| (i / len) as i64).collect());
    let mut left = taps;
    while left > 1 {
        (best, index) = round(cx, best, index, left, len)?;
        left = left.div_ceil(2);
    }
    let index = index.secret(cx, taps.min(1), len)?;
    if !exact {
        cx.b.promise_nothing(index);
    }
    Ok(index)
}

/// Candidates' indices: known to all before the first round.
enum Index {
    Known(Vec<i64>),
    Chosen(Id),
}

impl Index {
    /// As a batched value of `[rows, len]`.
    fn secret(self, cx: &mut Context<'_>, rows: usize, len: usize) -> Result<Id, Error> {
        match self {
            Self::Known(values) => {
                let public = cx.b.public(geo::shape([rows, len])?, 0, values)?;
                cx.with_batch(public)
            }
            Self::Chosen(id) => Ok(id),
        }
    }

    fn rows(&self, cx: &mut Context<'_>, from: usize, n: usize, len: usize) -> Result<Self, Error> {
        match self {
            Self::Known(values) => Ok(Self::Known(values[from * len..(from + n) * len].to_vec())),
            Self::Chosen(id) => Ok(Self::Chosen(rows(cx, *id, from, n, len)?)),
        }
    }
}

/// Of each pair the larger, with its index. An odd one passes. The last round needs no
/// values.
fn round(cx: &mut Context<'_>, best: Id, index: Index, left: usize, len: usize) -> Result<(Id, Index), Error> {
    let half = left / 2;
    let (a, b) = (rows(cx, best, 0, half, len)?, rows(cx, best, half, half, len)?);
    let (first, second) = (index.rows(cx, 0, half, len)?, index.rows(cx, half, half, len)?);
    let ahead = cx.b.sub(a, b)?;
    let bit = cx.b.ltz(ahead)?;
    let chosen = choose_index(cx, bit, first, second, half, len)?;
    if left == 2 {
        return Ok((best, Index::Chosen(chosen)));
    }
    let step = cx.b.sub(b, a)?;
    let larger = cx.b.span(a).map2(&cx.b.span(b), |a, b| (a.0.max(b.0), a.1.max(b.1)));
    let values = step_if(cx, bit, step, a, larger)?;
    if left.is_multiple_of(2) {
        return Ok((values, Index::Chosen(chosen)));
    }
    let last = rows(cx, best, 2 * half, 1, len)?;
    let its = index.rows(cx, 2 * half, 1, len)?.secret(cx, 1, len)?;
    let shape = geo::shape([half + 1, len])?;
    let values = cx.b.concat(vec![values, last], shape.clone())?;
    Ok((values, Index::Chosen(cx.b.concat(vec![chosen, its], shape)?)))
}

/// The second index where `bit` is set, else the first.
fn choose_index(
    cx: &mut Context<'_>,
    bit: Id,
    first: Index,
    second: Index,
    half: usize,
    len: usize,
) -> Result<Id, Error> {
    if let (Index::Known(a), Index::Known(b)) = (&first, &second) {
        let steps = a.iter().zip(b).map(|(a, b)| b - a).collect();
        let base = cx.b.public(geo::shape([half, len])?, 0, a.clone())?;
        let moved = cx.b.scale(bit, steps, 0)?;
        return cx.b.add(moved, base);
    }
    let (a, b) = (first.secret(cx, half, len)?, second.secret(cx, half, len)?);
    let step = cx.b.sub(b, a)?;
    let either = cx.b.span(a).map2(&cx.b.span(b), |a, b| (a.0.min(b.0), a.1.max(b.1)));
    step_if(cx, bit, step, a, either)
}

/// `base + bit * step`. The bit adds nothing or the whole step from one operand to the
/// other, so the sum is one of the two: `bounds` are those of the one that is taken.
fn step_if(cx: &mut Context<'_>, bit: Id, step: Id, base: Id, bounds: Span) -> Result<Id, Error> {
    let moved = cx.b.mul(bit, step)?;
    cx.b.add_knowing(moved, base, Theorem { bounds: Some(bounds), error: None })
}
