//! A function of one variable by comparison and polynomial, see [`Curve`].
//!
//! 1. One batch of comparisons with public thresholds tells where `x` lies: the bits
//!    `x < t_j` are 0 up to a piece and 1 from there on.
//! 2. So a public coefficient that depends on the piece is `c_last + sum_j bit_j (c_{j-1}
//!    - c_j)`: no interaction.
//! 3. `u = x - centre` of the piece, 0 outside of all pieces, is small; Horner's rule in
//!    `u` takes a product and a truncation a degree. Where pieces differ much in length,
//!    `u` is first multiplied by a power of two that depends on the piece.
//!
//! **Error:** at most four times [`Curve::tolerance`]: one for the fit, three for what
//! rounding coefficients and truncations add, which [`Emission`] makes sure of. The
//! input's own rounding is not in it.

mod plan;

use super::super::builder::Theorem;
use super::super::context::Context;
use super::super::geometry as geo;
use super::super::span::Span;
use crate::Error;
use crate::op::ValueId;
use crate::program::Id;
pub(super) use plan::most_frac;
use plan::{Emission, Region};
use subrosa_core::Shape;

/// A function and how to approximate it.
pub(super) struct Curve<'a> {
    pub(super) f: &'a dyn Fn(f64) -> f64,
    /// Largest difference of the pieces to the function at `x`: a quarter of the error.
    pub(super) tolerance: &'a dyn Fn(f64) -> f64,
    /// How far the result moves at most when `x` moves by this much.
    pub(super) modulus: &'a dyn Fn(f64) -> f64,
    /// Left of the first end the function is `left`, right of the second `right`.
    pub(super) core: (f64, f64),
    pub(super) left: Line,
    pub(super) right: Line,
    /// How the proven range is rounded outward before thresholds follow from it.
    pub(super) rounding: Rounding,
}

/// `value`, or `x` itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Line {
    Value(f64),
    Identity,
}

/// Thresholds are public and follow from a range that depends on the weights: it is
/// rounded first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rounding {
    /// Outward to powers of two.
    PowerOfTwo,
    /// Outward to whole numbers.
    Integer,
    /// Not at all: the range depends on no weight.
    None,
}

/// `f(x)` elementwise, at a product's fraction.
///
/// **Errors:** [`Error::Range`] where the ring has no room for the function on the range
/// that is proven for `x`.
pub(super) fn evaluate(cx: &mut Context<'_>, id: ValueId, x: Id, curve: &Curve<'_>) -> Result<Id, Error> {
    let range = rounded(cx.b.span(x).hull(), cx.b.frac(x), curve.rounding);
    let emission = Emission::plan(cx, id, x, curve, range)?;
    emission.emit(cx)
}

/// The interval that is told to all.
fn rounded((lo, hi): (i64, i64), frac: u32, rounding: Rounding) -> (i64, i64) {
    let up = |v: i64| match rounding {
        Rounding::PowerOfTwo => {
            v.unsigned_abs().checked_next_power_of_two().map_or(i64::MAX, |p| p.min(1 << 62) as i64)
        }
        Rounding::Integer => ((v.abs() >> frac) + 1) << frac,
        Rounding::None => v.abs(),
    };
    let down = |v: i64| match rounding {
        Rounding::PowerOfTwo if v > 0 => 1 << v.ilog2(),
        Rounding::PowerOfTwo => 0,
        Rounding::Integer => v >> frac << frac,
        Rounding::None => v,
    };
    (if lo < 0 { -up(lo) } else { down(lo) }, if hi > 0 { up(hi) } else { -down(-hi) })
}

