//! Masked values: `x = c + m_0 + m_1 + ...`, a part of the mask for each computing party.
//!
//! All computing parties hold the *masked value* `c` and each its `m_i`; the dealer holds
//! all of these, of which it keeps the sum, the *mask*. A mask is drawn in the
//! preprocessing, before the value exists, so that the dealer is done when the input comes.

use crate::protocol::Linear;
use std::sync::Arc;
use subrosa_ring::Word;

/// A party's part of a secret vector. No `Debug`: a share is secret.
#[derive(Clone)]
pub struct Share<W> {
    pub(super) n: usize,
    /// Dealt before the preprocessing (a weight): then both parts are there at all times.
    pub(super) known: bool,
    /// Computing parties: `c`. Absent in the preprocessing.
    pub(super) value: Option<Arc<Vec<W>>>,
    /// `m_i`, or at the dealer their sum. Absent online: what is needed of it then is
    /// in the material.
    pub(super) mask: Option<Arc<Vec<W>>>,
    /// The sum of both where the value is known.
    pub(super) both: Option<Arc<Vec<W>>>,
}

/// A party's additive part of a product, or of a linear function of products. It is
/// correlated with the factors' shares, so it leaves a party only under a fresh mask (Araki
/// et al. 2016/768, section 3.2): the field is private to `masked`.
///
/// The parts computed in the preprocessing and those computed online add up to the product.
#[derive(Clone)]
pub struct Product<W> {
    pub(super) n: usize,
    /// Absent: zeros.
    pub(super) z: Option<Vec<W>>,
}

impl<W: Word> Linear<W> for Share<W> {
    fn len(&self) -> usize {
        self.n
    }
    fn map(&self, out_len: usize, f: impl Fn(&[W]) -> Vec<W>) -> Self {
        let part = |part: &Option<Arc<Vec<W>>>| part.as_deref().map(|v| Arc::new(f(v)));
        let (value, mask, both) = (part(&self.value), part(&self.mask), part(&self.both));
        Self { n: out_len, known: self.known, value, mask, both }
    }
    fn add(&self, other: &Self) -> Self {
        self.with(other, W::add)
    }
    fn sub(&self, other: &Self) -> Self {
        self.with(other, W::sub)
    }
}

impl<W: Word> Share<W> {
    /// A value dealt before the preprocessing.
    pub(super) fn known(n: usize, value: Option<Vec<W>>, mask: Vec<W>) -> Self {
        let both = value.as_ref().map(|value| Arc::new(zip(value, &mask, W::add)));
        Self { n, known: true, value: value.map(Arc::new), mask: Some(Arc::new(mask)), both }
    }

    /// What is had of a value in the preprocessing.
    pub(super) fn masked(mask: Vec<W>) -> Self {
        Self { mask: Some(Arc::new(mask)), ..Self::absent(0) }.of_len()
    }

    /// What the computing parties have of it online.
    pub(super) fn opened(value: Vec<W>) -> Self {
        Self { value: Some(Arc::new(value)), ..Self::absent(0) }.of_len()
    }

    /// What the dealer has of it online.
    pub(super) fn absent(n: usize) -> Self {
        Self { n, known: false, value: None, mask: None, both: None }
    }

    fn of_len(mut self) -> Self {
        self.n = self.value.as_ref().or(self.mask.as_ref()).map_or(0, |v| v.len());
        self
    }

    fn with(&self, other: &Self, f: impl Fn(W, W) -> W) -> Self {
        let both =
            |x: &Option<Arc<Vec<W>>>, y: &Option<Arc<Vec<W>>>| Some(Arc::new(zip(x.as_deref()?, y.as_deref()?, &f)));
        Self {
            n: self.n,
            known: self.known && other.known,
            value: both(&self.value, &other.value),
            mask: both(&self.mask, &other.mask),
            both: both(&self.both, &other.both),
        }
    }
}

impl<W: Word> Linear<W> for Product<W> {
    fn len(&self) -> usize {
        self.n
    }
    fn map(&self, out_len: usize, f: impl Fn(&[W]) -> Vec<W>) -> Self {
        Self { n: out_len, z: self.z.as_deref().map(f) }
    }
    fn add(&self, other: &Self) -> Self {
        let z = match (&self.z, &other.z) {
            (Some(x), Some(y)) => Some(zip(x, y, W::add)),
            (Some(z), None) | (None, Some(z)) => Some(z.clone()),
            (None, None) => None,
        };
        Self { n: self.n, z }
    }
    fn sub(&self, other: &Self) -> Self {
        let z = match (&self.z, &other.z) {
            (Some(x), Some(y)) => Some(zip(x, y, W::sub)),
            (Some(x), None) => Some(x.clone()),
            (None, Some(y)) => Some(y.iter().map(|&y| W::default().sub(y)).collect()),
            (None, None) => None,
        };
        Self { n: self.n, z }
    }
}

/// Elementwise `f`, up to the shorter length.
pub(crate) fn zip<A: Copy, B: Copy, C>(x: &[A], y: &[B], f: impl Fn(A, B) -> C) -> Vec<C> {
    x.iter().zip(y).map(|(&x, &y)| f(x, y)).collect()
}
