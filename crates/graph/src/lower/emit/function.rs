//! Smooth functions: which curve each one is, with its error.
//!
//! | function | error against the real function of the (rounded) input |
//! |---|---|
//! | sigmoid, tanh, erf, gelu | [`SMOOTH_ERROR`], absolute |
//! | exp | [`SMOOTH_ERROR`], relative above `x = 0`, absolute below |
//! | reciprocal | [`SMOOTH_ERROR`] / x + [`FLOOR`] / s, while the ring leaves 12 fraction bits; s the power of two below the least x, or 1 |
//! | sqrt | [`SMOOTH_ERROR`], and what one unit of the input makes |
//!
//! The tolerance of the fits is a quarter of the error; the rest is for rounding.

use super::super::builder::Builder;
use super::super::context::Context;
use super::super::special;
use super::curve::{self, Curve, Line, Rounding};
use crate::Error;
use crate::op::ValueId;
use crate::program::Id;
use subrosa_core::fixed;

/// Largest absolute error of sigmoid, tanh, erf and gelu.
pub const SMOOTH_ERROR: f64 = 1.0 / 1024.0;
/// Absolute error below which a reciprocal of what is at least 1 is not improved.
pub const FLOOR: f64 = 1.0 / 8192.0;
/// Tolerance of the piecewise polynomials.
const FIT: f64 = SMOOTH_ERROR / 4.0;

/// `1 / (1 + e^-x)`; 0 and 1 beyond ln(4096), where it is within the tolerance of them.
pub(super) fn sigmoid(cx: &mut Context<'_>, id: ValueId) -> Result<Id, Error> {
    saturating(cx, id, &special::sigmoid, 0.25, (8.32, 0.0))
}

/// Hyperbolic tangent; `1 - tanh 4.51 < FIT`.
pub(super) fn tanh(cx: &mut Context<'_>, id: ValueId) -> Result<Id, Error> {
    saturating(cx, id, &f64::tanh, 1.0, (4.51, -1.0))
}

/// Gauss error function; `1 - erf 2.6 < FIT`; steepest at 0 with 2/sqrt(pi).
pub(super) fn erf(cx: &mut Context<'_>, id: ValueId) -> Result<Id, Error> {
    saturating(cx, id, &special::erf, 1.13, (2.6, -1.0))
}

/// A function between `least` and 1 that does not leave them beyond `end` either way.
fn saturating(
    cx: &mut Context<'_>,
    id: ValueId,
    f: &dyn Fn(f64) -> f64,
    steepest: f64,
    (end, least): (f64, f64),
) -> Result<Id, Error> {
    let x = cx.activation(cx.node(id).inputs[0])?;
    let curve = Curve {
        f,
        tolerance: &|_| FIT,
        modulus: &|d| steepest * d,
        core: (-end, end),
        left: Line::Value(least),
        right: Line::Value(1.0),
        rounding: Rounding::PowerOfTwo,
    };
    curve::evaluate(cx, id, x, &curve)
}

/// `x Phi(x)`: 0 left of -3.85, x right of 3.85, `3.85 Phi(-3.85) < FIT`; nowhere steeper
/// than 1.13.
pub(super) fn gelu(cx: &mut Context<'_>, id: ValueId, tanh: bool) -> Result<Id, Error> {
    let x = cx.activation(cx.node(id).inputs[0])?;
    let curve = Curve {
        f: &|x| special::gelu(x, tanh),
        tolerance: &|_| FIT,
        modulus: &|d| 1.13 * d,
        core: (-3.85, 3.85),
        left: Line::Value(0.0),
        right: Line::Identity,
        rounding: Rounding::PowerOfTwo,
    };
    curve::evaluate(cx, id, x, &curve)
}

/// `e^x` on the whole range that is proven.
pub(super) fn exp(cx: &mut Context<'_>, id: ValueId) -> Result<Id, Error> {
    let x = cx.activation(cx.node(id).inputs[0])?;
    exp_of(cx, id, x)
}

/// `e^x`; 0 left of -ln(4096).
pub(super) fn exp_of(cx: &mut Context<'_>, id: ValueId, x: Id) -> Result<Id, Error> {
    let most = real_hull(&cx.b, x).1;
    let curve = Curve {
        f: &f64::exp,
        tolerance: &|x| FIT * x.exp().max(1.0),
        modulus: &|d| most.exp() * d.exp_m1(),
        core: (-8.32, f64::INFINITY),
        left: Line::Value(0.0),
        right: Line::Value(0.0),
        rounding: Rounding::Integer,
    };
    curve::evaluate(cx, id, x, &curve)
}

/// Square root. Integers may be a few units below zero through rounding: they give 0.
pub(super) fn sqrt(cx: &mut Context<'_>, id: ValueId) -> Result<Id, Error> {
    let x = cx.activation(cx.node(id).inputs[0])?;
    let unit = f64::from(cx.b.frac(x)).exp2().recip();
    let curve = Curve {
        f: &|x| x.max(0.0).sqrt(),
        // One unit of the input makes that much anyway: finer pieces would be wasted.
        tolerance: &|x| FIT.max(unit / (2.0 * x.max(unit).sqrt())),
        // |sqrt x - sqrt y| <= sqrt |x - y|.
        modulus: &f64::sqrt,
        core: (0.0, f64::INFINITY),
        left: Line::Value(0.0),
        right: Line::Value(0.0),
        rounding: Rounding::PowerOfTwo,
    };
    curve::evaluate(cx, id, x, &curve)
}

