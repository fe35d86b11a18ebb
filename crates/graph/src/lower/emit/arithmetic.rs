//! Sums, differences, products and powers.

use super::super::builder::Builder;
use super::super::context::Context;
use crate::Error;
use crate::op::ValueId;
use crate::program::Id;

/// `x + y`, at the product's fraction where both are sums of products.
pub(super) fn add(cx: &mut Context<'_>, id: ValueId) -> Result<Id, Error> {
    let (x, y) = pair(cx, id)?;
    cx.b.add(x, y)
}

/// `x - y`; see [`add`].
pub(super) fn sub(cx: &mut Context<'_>, id: ValueId) -> Result<Id, Error> {
    let (x, y) = pair(cx, id)?;
    cx.b.sub(x, y)
}

/// Both operands in the result's shape and at one fraction, such that their sum or
/// difference can still be truncated.
pub(super) fn pair(cx: &mut Context<'_>, id: ValueId) -> Result<(Id, Id), Error> {
    let (x, y) = (cx.node(id).inputs[0], cx.node(id).inputs[1]);
    let (left, right) = match (cx.is_constant(x), cx.is_constant(y)) {
        (true, _) => {
            let right = with_room(cx, y, id)?;
            (cx.constant(x, cx.b.frac(right))?, right)
        }
        (_, true) => {
            let left = with_room(cx, x, id)?;
            (left, cx.constant(y, cx.b.frac(left))?)
        }
        (false, false) => {
            let (left, right) = (cx.raw(x)?, cx.raw(y)?);
            let target = cx.scales.target[x].min(cx.scales.target[y]);
            cx.aligned(left, right, id, target)?
        }
    };
    Ok((cx.broadcast(left, x, id)?, cx.broadcast(right, y, id)?))
}

/// A value at a fraction at which a constant can be added to it, making node `id`.
fn with_room(cx: &mut Context<'_>, x: ValueId, id: ValueId) -> Result<Id, Error> {
    let raw = cx.raw(x)?;
    if cx.fits(id, cx.b.frac(raw)) { Ok(raw) } else { cx.activation(x) }
}

/// `x y`; either may be a weight, both may be the same value.
pub(super) fn mul(cx: &mut Context<'_>, id: ValueId) -> Result<Id, Error> {
    let (x, y) = (cx.node(id).inputs[0], cx.node(id).inputs[1]);
    if x == y {
        let value = cx.activation(x)?;
        return cx.b.mul(value, value);
    }
    let (left, right) = match (cx.is_constant(x), cx.is_constant(y)) {
        (true, _) => {
            let right = cx.factor(y, id)?;
            (cx.constant(x, cx.scales.weight(id, cx.b.frac(right)))?, right)
        }
        (_, true) => {
            let left = cx.factor(x, id)?;
            (left, cx.constant(y, cx.scales.weight(id, cx.b.frac(left)))?)
        }
        (false, false) => (cx.activation(x)?, cx.activation(y)?),
    };
    let (left, right) = (cx.broadcast(left, x, id)?, cx.broadcast(right, y, id)?);
    match cx.is_constant(x) {
        true => cx.b.mul(right, left),
        false => cx.b.mul(left, right),
    }
}

/// `x^exponent` by squaring and multiplying, truncated after every product but the last.
pub(super) fn pow(cx: &mut Context<'_>, id: ValueId, exponent: u32) -> Result<Id, Error> {
    let x = cx.node(id).inputs[0];
    if exponent <= 1 {
        return cx.raw(x);
    }
    let x = cx.activation(x)?;
    let frac = cx.b.frac(x);
    let mut power = x;
    for bit in (0..exponent.ilog2()).rev() {
        power = cx.at_most(power, frac)?;
        power = cx.b.mul(power, power)?;
        if exponent >> bit & 1 == 1 {
            power = cx.at_most(power, frac)?;
            power = cx.b.mul(power, x)?;
        }
    }
    Ok(power)
}

/// The factor `by` as an integer with as many fraction bits as the value has room for, and
/// are of use; at least `least`, unless fewer are exact.
fn public_factor(b: &Builder, x: Id, by: f64, least: u32) -> Option<(i64, u32)> {
    let spare = f64::from(b.room(x)) - by.abs().max(f64::MIN_POSITIVE).log2().ceil();
    let frac = (spare.max(0.0) as u32).min(MOST_FACTOR_BITS);
    let integer = subrosa_core::fixed::encode(by, frac)?;
    (frac >= least || by == integer as f64 / f64::from(frac).exp2()).then_some((integer, frac))
}

/// Fraction bits of a public factor beyond which nothing is gained.
const MOST_FACTOR_BITS: u32 = 16;
/// With fewer, a value is truncated first, to make room: a factor this fine is off by at
/// most one in 8,192.
const GOOD_FACTOR_BITS: u32 = 12;
/// With fewer even then, the plan is refused.
const LEAST_FACTOR_BITS: u32 = 8;

/// `x * by` for a public factor, truncating `x` to `frac` first where there is no room.
///
/// **Errors:** [`Error::Range`] where there is none even then.
pub(super) fn times_public(cx: &mut Context<'_>, x: Id, by: f64, frac: u32) -> Result<Id, Error> {
    let (x, integer, bits) = with_room_for_factor(cx, x, by, frac)?;
    cx.b.mul_public(x, integer, bits)
}

/// `x`, truncated where it left too little room to what `x * by` with `frac` fraction bits
/// needs of it, and the public factor `by` with
/// its fraction bits.
///
/// **Errors:** [`Error::Range`] where there is no room even then.
pub(super) fn with_room_for_factor(cx: &mut Context<'_>, x: Id, by: f64, frac: u32) -> Result<(Id, i64, u32), Error> {
    if let Some((integer, bits)) = public_factor(&cx.b, x, by, GOOD_FACTOR_BITS) {
        return Ok((x, integer, bits));
    }
    // A factor below 1 shrinks the operand's error too, so it needs fewer fraction bits.
    let shrinks = by.abs().clamp(f64::MIN_POSITIVE, 1.0).log2().abs().floor() as u32;
    let x = cx.at_most(x, frac.saturating_sub(shrinks))?;
    let (integer, bits) = public_factor(&cx.b, x, by, LEAST_FACTOR_BITS).ok_or_else(|| no_room(cx, x, by))?;
    Ok((x, integer, bits))
}

/// The fraction bits that a factor of `x` up to `largest` may have.
///
/// **Errors:** [`Error::Range`] where there is too little room.
pub(super) fn factor_bits(cx: &Context<'_>, x: Id, largest: f64) -> Result<u32, Error> {
    match public_factor(&cx.b, x, largest, LEAST_FACTOR_BITS) {
        Some((_, bits)) => Ok(bits),
        None => Err(no_room(cx, x, largest)),
    }
}

/// That a value leaves no room to multiply it by `by`.
pub(super) fn no_room(cx: &Context<'_>, x: Id, by: f64) -> Error {
    let frac = cx.b.frac(x) + LEAST_FACTOR_BITS;
    let magnitude = cx.b.span(x).bound() as f64 * by.abs() * f64::from(LEAST_FACTOR_BITS).exp2();
    cx.b.too_large(magnitude, frac, 65)
}
