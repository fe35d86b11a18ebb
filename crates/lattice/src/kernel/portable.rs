//! The loops in plain Rust: the reference for every other path, and what wasm runs.

use super::{STRETCH, Word};
use crate::modulus::{Factor, Modulus, WORD, reduce_once};
use crate::ntt::{NttTable, transpose_squares};

pub(super) fn ntt_forward(table: &NttTable, x: &mut [u64]) {
    let (m, p) = (table.modulus(), table.modulus().value());
    let (mut blocks, mut stride) = (1, table.len() / 2);
    while stride > 0 {
        for (i, block) in x.chunks_exact_mut(2 * stride).enumerate() {
            let w = table.forward.factor(blocks + i);
            let (low, high) = block.split_at_mut(stride);
            for (a, b) in low.iter_mut().zip(high) {
                // In: below 4p. Out: below 4p.
                let u = reduce_once(*a, 2 * p);
                let v = m.mul_lazy(*b, w);
                (*a, *b) = (u + v, u + 2 * p - v);
            }
        }
        (blocks, stride) = (blocks * 2, stride / 2);
    }
    x.iter_mut().for_each(|v| *v = reduce_once(reduce_once(*v, 2 * p), p));
    transpose_squares(x);
}

pub(super) fn ntt_inverse(table: &NttTable, x: &mut [u64]) {
    let (m, p) = (table.modulus(), table.modulus().value());
    transpose_squares(x);
    let (mut blocks, mut stride) = (table.len() / 2, 1);
    while blocks > 1 {
        for (i, block) in x.chunks_exact_mut(2 * stride).enumerate() {
            let w = table.inverse.factor(blocks + i);
            let (low, high) = block.split_at_mut(stride);
            for (a, b) in low.iter_mut().zip(high) {
                // In and out: below 2p.
                let (u, v) = (*a, *b);
                (*a, *b) = (reduce_once(u + v, 2 * p), m.mul_lazy(u + 2 * p - v, w));
            }
        }
        (blocks, stride) = (blocks / 2, stride * 2);
    }
    let (low, high) = x.split_at_mut(stride);
    for (a, b) in low.iter_mut().zip(high) {
        let (u, v) = (*a, *b);
        *a = m.mul_factor(u + v, table.n_inverse);
        *b = m.mul_factor(u + 2 * p - v, table.last);
    }
}

#[inline(always)]
pub(super) fn dot(m: &Modulus, out: &mut [u64], pairs: &[(&[u64], &[u64])]) {
    for (i, out) in out.iter_mut().enumerate() {
        let sum: u128 = pairs.iter().map(|(a, b)| u128::from(a[i]) * u128::from(b[i])).sum();
        *out = fold(m, sum);
    }
}

#[inline(always)]
pub(super) fn dot_pair<A: Word, Y: Word>(
    m: &Modulus,
    first: &mut [u64],
    second: &mut [u64],
    terms: &[(&[A], &[A], &[Y])],
) {
    for (i, (first, second)) in first.iter_mut().zip(second).enumerate() {
        let mut sums = [0u128; 2];
        for (a, b, y) in terms {
            let y = u128::from(y[i].into());
            sums = [sums[0] + u128::from(a[i].into()) * y, sums[1] + u128::from(b[i].into()) * y];
        }
        (*first, *second) = (fold(m, sums[0]), fold(m, sums[1]));
    }
}

/// A sum of at most `MAX_PAIRS` products, which is below 2^104, modulo the prime.
#[inline(always)]
fn fold(m: &Modulus, sum: u128) -> u64 {
    let (p, one) = (m.value(), Factor { value: 1, quotient: m.one_quotient() });
    let (high, low) = ((sum >> WORD) as u64, sum as u64 & ((1 << WORD) - 1));
    reduce_once(reduce_once(m.mul_lazy(high, m.word()) + m.mul_lazy(low, one), 2 * p), p)
}

pub(super) fn combine(m: &Modulus, out: &mut [[u64; STRETCH]], x: &[[u64; STRETCH]], w: &[&[u64]]) {
    for (out, w) in out.iter_mut().zip(w) {
        for (i, out) in out.iter_mut().enumerate() {
            let sum: u128 = x.iter().zip(*w).map(|(x, &w)| u128::from(x[i]) * u128::from(w)).sum();
            *out = (sum % u128::from(m.value())) as u64;
        }
    }
}

#[inline(always)]
pub(super) fn scale(m: &Modulus, x: &mut [u64], w: Factor) {
    x.iter_mut().for_each(|v| *v = m.mul_factor(*v, w));
}

#[inline(always)]
pub(super) fn sub_scale(m: &Modulus, x: &mut [u64], y: &[u64], w: Factor) {
    let p = m.value();
    x.iter_mut().zip(y).for_each(|(x, y)| *x = m.mul_factor(*x + p - y, w));
}

#[inline(always)]
pub(super) fn convert(from: &Modulus, to: &Modulus, out: &mut [u64], x: &[u64]) {
    let (half, from_mod) = (from.value() / 2, to.reduce(from.value()));
    for (out, &x) in out.iter_mut().zip(x) {
        let r = to.reduce(x);
        *out = if x > half { to.sub(r, from_mod) } else { r };
    }
}
