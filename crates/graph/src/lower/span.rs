//! Integer intervals: for each element of one sample, what an instruction's result may be
//! in *any* protocol, whatever its truncations add.

use super::geometry::{visit_conv, visit_matmul};
use crate::FixedOp;
use std::rc::Rc;

/// An interval for each element. Constants share one vector for both ends.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) lo: Rc<Vec<i64>>,
    pub(super) hi: Rc<Vec<i64>>,
}

impl Span {
    pub(super) fn point(values: Vec<i64>) -> Self {
        let values = Rc::new(values);
        Self { lo: Rc::clone(&values), hi: values }
    }

    pub(super) fn new(lo: Vec<i64>, hi: Vec<i64>) -> Self {
        Self { lo: Rc::new(lo), hi: Rc::new(hi) }
    }

    /// The same interval for `len` elements.
    pub(super) fn filled(len: usize, lo: i64, hi: i64) -> Self {
        Self::new(vec![lo; len], vec![hi; len])
    }

    pub(super) fn len(&self) -> usize {
        self.lo.len()
    }

    pub(super) fn at(&self, i: usize) -> (i64, i64) {
        (self.lo[i], self.hi[i])
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.lo.iter().copied().zip(self.hi.iter().copied())
    }

    /// The smallest and the largest value of any element; `(0, 0)` without elements.
    pub(super) fn hull(&self) -> (i64, i64) {
        (self.lo.iter().copied().min().unwrap_or(0), self.hi.iter().copied().max().unwrap_or(0))
    }

    /// Largest magnitude.
    pub(super) fn bound(&self) -> u64 {
        let (lo, hi) = self.hull();
        lo.unsigned_abs().max(hi.unsigned_abs())
    }

    /// Both at once are known: elementwise intersection.
    pub(super) fn map2(&self, other: &Self, f: impl Fn((i64, i64), (i64, i64)) -> (i64, i64)) -> Self {
        let (lo, hi) = self.pairs().zip(other.pairs()).map(|(a, b)| f(a, b)).unzip();
        Self::new(lo, hi)
    }

    /// Elementwise.
    pub(super) fn map(&self, f: impl Fn(i64, i64) -> (i64, i64)) -> Self {
        let (lo, hi) = self.pairs().map(|(a, b)| f(a, b)).unzip();
        Self::new(lo, hi)
    }
}

/// Width of the two's complement number that holds all of `lo..=hi`.
pub(super) fn bits((lo, hi): (i64, i64)) -> u32 {
    let one = |v: i64| 65 - if v >= 0 { v } else { !v }.leading_zeros();
    one(lo).max(one(hi))
}

/// Intervals before it is known that they fit: sums of products may pass 64 bits.
pub(super) struct Wide(Vec<(i128, i128)>);

impl Wide {
    /// Intersects with what is known by a theorem about the same values.
    pub(super) fn within(mut self, known: &Span) -> Self {
        for ((lo, hi), (a, b)) in self.0.iter_mut().zip(known.pairs()) {
            *lo = (*lo).max(i128::from(a));
            *hi = (*hi).min(i128::from(b));
        }
        self
    }

    /// The intervals in 64 bits, or the largest magnitude where one does not fit.
    pub(super) fn narrow(self) -> Result<Span, f64> {
        let fits = |v: i128| i64::try_from(v).is_ok();
        if self.0.iter().all(|&(lo, hi)| fits(lo) && fits(hi)) {
            let (lo, hi) = self.0.into_iter().map(|(lo, hi)| (lo as i64, hi as i64)).unzip();
            return Ok(Span::new(lo, hi));
        }
        Err(self.0.iter().map(|&(lo, hi)| lo.unsigned_abs().max(hi.unsigned_abs())).max().unwrap_or(0) as f64)
    }
}

