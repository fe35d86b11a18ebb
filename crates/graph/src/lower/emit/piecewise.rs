//! What one ReLU or two compute exactly: ReLU itself, leaky ones, clipping, absolute
//! value, the larger and smaller of two.

use super::super::builder::Theorem;
use super::super::context::Context;
use super::super::span::Span;
use super::arithmetic;
use crate::Error;
use crate::op::ValueId;
use crate::program::Id;
use subrosa_core::fixed;

/// `max(x, 0)`, fused with the truncation where nothing else reads the product.
pub(super) fn relu(cx: &mut Context<'_>, id: ValueId) -> Result<Id, Error> {
    let x = cx.node(id).inputs[0];
    let raw = cx.raw(x)?;
    let shift = cx.b.frac(raw).saturating_sub(cx.scales.target[x]);
    match cx.read_once(x) {
        true => cx.b.trunc_relu(raw, shift),
        false => {
            let x = cx.activation(x)?;
            cx.b.relu(x)
        }
    }
}

/// `alpha x + (1 - alpha) relu(x)`.
pub(super) fn leaky_relu(cx: &mut Context<'_>, id: ValueId, alpha: f64) -> Result<Id, Error> {
    let x = cx.activation(cx.node(id).inputs[0])?;
    let largest = alpha.abs().max((1.0 - alpha).abs()).max(1.0);
    let (x, frac) = arithmetic::with_room_for_slopes(cx, x, &[alpha], 2.0 * largest)?;
    let positive = cx.b.relu(x)?;
    let slope = fixed::encode(alpha, frac).ok_or_else(|| arithmetic::no_room(cx, x, alpha))?;
    let one = 1i64 << frac;
    let everywhere = cx.b.mul_public(x, slope, frac)?;
    let rest = cx.b.mul_public(positive, one - slope, frac)?;
    // Exact on integers: the sum is `x 2^frac` above zero and `slope x` below, whose ends
    // are at the interval's ends, and 0 between.
    let f = |v: i64| v * if v > 0 { one } else { slope };
    let bounds = cx.b.span(x).map(|lo, hi| {
        let least = if lo < 0 && hi > 0 { f(lo).min(0) } else { f(lo) };
        let most = if lo < 0 && hi > 0 { f(lo).max(0) } else { f(lo) };
        (least.min(f(hi)), most.max(f(hi)))
    });
    // Its steepest slope times the operand's error.
    let error = cx.b.error(x).saturating_mul(slope.unsigned_abs().max(one as u64));
    cx.b.add_knowing(everywhere, rest, Theorem { bounds: Some(bounds), error: Some(error) })
}

/// `relu(x) + slope (x - relu(x))`: the second term is `min(x, 0)`.
pub(super) fn prelu(cx: &mut Context<'_>, id: ValueId) -> Result<Id, Error> {
    let (input, slope) = (cx.node(id).inputs[0], cx.node(id).inputs[1]);
    let x = cx.activation(input)?;
    let slopes = cx.facts[slope].constant.clone();
    let (x, frac) = match &slopes {
        Some(slopes) => arithmetic::with_room_for_slopes(cx, x, slopes, 2.0 * cx.facts[slope].bound().max(1.0))?,
        None => (x, 0),
    };
    let x = cx.broadcast(x, input, id)?;
    let positive = cx.b.relu(x)?;
    let bounds = cx.b.span(x).map(|lo, hi| (lo.min(0), hi.min(0)));
    let negative = cx.b.sub_knowing(x, positive, Theorem { bounds: Some(bounds), error: Some(cx.b.error(x)) })?;
    let factor = match slopes {
        Some(_) => cx.constant(slope, frac)?,
        None => cx.activation(slope)?,
    };
    let factor = cx.broadcast(factor, slope, id)?;
    let below = cx.b.mul(negative, factor)?;
    let above = cx.at(positive, cx.b.frac(below))?;
    cx.b.add(above, below)
}

/// `min + relu(x - min) - relu(x - max)`, without the terms of bounds that are infinite
/// or that the value never reaches.
pub(super) fn clip(cx: &mut Context<'_>, id: ValueId, min: f64, max: f64) -> Result<Id, Error> {
    let x = cx.activation(cx.node(id).inputs[0])?;
    let frac = cx.b.frac(x);
    let (lo, hi) = cx.b.span(x).hull();
    // A bound beyond what can be encoded is beyond what the value can reach.
    let min = fixed::encode(min, frac).filter(|&min| min > lo);
    let max = fixed::encode(max, frac).filter(|&max| max < hi);
    let x = match min {
        Some(min) => raised(cx, x, min)?,
        None => x,
    };
    match max {
        Some(max) => lowered(cx, x, max),
        None => Ok(x),
    }
}

