//! Planning a curve: which pieces, with how many fraction bits, and the proof that all of
//! it fits the ring and keeps the error.

use super::super::super::context::Context;
use super::super::super::spline::{Piece, TERMS, Task};
use super::{Curve, Line};
use crate::Error;
use crate::op::ValueId;
use crate::program::Id;
use subrosa_core::{RingWidth, fixed};

/// More pieces would cost more comparisons than the function is worth.
const MOST_PIECES: usize = 64;
/// With this many or fewer, more fraction bits are preferred to fewer pieces.
const FEW_PIECES: usize = 20;
/// Fraction bits inside, at least.
const LEAST_FRAC: u32 = 8;

/// And at most.
pub(in super::super) fn most_frac(ring: RingWidth) -> u32 {
    match ring {
        RingWidth::W32 => 16,
        RingWidth::W48 => 18,
        RingWidth::W64 => 22,
    }
}

/// One region of `x`: a piece, or what lies beyond all pieces.
#[derive(Clone, Debug)]
pub(super) struct Region {
    pub(super) from: i64,
    pub(super) centre: i64,
    /// What `u` may be.
    pub(super) u: (i64, i64),
    /// `u` is multiplied by `2^stretch` in Horner's rule.
    pub(super) stretch: u32,
    /// Integer coefficients: the constant at `g + unit` fraction bits, others at `g`.
    pub(super) c: [i64; TERMS],
    /// Whether `x` itself is the result.
    pub(super) identity: bool,
}

impl Region {
    /// What the stretched `u` may be.
    pub(super) fn stretched(&self) -> (i128, i128) {
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
pub(super) struct Emission<'a> {
    pub(super) x: Id,
    pub(super) curve: &'a Curve<'a>,
    pub(super) regions: Vec<Region>,
    /// Whether the first and the last region are beyond the pieces.
    pub(super) beyond: (bool, bool),
    /// The first and last integer of the pieces.
    pub(super) pieces: (i64, i64),
    /// Fraction bits of the coefficients.
    pub(super) g: u32,
    /// Fraction bits of the stretched `u`.
    pub(super) unit: u32,
    /// Largest difference to the function, proven up to the fit's sampling.
    pub(super) error: f64,
}

impl<'a> Emission<'a> {
    /// The most fraction bits with which everything fits, the error is kept and the pieces
    /// are few; without stretching, which costs a product, if that can be.
    pub(super) fn plan(
        cx: &Context<'_>,
        id: ValueId,
        x: Id,
        curve: &'a Curve<'a>,
        range: (i64, i64),
    ) -> Result<Self, Error> {
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

    /// Fit, rounding of coefficients by half a unit (also of those that become 0), truncations by one unit: each
    /// unit at degree `i` counts `|u|^i`. Nothing where rounding takes more than three tolerances.
    fn total_error(&self, pieces: &[Piece], range: (i64, i64), one: f64) -> Option<f64> {
        let mut total = 0f64;
        let regions = self.regions.iter().skip(usize::from(self.beyond.0));
        for (piece, region) in pieces.iter().zip(regions) {
            let u = half_length(piece) as f64 * (f64::from(region.stretch) - f64::from(self.unit)).exp2();
            let units = |i: usize| {
                let rounded = if piece.coefficients[i] == 0.0 { 0.0 } else { 0.5 };
                let truncated = if i <= self.degree() { 1.0 } else { 0.0 };
                (rounded + truncated) * u.powi(i as i32)
            };
            let constant = 1.0 / one.min(f64::from(self.unit).exp2());
            let rounding = ((1..TERMS).map(units).sum::<f64>() + constant) / f64::from(self.g).exp2();
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
    pub(super) fn degree(&self) -> usize {
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
    pub(super) fn steps(&self) -> Vec<[(i128, i128); 2]> {
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
}