/// The result's intervals from the operands'. Inputs, weights and public constants have
/// no operands: the builder knows them.
pub(super) fn result(op: &FixedOp, len: usize, operands: &[Span]) -> Wide {
    let x = |i: usize| &operands[i];
    Wide(match op {
        FixedOp::Input { .. } | FixedOp::Weight { .. } | FixedOp::Public { .. } => Vec::new(),
        FixedOp::MatMul { dims, .. } => {
            let shared = x(1).len() == dims.k * dims.n;
            products(len, x(0), x(1), |visit| visit_matmul(*dims, shared, visit))
        }
        FixedOp::Conv { geometry, .. } => products(len, x(0), x(1), |visit| visit_conv(geometry, visit)),
        FixedOp::Mul { x: a, y: b } if a == b => x(0).pairs().map(square).collect(),
        FixedOp::Mul { .. } => x(0).pairs().zip(x(1).pairs()).map(|(a, b)| product(a, b)).collect(),
        FixedOp::Add { .. } => zip(x(0), x(1), |a, b| (a.0 + b.0, a.1 + b.1)),
        FixedOp::Sub { .. } => zip(x(0), x(1), |a, b| (a.0 - b.1, a.1 - b.0)),
        FixedOp::MulPublic { by, .. } => x(0).pairs().map(|a| product(a, (*by, *by))).collect(),
        FixedOp::Scale { by, .. } => x(0).pairs().zip(by).map(|(a, &b)| product(a, (b, b))).collect(),
        FixedOp::Trunc { shift, .. } => x(0).pairs().map(|a| truncated(a, *shift)).collect(),
        FixedOp::Relu { .. } => x(0).pairs().map(|(lo, hi)| (lo.max(0).into(), hi.max(0).into())).collect(),
        FixedOp::TruncRelu { shift, .. } => {
            x(0).pairs().map(|a| truncated(a, *shift)).map(|(lo, hi)| (lo.max(0), hi.max(0))).collect()
        }
        FixedOp::Ltz { .. } => x(0).pairs().map(|(lo, hi)| (i128::from(hi < 0), i128::from(lo < 0))).collect(),
        FixedOp::Layout { map, .. } => map.iter().map(|&at| widen(x(0).at(at as usize))).collect(),
        FixedOp::Concat { .. } => operands.iter().flat_map(Span::pairs).map(widen).collect(),
        FixedOp::Sum { len: run, inner, .. } => sums(len, x(0), *run, *inner),
    })
}

fn widen((lo, hi): (i64, i64)) -> (i128, i128) {
    (lo.into(), hi.into())
}

fn product((a, b): (i64, i64), (c, d): (i64, i64)) -> (i128, i128) {
    let ((a, b), (c, d)) = (widen((a, b)), widen((c, d)));
    let (ac, ad, bc, bd) = (a * c, a * d, b * c, b * d);
    (ac.min(ad).min(bc.min(bd)), ac.max(ad).max(bc.max(bd)))
}

fn square((lo, hi): (i64, i64)) -> (i128, i128) {
    let (l, h) = product((lo, hi), (lo, hi));
    let low =
        if lo <= 0 && hi >= 0 { 0 } else { (i128::from(lo) * i128::from(lo)).min(i128::from(hi) * i128::from(hi)) };
    (l.max(low), h)
}

/// A truncation rounds down, or one more.
fn truncated((lo, hi): (i64, i64), shift: u32) -> (i128, i128) {
    (i128::from(lo) >> shift, (i128::from(hi) >> shift) + 1)
}

fn zip(x: &Span, y: &Span, f: impl Fn((i128, i128), (i128, i128)) -> (i128, i128)) -> Vec<(i128, i128)> {
    x.pairs().zip(y.pairs()).map(|(a, b)| f(widen(a), widen(b))).collect()
}

fn products(
    len: usize,
    x: &Span,
    y: &Span,
    visit: impl FnOnce(&mut dyn FnMut(usize, usize, usize)),
) -> Vec<(i128, i128)> {
    let mut out = vec![(0i128, 0i128); len];
    visit(&mut |o, i, j| {
        let (lo, hi) = product(x.at(i), y.at(j));
        out[o].0 += lo;
        out[o].1 += hi;
    });
    out
}

fn sums(len: usize, x: &Span, run: usize, inner: usize) -> Vec<(i128, i128)> {
    let mut out = vec![(0i128, 0i128); len];
    for (i, pair) in x.pairs().enumerate() {
        let o = i / (run * inner) * inner + i % inner;
        out[o].0 += i128::from(pair.0);
        out[o].1 += i128::from(pair.1);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_twos_complement() {
        assert_eq!([bits((0, 0)), bits((-1, 0)), bits((0, 1)), bits((-128, 127)), bits((-129, 0))], [1, 1, 2, 8, 9]);
        assert_eq!(bits((i64::MIN, i64::MAX)), 64);
    }

    #[test]
    fn squares_are_not_negative() {
        assert_eq!(square((-3, 2)), (0, 9));
        assert_eq!(square((2, 3)), (4, 9));
        assert_eq!(square((-3, -2)), (4, 9));
    }
}
