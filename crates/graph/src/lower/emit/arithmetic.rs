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

/// As many fraction bits for each of these factors as the value has room for and are of use, if then
/// each of them is exact or, as an integer, has `least` bits after its first one.
fn shared_bits(b: &Builder, x: Id, factors: &[f64], least: u32) -> Option<u32> {
    let magnitudes = || factors.iter().map(|f| f.abs()).filter(|&f| f > 0.0);
    let largest = magnitudes().fold(f64::MIN_POSITIVE, f64::max);
    let smallest = magnitudes().fold(largest, f64::min);
    let spare = f64::from(b.room(x)) - largest.log2().ceil();
    // A small factor's first bit is far behind the point.
    let most = f64::from(MOST_FACTOR_BITS).max(f64::from(GOOD_FACTOR_BITS) + (-smallest.log2()).ceil());
    let frac = spare.min(most).clamp(0.0, f64::from(MOST_FRAC.saturating_sub(b.frac(x)))) as u32;
    let fine = |f: &f64| f.abs() * f64::from(frac).exp2() >= f64::from(least).exp2() || is_exact(*f, frac);
    factors.iter().all(fine).then_some(frac)
}

/// Whether nothing is lost in encoding.
fn is_exact(factor: f64, frac: u32) -> bool {
    subrosa_core::fixed::encode(factor, frac).is_some_and(|i| factor == i as f64 / f64::from(frac).exp2())
}

/// Fraction bits of a public factor beyond which nothing is gained, if it is not small.
const MOST_FACTOR_BITS: u32 = 16;
/// With fewer bits after its first one, a value is truncated first, to make room: a factor this fine is off by
/// at most one in 8,192.
const GOOD_FACTOR_BITS: u32 = 12;
/// With fewer even then, the plan is refused.
const LEAST_FACTOR_BITS: u32 = 8;
/// Fraction bits of any value at most: integers have 64 bits.
const MOST_FRAC: u32 = 62;

/// `x * by` for a public factor, truncating `x` to `frac` first where there is no room.
///
/// **Errors:** [`Error::Range`] where there is none even then.
pub(super) fn times_public(cx: &mut Context<'_>, x: Id, by: f64, frac: u32) -> Result<Id, Error> {
    let (x, bits) = with_room_for_factors(cx, x, &[by], frac)?;
    let integer = subrosa_core::fixed::encode(by, bits).ok_or_else(|| no_room(cx, x, by))?;
    cx.b.mul_public(x, integer, bits)
}

/// `x`, truncated where it left too little room to what its products with these factors need of it at `frac`
/// fraction bits; and the factors' fraction bits.
///
/// **Errors:** [`Error::Range`] where there is no room even then.
pub(super) fn with_room_for_factors(
    cx: &mut Context<'_>,
    x: Id,
    factors: &[f64],
    frac: u32,
) -> Result<(Id, u32), Error> {
    if let Some(bits) = shared_bits(&cx.b, x, factors, GOOD_FACTOR_BITS) {
        return Ok((x, bits));
    }
    let largest = factors.iter().fold(f64::MIN_POSITIVE, |largest, f| largest.max(f.abs()));
    // Factors below 1 shrink the operand's error too, so it needs fewer fraction bits.
    let shrinks = largest.min(1.0).log2().abs().floor() as u32;
    let x = cx.at_most(x, frac.saturating_sub(shrinks))?;
    match shared_bits(&cx.b, x, factors, LEAST_FACTOR_BITS) {
        Some(bits) => Ok((x, bits)),
        None => Err(no_room(cx, x, largest)),
    }
}

/// `x`, truncated where it leaves too little room, and the fraction bits of slopes beside which `x` itself
/// counts too: so they need as many in all and not each. With them, `x` times `largest` fits.
///
/// **Errors:** [`Error::Range`] where there is no room even then.
pub(super) fn with_room_for_slopes(
    cx: &mut Context<'_>,
    x: Id,
    slopes: &[f64],
    largest: f64,
) -> Result<(Id, u32), Error> {
    let bits = |cx: &Context<'_>, x: Id| {
        let spare = f64::from(cx.b.room(x)) - largest.max(f64::MIN_POSITIVE).log2().ceil();
        spare.clamp(0.0, f64::from(MOST_FACTOR_BITS)) as u32
    };
    let had = bits(cx, x);
    if had >= GOOD_FACTOR_BITS || slopes.iter().all(|&slope| is_exact(slope, had)) {
        return Ok((x, had));
    }
    let frac = cx.b.frac(x).saturating_sub(GOOD_FACTOR_BITS - had);
    let x = cx.at_most(x, frac)?;
    match bits(cx, x) {
        bits if bits >= LEAST_FACTOR_BITS => Ok((x, bits)),
        _ => Err(no_room(cx, x, largest)),
    }
}

/// That a value leaves no room to multiply it by `by`.
pub(super) fn no_room(cx: &Context<'_>, x: Id, by: f64) -> Error {
    let frac = cx.b.frac(x) + LEAST_FACTOR_BITS;
    let magnitude = cx.b.span(x).bound() as f64 * by.abs() * f64::from(LEAST_FACTOR_BITS).exp2();
    cx.b.too_large(magnitude, frac, 65)
}