impl Emission<'_> {
    fn emit(&self, cx: &mut Context<'_>) -> Result<Id, Error> {
        let below = self.comparisons(cx)?;
        let mut result = match self.degree() {
            0 => self.select(cx, below, 0, self.g + self.unit)?,
            degree => self.horner(cx, below, degree)?,
        };
        let exact = cx.b.frac(result);
        if let Some(passed) = self.passed(cx, below)? {
            result = self.joined(cx, result, passed)?;
        }
        // Both truncate there, and one of them may get one more.
        let truncated = u64::from(cx.b.frac(result) < exact);
        let error = self.distance(cx, result).saturating_add(truncated);
        cx.b.promise(result, error);
        Ok(result)
    }

    /// `x` where it passes, added at the product's fraction if that leaves room.
    fn joined(&self, cx: &mut Context<'_>, result: Id, passed: Id) -> Result<Id, Error> {
        let up = cx.b.frac(result).saturating_sub(cx.b.frac(passed));
        let result = if cx.b.room(passed) > up { result } else { cx.at_most(result, cx.b.frac(passed))? };
        let passed = cx.at(passed, cx.b.frac(result))?;
        cx.b.add(passed, result)
    }

    /// Both the oracle's and the protocol's result are within `error` of the function at
    /// their own `x`, and the function moves by no more than its modulus between them.
    fn distance(&self, cx: &Context<'_>, result: Id) -> u64 {
        let apart = cx.b.error(self.x) as f64 / f64::from(cx.b.frac(self.x)).exp2();
        let real = 2.0 * self.error + if apart > 0.0 { (self.curve.modulus)(apart) } else { 0.0 };
        let ulps = (real * f64::from(cx.b.frac(result)).exp2()).ceil();
        if cx.b.error(self.x) == u64::MAX { u64::MAX } else { ulps as u64 }
    }

    /// Bits `x < t` for the threshold in front of each region but the first: `[regions - 1,
    /// len]`.
    fn comparisons(&self, cx: &mut Context<'_>) -> Result<Option<Id>, Error> {
        let (rows, len) = (self.regions.len().saturating_sub(1), cx.b.len(self.x));
        if rows == 0 {
            return Ok(None);
        }
        let shape = geo::shape([rows, len])?;
        let repeated = cx.b.layout(self.x, (0..rows * len).map(|i| (i % len) as u32).collect(), shape.clone())?;
        let thresholds = self.regions.iter().skip(1).flat_map(|r| std::iter::repeat_n(r.from, len)).collect();
        let thresholds = cx.b.public(shape, cx.b.frac(self.x), thresholds)?;
        let difference = cx.b.sub(repeated, thresholds)?;
        cx.b.ltz(difference).map(Some)
    }

    /// A public number that depends on the region. The bits are 0 up to the region of `x`
    /// and 1 from there on, so the sum telescopes to that region's number.
    fn chosen(&self, cx: &mut Context<'_>, below: Option<Id>, values: &[i64], frac: u32) -> Result<Id, Error> {
        let len = cx.b.len(self.x);
        let last = values.last().copied().unwrap_or(0);
        let base = cx.b.public(Shape::vector(len), frac, vec![last; len])?;
        let Some(below) = below.filter(|_| values.iter().any(|&v| v != last)) else { return Ok(base) };
        let steps = values.windows(2).flat_map(|w| std::iter::repeat_n(w[0] - w[1], len)).collect();
        let scaled = cx.b.scale(below, steps, frac)?;
        let hull = values.iter().fold((i64::MAX, i64::MIN), |(lo, hi), &v| (lo.min(v), hi.max(v)));
        let moved = Span::filled(len, hull.0 - last, hull.1 - last);
        let theorem = |bounds| Theorem { bounds: Some(bounds), error: None };
        let sum = cx.b.sum_knowing(scaled, values.len() - 1, len, Shape::vector(len), theorem(moved))?;
        cx.b.add_knowing(sum, base, theorem(Span::filled(len, hull.0, hull.1)))
    }

    fn select(&self, cx: &mut Context<'_>, below: Option<Id>, degree: usize, frac: u32) -> Result<Id, Error> {
        let values: Vec<i64> = self.regions.iter().map(|r| r.c[degree]).collect();
        let chosen = self.chosen(cx, below, &values, frac)?;
        // With a single region it is a constant, and must become a value.
        if cx.b.is_constant(chosen) && degree == 0 && self.degree() == 0 { cx.with_batch(chosen) } else { Ok(chosen) }
    }

    fn horner(&self, cx: &mut Context<'_>, below: Option<Id>, degree: usize) -> Result<Id, Error> {
        let len = cx.b.len(self.x);
        let u = self.local(cx, below)?;
        let u = self.stretched(cx, below, u)?;
        let mut acc = self.select(cx, below, degree, self.g)?;
        for (step, [product, sum]) in self.steps().into_iter().enumerate() {
            let lower = degree - 1 - step;
            let multiplied = match cx.b.is_constant(acc) {
                // The highest coefficient may be the same everywhere: a public factor.
                true => cx.b.mul_public(u, self.regions[0].c[degree], self.g)?,
                false => cx.b.mul_knowing(acc, u, known(len, product))?,
            };
            let (x, at) = match lower {
                0 => (multiplied, self.g + self.unit),
                _ => (cx.b.trunc(multiplied, self.unit)?, self.g),
            };
            let c = self.select(cx, below, lower, at)?;
            acc = cx.b.add_knowing(x, c, known(len, sum))?;
        }
        Ok(acc)
    }

    /// `u` times the power of two of its region: an exact product.
    fn stretched(&self, cx: &mut Context<'_>, below: Option<Id>, u: Id) -> Result<Id, Error> {
        let factors: Vec<i64> = self.regions.iter().map(|r| 1 << r.stretch).collect();
        let (lo, hi) =
            self.regions.iter().map(Region::stretched).fold((0, 0), |(lo, hi), (a, b)| (lo.min(a), hi.max(b)));
        let len = cx.b.len(u);
        let stretched = match factors.iter().all(|&f| f == factors[0]) {
            true => cx.b.mul_public(u, factors[0], 0)?,
            false => {
                let factor = self.chosen(cx, below, &factors, 0)?;
                cx.b.mul_knowing(factor, u, known(len, (lo, hi)))?
            }
        };
        cx.b.counted_in(stretched, self.unit);
        Ok(stretched)
    }

    /// `x - centre` inside the pieces, 0 beyond.
    fn local(&self, cx: &mut Context<'_>, below: Option<Id>) -> Result<Id, Error> {
        let frac = cx.b.frac(self.x);
        let inside = match self.inside(cx, below)? {
            // One factor is a bit: `x` where it is in the pieces, else 0.
            Some(bit) => {
                let (first, last) = self.pieces;
                let bounds = cx.b.span(self.x).map(|lo, hi| (lo.max(first).min(0), hi.min(last).max(0)));
                cx.b.mul_knowing(bit, self.x, Theorem { bounds: Some(bounds), error: None })?
            }
            None => self.x,
        };
        let centres: Vec<i64> = self.regions.iter().map(|r| r.centre).collect();
        let centre = self.chosen(cx, below, &centres, frac)?;
        let u = self.regions.iter().fold((i64::MAX, i64::MIN), |(lo, hi), r| (lo.min(r.u.0), hi.max(r.u.1)));
        cx.b.sub_knowing(inside, centre, known(cx.b.len(self.x), (u.0.into(), u.1.into())))
    }

    /// 1 where `x` is in the pieces; nothing if it always is.
    fn inside(&self, cx: &mut Context<'_>, below: Option<Id>) -> Result<Option<Id>, Error> {
        let Some(below) = below else { return Ok(None) };
        let len = cx.b.len(self.x);
        let rows = cx.b.len(below) / len.max(1);
        let bit = |cx: &mut Context<'_>, row: usize| super::reduce::rows(cx, below, row, 1, len);
        Ok(Some(match self.beyond {
            (false, false) => return Ok(None),
            (false, true) => bit(cx, rows - 1)?,
            (true, false) => {
                let left = bit(cx, 0)?;
                complement(cx, left)?
            }
            (true, true) => {
                let (left, not_right) = (bit(cx, 0)?, bit(cx, rows - 1)?);
                // Left of the first threshold is left of the last.
                cx.b.sub_knowing(not_right, left, known(len, (0, 1)))?
            }
        }))
    }

    /// `x` where it is beyond the pieces on a side where the function is `x`, else 0.
    fn passed(&self, cx: &mut Context<'_>, below: Option<Id>) -> Result<Option<Id>, Error> {
        let (Some(first), Some(last)) = (self.regions.first(), self.regions.last()) else { return Ok(None) };
        let len = cx.b.len(self.x);
        let Some(below) = below else { return Ok(first.identity.then_some(self.x)) };
        let rows = cx.b.len(below) / len.max(1);
        let bit = match (first.identity, last.identity) {
            (false, false) => return Ok(None),
            (false, true) => {
                let not_right = super::reduce::rows(cx, below, rows - 1, 1, len)?;
                complement(cx, not_right)?
            }
            // No function here is `x` on the left.
            (true, _) => super::reduce::rows(cx, below, 0, 1, len)?,
        };
        cx.b.mul(bit, self.x).map(Some)
    }
}

/// `1 - bit`.
fn complement(cx: &mut Context<'_>, bit: Id) -> Result<Id, Error> {
    let ones = cx.b.public(cx.b.shape(bit), 0, vec![1; cx.b.len(bit)])?;
    cx.b.sub(ones, bit)
}

fn known(len: usize, (lo, hi): (i128, i128)) -> Theorem {
    Theorem { bounds: Some(Span::filled(len, saturated(lo), saturated(hi))), error: None }
}

fn saturated(v: i128) -> i64 {
    v.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}