/// `1 / x` for an input that is proven to keep its sign.
pub(super) fn reciprocal(cx: &mut Context<'_>, id: ValueId) -> Result<Id, Error> {
    let x = cx.activation(cx.node(id).inputs[0])?;
    reciprocal_of(cx, id, x, Rounding::PowerOfTwo)
}

/// `1 / x`; a negative `x` is negated before and after.
pub(super) fn reciprocal_of(cx: &mut Context<'_>, id: ValueId, x: Id, rounding: Rounding) -> Result<Id, Error> {
    match cx.b.span(x).hull() {
        (lo, _) if lo > 0 => positive_reciprocal(cx, id, x, rounding),
        (_, hi) if hi < 0 => {
            let opposite = cx.b.mul_public(x, -1, 0)?;
            let reciprocal = positive_reciprocal(cx, id, opposite, rounding)?;
            cx.b.mul_public(reciprocal, -1, 0)
        }
        _ => {
            let frac = cx.b.frac(x);
            Err(cx.domain(id, format!("the divisor comes too near zero to be told from it with {frac} fraction bits")))
        }
    }
}

/// A large `x` is divided by a power of two first and its reciprocal afterwards, which costs nothing: else a small
/// result would have few bits.
fn positive_reciprocal(cx: &mut Context<'_>, id: ValueId, x: Id, rounding: Rounding) -> Result<Id, Error> {
    let shrunk = real_hull(&cx.b, x).0.max(1.0).log2().floor() as u32;
    let x = cx.b.mul_public(x, 1, shrunk)?;
    // Finer than that it would only take room: of numbers from 1 on these are 1/64 of the error and less.
    let x = if shrunk > 0 { cx.at_most(x, curve::most_frac(cx.b.ring()))? } else { x };
    let reciprocal = near_one_reciprocal(cx, id, x, rounding)?;
    cx.b.divided(reciprocal, shrunk)
}

fn near_one_reciprocal(cx: &mut Context<'_>, id: ValueId, x: Id, rounding: Rounding) -> Result<Id, Error> {
    let least = real_hull(&cx.b, x).0;
    let curve = Curve {
        f: &f64::recip,
        tolerance: &|x| (FIT / x).max(FLOOR / 4.0),
        modulus: &|d| d / (least * (least - d).max(least / 2.0)),
        core: (f64::NEG_INFINITY, f64::INFINITY),
        left: Line::Value(0.0),
        right: Line::Value(0.0),
        rounding,
    };
    curve::evaluate(cx, id, x, &curve)
}

/// `x / y = x (1 / y)`.
pub(super) fn div(cx: &mut Context<'_>, id: ValueId) -> Result<Id, Error> {
    let (x, y) = (cx.node(id).inputs[0], cx.node(id).inputs[1]);
    if cx.is_constant(y) {
        return div_by_constant(cx, id);
    }
    let divisor = cx.activation(y)?;
    let reciprocal = reciprocal_of(cx, id, divisor, Rounding::PowerOfTwo)?;
    if cx.is_constant(x) {
        let reciprocal = cx.at_most(reciprocal, cx.scales.budget[id] / 2)?;
        let reciprocal = cx.broadcast(reciprocal, y, id)?;
        let weight = cx.constant(x, cx.scales.weight(id, cx.b.frac(reciprocal)))?;
        let weight = cx.broadcast(weight, x, id)?;
        return cx.b.mul(reciprocal, weight);
    }
    let left = cx.activation(x)?;
    let reciprocal = cx.at_most(reciprocal, cx.scales.budget[id].saturating_sub(cx.b.frac(left)))?;
    let (left, reciprocal) = (cx.broadcast(left, x, id)?, cx.broadcast(reciprocal, y, id)?);
    cx.b.mul(left, reciprocal)
}

/// The model owner encodes the reciprocals.
fn div_by_constant(cx: &mut Context<'_>, id: ValueId) -> Result<Id, Error> {
    let (x, y) = (cx.node(id).inputs[0], cx.node(id).inputs[1]);
    let left = cx.activation(x)?;
    let frac = cx.scales.weight(id, cx.b.frac(left));
    let values = cx.facts[y].constant.as_deref().cloned().unwrap_or_default();
    let reciprocals: Option<Vec<i64>> = values.iter().map(|v| fixed::encode(v.recip(), frac)).collect();
    let reciprocals = reciprocals.ok_or_else(|| cx.domain(id, "divides by a constant too near zero".to_owned()))?;
    let node = cx.node(y);
    let weight = cx.b.weight(&node.name, node.shape.clone(), frac, reciprocals)?;
    let (left, weight) = (cx.broadcast(left, x, id)?, cx.broadcast(weight, y, id)?);
    cx.b.mul(left, weight)
}

/// The proven range as real numbers.
fn real_hull(b: &Builder, x: Id) -> (f64, f64) {
    let (lo, hi) = b.span(x).hull();
    (fixed::decode(lo, b.frac(x)), fixed::decode(hi, b.frac(x)))
}
