//! How far a protocol's value may be from the oracle's, in units of the last place.
//!
//! Everything is exact but a truncation, which may be one too large, and what follows
//! from it. `UNBOUNDED` stands for a comparison's outcome: then nothing is promised.

use super::span::Span;
use crate::FixedOp;

/// No bound.
pub(super) const UNBOUNDED: u64 = u64::MAX;

/// The result's error from the operands' errors and intervals.
pub(super) fn result(op: &FixedOp, errors: &[u64], spans: &[Span]) -> u64 {
    let e = |i: usize| errors.get(i).copied().unwrap_or(0);
    match op {
        FixedOp::Input { .. } | FixedOp::Weight { .. } | FixedOp::Public { .. } => 0,
        FixedOp::MatMul { dims, .. } => {
            let columns = || {
                (0..spans[1].len() / (dims.k * dims.n).max(1) * dims.n).map(|j| {
                    norm((0..dims.k).map(|l| j / dims.n * dims.k * dims.n + l * dims.n + j % dims.n), &spans[1])
                })
            };
            let rows = || (0..dims.groups * dims.m).map(|i| norm(i * dims.k..(i + 1) * dims.k, &spans[0]));
            bilinear(e(0), e(1), dims.k, || columns().max(), || rows().max())
        }
        FixedOp::Conv { geometry: g, .. } => {
            let taps = g.c / g.groups * g.kernel.0 * g.kernel.1;
            let filters = || (0..g.o).map(|o| norm(o * taps..(o + 1) * taps, &spans[1])).max();
            bilinear(e(0), e(1), taps, filters, || Some(spans[0].bound().saturating_mul(taps as u64)))
        }
        FixedOp::Mul { .. } => bilinear(e(0), e(1), 1, || Some(spans[1].bound()), || Some(spans[0].bound())),
        FixedOp::Add { .. } | FixedOp::Sub { .. } => e(0).saturating_add(e(1)),
        FixedOp::MulPublic { by, .. } => times(e(0), by.unsigned_abs()),
        FixedOp::Scale { by, .. } => times(e(0), by.iter().map(|b| b.unsigned_abs()).max().unwrap_or(0)),
        // |floor((x + e) / 2^s) - floor(x / 2^s)| <= ceil(e / 2^s), and one for the truncation.
        FixedOp::Trunc { shift, .. } | FixedOp::TruncRelu { shift, .. } => match e(0) {
            UNBOUNDED => UNBOUNDED,
            e => e.div_ceil(1 << shift).saturating_add(1),
        },
        FixedOp::Relu { .. } | FixedOp::Layout { .. } => e(0),
        FixedOp::Ltz { .. } => e(0).min(1),
        FixedOp::Concat { .. } => errors.iter().copied().max().unwrap_or(0),
        FixedOp::Sum { len, .. } => times(e(0), *len as u64),
    }
}

/// `sum (x + dx)(y + dy) - sum x y` over `k` products, from bounds on `sum |y|`, `sum |x|`.
fn bilinear(ex: u64, ey: u64, k: usize, y: impl FnOnce() -> Option<u64>, x: impl FnOnce() -> Option<u64>) -> u64 {
    let linear = |e: u64, norm: Option<u64>| times(e, norm.unwrap_or(0));
    let from_x = if ex == 0 { 0 } else { linear(ex, y()) };
    let from_y = if ey == 0 { 0 } else { linear(ey, x()) };
    from_x.saturating_add(from_y).saturating_add(times(times(ex, ey), k as u64))
}

fn norm(elements: impl Iterator<Item = usize>, span: &Span) -> u64 {
    elements.map(|i| span.at(i)).fold(0, |sum, (lo, hi)| sum.saturating_add(lo.unsigned_abs().max(hi.unsigned_abs())))
}

fn times(a: u64, b: u64) -> u64 {
    a.saturating_mul(b)
}
