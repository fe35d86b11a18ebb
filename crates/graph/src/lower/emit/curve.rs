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

use super::super::builder::Theorem;
use super::super::context::Context;
use super::super::geometry as geo;
use super::super::span::Span;
use super::super::spline::{Piece, TERMS, Task};
use crate::Error;
use crate::op::ValueId;
use crate::program::Id;
use subrosa_core::{RingWidth, Shape, fixed};

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

/// More pieces would cost more comparisons than the function is worth.
const MOST_PIECES: usize = 64;
/// With this many or fewer, more fraction bits are preferred to fewer pieces.
const FEW_PIECES: usize = 20;
/// Fraction bits inside, at least.
const LEAST_FRAC: u32 = 8;

fn most_frac(ring: RingWidth) -> u32 {
    match ring {
        RingWidth::W32 => 16,
        RingWidth::W48 => 18,
        RingWidth::W64 => 22,
    }
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

/// One region of `x`: a piece, or what lies beyond all pieces.
#[derive(Clone, Debug)]
struct Region {
    from: i64,
    centre: i64,
    /// What `u` may be.
    u: (i64, i64),
    /// `u` is multiplied by `2^stretch` in Horner's rule.
    stretch: u32,
    /// Integer coefficients: the constant at `g + unit` fraction bits, others at `g`.
    c: [i64; TERMS],
    /// Whether `x` itself is the result.
    identity: bool,
}

impl Region {
    /// What the stretched `u` may be.
    fn stretched(&self) -> (i128, i128) {
        (i128::from(self.u.0) << self.stretch, i128::from(self.u.1) << self.stretch)
    }
}

/// Largest magnitude of `u` in a piece.
fn half_length(piece: &Piece) -> u64 {
    (piece.to - 1).abs_diff(piece.centre).max(piece.centre.abs_diff(piece.from))
}

/// Bits of a magnitude.
fn bits(magnitude: u64) -> u32 {
    64 - magnitude.leading_zeros()
}

/// What will be emitted.
struct Emission<'a> {
    x: Id,
    curve: &'a Curve<'a>,
    regions: Vec<Region>,
    /// Whether the first and the last region are beyond the pieces.
    beyond: (bool, bool),
    /// The first and last integer of the pieces.
    pieces: (i64, i64),
    /// Fraction bits of the coefficients.
    g: u32,
    /// Fraction bits of the stretched `u`.
    unit: u32,
    /// Largest difference to the function, proven up to the fit's sampling.
    error: f64,
}

impl<'a> Emission<'a> {
    /// The most fraction bits with which everything fits, the error is kept and the pieces
    /// are few; without stretching, which costs a product, if that can be.
    fn plan(cx: &Context<'_>, id: ValueId, x: Id, curve: &'a Curve<'a>, range: (i64, i64)) -> Result<Self, Error> {
        let mut spare: Option<Self> = None;
        for stretched in [false, true] {
            for g in (LEAST_FRAC..=most_frac(cx.b.ring())).rev() {
                let Some(plan) = Self::with_frac(cx, x, curve, range, g, stretched) else { continue };
                if plan.regions.len() <= FEW_PIECES {
                    return Ok(plan);
                }
                if spare.as_ref().is_none_or(|s| plan.regions.len() < s.regions.len()) {
                    spare = Some(plan);
                }
            }
        }
        spare.ok_or_else(|| {
            let bound = cx.facts[id].bound().max(cx.b.magnitude(x));
            let frac = most_frac(cx.b.ring()) + cx.b.frac(x);
            cx.b.too_large(bound * f64::from(frac).exp2(), frac, 65)
        })
    }

    fn with_frac(
        cx: &Context<'_>,
        x: Id,
        curve: &'a Curve<'a>,
        range: (i64, i64),
        g: u32,
        stretched: bool,
    ) -> Option<Self> {
        let (k, frac) = (cx.b.ring().bits(), cx.b.frac(x));
        let one = f64::from(frac).exp2();
        // Ends of the pieces as integers; casts of infinities saturate.
        let (start, end) = ((curve.core.0 * one).ceil() as i64, (curve.core.1 * one).floor() as i64);
        let (from, to) = (range.0.max(start), range.1.min(end).saturating_add(1));
        let largest = if stretched { f64::INFINITY } else { f64::from(k - 4 - g).exp2() };
        let task = Task { f: curve.f, tolerance: curve.tolerance, frac, largest };
        let pieces = if from < to { task.pieces(from, to, MOST_PIECES)? } else { Vec::new() };
        let beyond = (range.0 < start, range.1 > end);
        let longest = pieces.iter().map(half_length).max().unwrap_or(0);
        let unit = if stretched { bits(longest) } else { frac };
        let mut plan = Self { x, curve, regions: Vec::new(), beyond, pieces: (from, to - 1), g, unit, error: 0.0 };
        if beyond.0 {
            plan.regions.push(plan.line(curve.left, range.0)?);
        }
        for piece in &pieces {
            let stretch = if stretched { unit - bits(half_length(piece)) } else { 0 };
            plan.regions.push(plan.piece(piece, stretch, frac)?);
        }
        if beyond.1 {
            plan.regions.push(plan.line(curve.right, to.max(range.0))?);
        }
        plan.error = plan.total_error(&pieces, range, one)?;
        plan.fits(k).then_some(plan)
    }

