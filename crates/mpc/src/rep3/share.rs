//! Replicated shares: `x = x_0 + x_1 + x_2`, part `x_s` lives in *slot* `s`.
//!
//! Slot `s` is held by parties `s` and `s - 1 (mod 3)`, so party `i` holds slots `i` and
//! `i + 1`, and any two parties hold all three.

use crate::protocol::Linear;
use subrosa_ring::Word;

/// Party `i`'s part of an arithmetic sharing. No `Debug`: a share is secret.
#[derive(Clone)]
pub struct Share<W> {
    /// Slot `i`.
    pub(super) a: Vec<W>,
    /// Slot `i + 1`.
    pub(super) b: Vec<W>,
}

/// Party `i`'s additive part of a product: `z = z_0 + z_1 + z_2`, one part a party. It is
/// correlated with the factors' shares, so it leaves a party only after a zero share was
/// added (Araki et al. 2016/768, section 3.2): the field is private to `rep3`.
#[derive(Clone)]
pub struct Product<W> {
    pub(super) z: Vec<W>,
}

/// Party `i`'s part of a boolean sharing of one bit plane, 64 elements a word.
#[derive(Clone)]
pub(super) struct BitShare {
    /// Slot `i`.
    pub(super) a: Vec<u64>,
    /// Slot `i + 1`.
    pub(super) b: Vec<u64>,
}

impl<W: Word> Linear<W> for Share<W> {
    fn len(&self) -> usize {
        self.a.len()
    }
    fn map(&self, _: usize, f: impl Fn(&[W]) -> Vec<W>) -> Self {
        Self { a: f(&self.a), b: f(&self.b) }
    }
    fn add(&self, other: &Self) -> Self {
        Self { a: zip(&self.a, &other.a, W::add), b: zip(&self.b, &other.b, W::add) }
    }
    fn sub(&self, other: &Self) -> Self {
        Self { a: zip(&self.a, &other.a, W::sub), b: zip(&self.b, &other.b, W::sub) }
    }
}

impl<W: Word> Linear<W> for Product<W> {
    fn len(&self) -> usize {
        self.z.len()
    }
    fn map(&self, _: usize, f: impl Fn(&[W]) -> Vec<W>) -> Self {
        Self { z: f(&self.z) }
    }
    fn add(&self, other: &Self) -> Self {
        Self { z: zip(&self.z, &other.z, W::add) }
    }
    fn sub(&self, other: &Self) -> Self {
        Self { z: zip(&self.z, &other.z, W::sub) }
    }
}

/// Elementwise `f`, up to the shorter length.
pub(super) fn zip<A: Copy, B: Copy, C>(x: &[A], y: &[B], f: impl Fn(A, B) -> C) -> Vec<C> {
    x.iter().zip(y).map(|(&x, &y)| f(x, y)).collect()
}

/// `x ^= y`, elementwise.
pub(super) fn xor_into(x: &mut [u64], y: &[u64]) {
    x.iter_mut().zip(y).for_each(|(x, &y)| *x ^= y);
}
