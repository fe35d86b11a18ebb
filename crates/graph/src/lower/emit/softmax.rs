//! `e^x / sum e^x`, safe for every input: the largest element is subtracted first.

use super::super::builder::Theorem;
use super::super::context::Context;
use super::super::geometry as geo;
use super::super::span::Span;
use super::curve::Rounding;
use super::{function, reduce};
use crate::Error;
use crate::op::ValueId;
use crate::program::Id;
use subrosa_core::{RingWidth, Shape};

/// Largest absolute error of a probability, for up to 64 classes.
pub const SOFTMAX_ERROR: f64 = 1.0 / 512.0;

/// Fraction bits of exponentials and of the reciprocal of their sum.
fn inner_frac(ring: RingWidth) -> u32 {
    match ring {
        RingWidth::W32 => 14,
        RingWidth::W48 => 18,
        RingWidth::W64 => 22,
    }
}

/// Fraction bits of the sum: they bound the length of the pieces of its reciprocal.
fn sum_frac(ring: RingWidth) -> u32 {
    inner_frac(ring) - 2
}

/// Softmax along `axis`.
pub(super) fn softmax(cx: &mut Context<'_>, id: ValueId, axis: usize) -> Result<Id, Error> {
    let node = cx.node(id);
    let x = cx.activation(node.inputs[0])?;
    let (n, map) = geo::axes_first(cx.dims(node.inputs[0]), &[axis]);
    if n == 0 || map.is_empty() {
        return cx.raw(node.inputs[0]);
    }
    let back = geo::inverse(&map);
    let rest = map.len() / n;
    let front = cx.b.layout(x, map, geo::shape([n, rest])?)?;
    let below = below_largest(cx, front, n, rest)?;
    let exponentials = function::exp_of(cx, id, below)?;
    let frac = inner_frac(cx.b.ring());
    let exponentials = cx.at_most(exponentials, frac)?;
    let sum = sum(cx, exponentials, n, rest)?;
    let sum = cx.at_most(sum, sum_frac(cx.b.ring()))?;
    // Its range follows from the number of classes alone.
    let reciprocal = function::reciprocal_of(cx, id, sum, Rounding::None)?;
    let reciprocal = cx.at_most(reciprocal, frac)?;
    let reciprocals = repeated(cx, reciprocal, n, rest)?;
    let product = cx.b.mul(exponentials, reciprocals)?;
    cx.b.layout(product, back, node.shape.clone())
}

/// `x - max x`.
fn below_largest(cx: &mut Context<'_>, x: Id, n: usize, rest: usize) -> Result<Id, Error> {
    let largest = reduce::largest(cx, x, n, Shape::vector(rest))?;
    let largest = repeated(cx, largest, n, rest)?;
    // The maximum is exact on integers: no element exceeds it.
    let (lo, hi) = cx.b.span(x).hull();
    let bounds = Span::filled(n * rest, lo.saturating_sub(hi), 0);
    cx.b.sub_knowing(x, largest, Theorem { bounds: Some(bounds), error: None })
}

/// The sum of exponentials is not below the one of the largest element, which is `e^0`,
/// plus the least that approximation errors can make of the others.
fn sum(cx: &mut Context<'_>, exponentials: Id, n: usize, rest: usize) -> Result<Id, Error> {
    let one = 1i64 << cx.b.frac(exponentials);
    let span = cx.b.span(exponentials);
    let (lo, hi) = span.hull();
    let error = (2.0 * function::SMOOTH_ERROR * one as f64).ceil() as i64;
    let others = (n as i64 - 1).saturating_mul(lo.max(-error).min(0));
    let bounds = Span::filled(rest, (one - error).saturating_add(others), (n as i64).saturating_mul(hi));
    cx.b.sum_knowing(exponentials, n, rest, Shape::vector(rest), Theorem { bounds: Some(bounds), error: None })
}

fn repeated(cx: &mut Context<'_>, x: Id, n: usize, rest: usize) -> Result<Id, Error> {
    cx.b.layout(x, (0..n * rest).map(|i| (i % rest) as u32).collect(), geo::shape([n, rest])?)
}