/// `max(x, c) = c + relu(x - c)` for a public integer.
fn raised(cx: &mut Context<'_>, x: Id, c: i64) -> Result<Id, Error> {
    if c == 0 {
        return cx.b.relu(x);
    }
    let c = cx.b.public(cx.b.shape(x), cx.b.frac(x), vec![c; cx.b.len(x)])?;
    maximum(cx, x, c)
}

/// `min(x, c) = x - relu(x - c)` for a public integer.
fn lowered(cx: &mut Context<'_>, x: Id, c: i64) -> Result<Id, Error> {
    let c = cx.b.public(cx.b.shape(x), cx.b.frac(x), vec![c; cx.b.len(x)])?;
    minimum(cx, x, c)
}

/// `2 relu(x) - x`.
pub(super) fn abs(cx: &mut Context<'_>, id: ValueId) -> Result<Id, Error> {
    let x = cx.activation(cx.node(id).inputs[0])?;
    let positive = cx.b.relu(x)?;
    let twice = cx.b.mul_public(positive, 2, 0)?;
    // Exact on integers: the difference is |x|, which moves no faster than x.
    let bounds = cx.b.span(x).map(|lo, hi| (lo.max(-hi).max(0), hi.max(-lo)));
    cx.b.sub_knowing(twice, x, Theorem { bounds: Some(bounds), error: Some(cx.b.error(x)) })
}

/// The larger of two.
pub(super) fn max(cx: &mut Context<'_>, id: ValueId) -> Result<Id, Error> {
    let (x, y) = compared(cx, id)?;
    maximum(cx, x, y)
}

/// The smaller of two.
pub(super) fn min(cx: &mut Context<'_>, id: ValueId) -> Result<Id, Error> {
    let (x, y) = compared(cx, id)?;
    minimum(cx, x, y)
}

/// Both operands truncated, in the result's shape and at one fraction; a constant is the
/// second.
fn compared(cx: &mut Context<'_>, id: ValueId) -> Result<(Id, Id), Error> {
    let (mut x, mut y) = (cx.node(id).inputs[0], cx.node(id).inputs[1]);
    if cx.is_constant(x) {
        (x, y) = (y, x);
    }
    let left = cx.activation(x)?;
    let (left, right) = if cx.is_constant(y) {
        (left, cx.constant(y, cx.b.frac(left))?)
    } else {
        let right = cx.activation(y)?;
        let frac = cx.b.frac(left).max(cx.b.frac(right));
        (cx.at(left, frac)?, cx.at(right, frac)?)
    };
    Ok((cx.broadcast(left, x, id)?, cx.broadcast(right, y, id)?))
}

/// `y + relu(x - y)`.
pub(super) fn maximum(cx: &mut Context<'_>, x: Id, y: Id) -> Result<Id, Error> {
    let difference = cx.b.sub(x, y)?;
    let above = cx.b.relu(difference)?;
    // Exact on integers: the sum is the larger operand, which moves no faster than they.
    let bounds = cx.b.span(x).map2(&cx.b.span(y), |a, b| (a.0.max(b.0), a.1.max(b.1)));
    cx.b.add_knowing(above, y, moving_with(cx, x, y, bounds))
}

/// `x - relu(x - y)`.
fn minimum(cx: &mut Context<'_>, x: Id, y: Id) -> Result<Id, Error> {
    let difference = cx.b.sub(x, y)?;
    let above = cx.b.relu(difference)?;
    // Exact on integers: the difference is the smaller operand.
    let bounds = cx.b.span(x).map2(&cx.b.span(y), |a, b| (a.0.min(b.0), a.1.min(b.1)));
    cx.b.sub_knowing(x, above, moving_with(cx, x, y, bounds))
}

fn moving_with(cx: &Context<'_>, x: Id, y: Id, bounds: Span) -> Theorem {
    Theorem { bounds: Some(bounds), error: Some(cx.b.error(x).max(cx.b.error(y))) }
}