    fn line(&self, line: Line, from: i64) -> Option<Region> {
        let (value, identity) = match line {
            Line::Value(v) => (v, false),
            Line::Identity => (0.0, true),
        };
        let c = [fixed::encode(value, self.g + self.unit)?, 0, 0, 0];
        Some(Region { from, centre: 0, u: (0, 0), stretch: 0, c, identity })
    }

    /// Coefficients of the stretched variable: `u = u' 2^(unit - frac - stretch)` as reals.
    fn piece(&self, piece: &Piece, stretch: u32, frac: u32) -> Option<Region> {
        let ratio = (f64::from(self.unit) - f64::from(frac) - f64::from(stretch)).exp2();
        let mut c = [fixed::encode(piece.coefficients[0], self.g + self.unit)?, 0, 0, 0];
        for (i, (integer, &real)) in c.iter_mut().zip(&piece.coefficients).enumerate().skip(1) {
            *integer = fixed::encode(real * ratio.powi(i as i32), self.g)?;
        }
        let u = (piece.from - piece.centre, piece.to - 1 - piece.centre);
        Some(Region { from: piece.from, centre: piece.centre, u, stretch, c, identity: false })
    }

    /// Fit, rounding of coefficients by half a unit, truncations by one unit: each unit at
    /// degree `i` counts `|u|^i`. Nothing where rounding takes more than three tolerances.
    fn total_error(&self, pieces: &[Piece], range: (i64, i64), one: f64) -> Option<f64> {
        let mut total = 0f64;
        let regions = self.regions.iter().skip(usize::from(self.beyond.0));
        for (piece, region) in pieces.iter().zip(regions) {
            let u = half_length(piece) as f64 * (f64::from(region.stretch) - f64::from(self.unit)).exp2();
            let units = (1..=self.degree()).map(|i| 1.5 * u.powi(i as i32)).sum::<f64>() + 1.0 / one;
            let rounding = units / f64::from(self.g).exp2();
            let tolerance = |x: i64| (self.curve.tolerance)(x as f64 / one);
            if rounding > 3.0 * tolerance(piece.from).min(tolerance(piece.to - 1)) {
                return None;
            }
            total = total.max(piece.error + rounding);
        }
        let line = |line: Line, x: f64| match line {
            Line::Value(v) => (v - (self.curve.f)(x)).abs(),
            Line::Identity => (x - (self.curve.f)(x)).abs(),
        };
        let beyond = |there: bool, end: f64, outer: i64, l: Line| match there {
            true => line(l, end).max(line(l, outer as f64 / one)),
            false => 0.0,
        };
        let left = beyond(self.beyond.0, self.curve.core.0, range.0, self.curve.left);
        let right = beyond(self.beyond.1, self.curve.core.1, range.1, self.curve.right);
        Some(total.max(left).max(right))
    }

    /// Highest degree with a coefficient.
    fn degree(&self) -> usize {
        (0..TERMS).rev().find(|&i| self.regions.iter().any(|r| r.c[i] != 0)).unwrap_or(0)
    }

    /// Whether products can be truncated and the result too.
    fn fits(&self, k: u32) -> bool {
        let one_is_fine = |(lo, hi): &(i128, i128)| *lo >= -(1 << (k - 2)) && *hi < 1 << (k - 2);
        let coefficients = self.regions.iter().flat_map(|r| r.c).all(|c| one_is_fine(&(c.into(), c.into())));
        coefficients && self.steps().iter().flatten().all(one_is_fine)
    }

    /// Hulls over all regions of what Horner's rule computes: for each degree from the
    /// highest, the product with `u` and the sum after it. In its region `u` is small and
    /// the coefficients are that region's: hence far tighter than intervals of the parts.
    fn steps(&self) -> Vec<[(i128, i128); 2]> {
        let degree = self.degree();
        let mut hulls = vec![[(i128::MAX, i128::MIN); 2]; degree];
        for region in &self.regions {
            let (u0, u1) = region.stretched();
            let mut acc = (i128::from(region.c[degree]), i128::from(region.c[degree]));
            for (step, hull) in hulls.iter_mut().enumerate() {
                let lower = degree - 1 - step;
                let ends = [acc.0 * u0, acc.0 * u1, acc.1 * u0, acc.1 * u1];
                let (lo, hi) = ends.iter().fold((i128::MAX, i128::MIN), |(lo, hi), &e| (lo.min(e), hi.max(e)));
                hull[0] = (hull[0].0.min(lo), hull[0].1.max(hi));
                let c = i128::from(region.c[lower]);
                acc = match lower {
                    0 => (lo + c, hi + c),
                    _ => ((lo >> self.unit) + c, (hi >> self.unit) + 1 + c),
                };
                hull[1] = (hull[1].0.min(acc.0), hull[1].1.max(acc.1));
            }
        }
        hulls
    }

    fn emit(&self, cx: &mut Context<'_>) -> Result<Id, Error> {
        let below = self.comparisons(cx)?;
        let mut result = match self.degree() {
            0 => self.select(cx, below, 0, self.g + self.unit)?,
            degree => self.horner(cx, below, degree)?,
        };
        if let Some(passed) = self.passed(cx, below)? {
            result = self.joined(cx, result, passed)?;
        }
        let error = self.distance(cx, result);
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
