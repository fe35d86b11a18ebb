//! Masked values in pieces: `x = c + m_0 + m_1 + m_2`.
//!
//! Parties 0, 1 and 2 hold the *masked value* `c`; party `j` lacks the piece `m_j` of its mask
//! and holds the two others; party 3, the *helper*, holds all pieces but no `c`. So of the four
//! parts of a sharing each is known to three parties, and each of anything computed from it
//! at least to two.

pub(super) use crate::sharing::{HELD, HELPER, next, previous};

use crate::masked::{add_into, sub_from, zip};
use crate::protocol::Linear;
use std::sync::Arc;
use subrosa_ring::Word;

/// The piece to which what all of parties 0 to 2 know is added.
pub(super) const PUBLIC: usize = 0;

/// Where party `me` keeps piece `piece`, if it holds it.
pub(super) fn slot(me: usize, piece: usize) -> Option<usize> {
    HELD.get(me)?.iter().position(|&p| p == piece)
}

/// One vector a held piece.
pub(super) type Pieces<T> = Vec<Vec<T>>;

/// A party's part of a secret vector. No `Debug`: a share is secret.
#[derive(Clone)]
pub struct Share<W> {
    pub(super) n: usize,
    /// Dealt before the preprocessing (a weight): then all parts are there at all times.
    pub(super) known: bool,
    /// `c`, at parties 0 to 2. Absent in the preprocessing.
    pub(super) value: Option<Arc<Vec<W>>>,
    /// The mask's pieces held. None online: what is needed of them then is in the material.
    pub(super) masks: Vec<Arc<Vec<W>>>,
    /// `c` and the public piece's mask added up, where the value is known.
    pub(super) both: Option<Arc<Vec<W>>>,
}

/// A party's pieces of a product, or of a linear function of products. They are correlated
/// with the factors' shares, so they leave a party only under fresh masks: the fields are
/// private to this engine.
#[derive(Clone)]
pub struct Product<W> {
    pub(super) n: usize,
    /// What was computed of the held pieces in this stage. Empty: zeros.
    pub(super) pieces: Pieces<W>,
    /// In the preprocessing, with a helper: this party's part of the product of the masks, which it
    /// shares with the helper alone; at the helper the three parts. Empty: zeros.
    pub(super) crossed: Vec<Vec<W>>,
}

impl<W: Word> Share<W> {
    /// What is had of a value in the preprocessing.
    pub(super) fn masked(masks: Pieces<W>) -> Self {
        let n = masks.first().map_or(0, Vec::len);
        Self { n, known: false, value: None, masks: masks.into_iter().map(Arc::new).collect(), both: None }
    }

    /// What parties 0 to 2 have of it online.
    pub(super) fn opened(value: Vec<W>) -> Self {
        Self { value: Some(Arc::new(value)), ..Self::absent(0) }.of_len()
    }

    /// What the helper has of it online.
    pub(super) fn absent(n: usize) -> Self {
        Self { n, known: false, value: None, masks: Vec::new(), both: None }
    }

    /// A value dealt before the preprocessing.
    pub(super) fn known(me: usize, n: usize, value: Option<Vec<W>>, masks: Pieces<W>) -> Self {
        let both = value.as_ref().and_then(|c| Some(Arc::new(zip(c, masks.get(slot(me, PUBLIC)?)?, W::add))));
        Self { n, known: true, value: value.map(Arc::new), masks: masks.into_iter().map(Arc::new).collect(), both }
    }

    fn of_len(mut self) -> Self {
        self.n = self.value.as_ref().map_or(0, |v| v.len());
        self
    }

    fn with(&self, other: &Self, f: impl Fn(W, W) -> W) -> Self {
        let both =
            |x: &Option<Arc<Vec<W>>>, y: &Option<Arc<Vec<W>>>| Some(Arc::new(zip(x.as_deref()?, y.as_deref()?, &f)));
        Self {
            n: self.n,
            known: self.known && other.known,
            value: both(&self.value, &other.value),
            masks: self.masks.iter().zip(&other.masks).map(|(x, y)| Arc::new(zip(x, y, &f))).collect(),
            both: both(&self.both, &other.both),
        }
    }
}

impl<W: Word> Linear<W> for Share<W> {
    fn len(&self) -> usize {
        self.n
    }
    fn map(&self, out_len: usize, f: impl Fn(&[W]) -> Vec<W>) -> Self {
        let part = |part: &Option<Arc<Vec<W>>>| part.as_deref().map(|v| Arc::new(f(v)));
        Self {
            n: out_len,
            known: self.known,
            value: part(&self.value),
            masks: self.masks.iter().map(|m| Arc::new(f(m))).collect(),
            both: part(&self.both),
        }
    }
    fn add(&self, other: &Self) -> Self {
        self.with(other, W::add)
    }
    fn sub(&self, other: &Self) -> Self {
        self.with(other, W::sub)
    }
}

impl<W: Word> Linear<W> for Product<W> {
    fn len(&self) -> usize {
        self.n
    }
    fn map(&self, out_len: usize, f: impl Fn(&[W]) -> Vec<W>) -> Self {
        let each = |parts: &[Vec<W>]| parts.iter().map(|v| f(v)).collect();
        Self { n: out_len, pieces: each(&self.pieces), crossed: each(&self.crossed) }
    }
    fn add(&self, other: &Self) -> Self {
        let (pieces, crossed) = (sum(&self.pieces, &other.pieces), sum(&self.crossed, &other.crossed));
        Self { n: self.n, pieces, crossed }
    }
    fn sub(&self, other: &Self) -> Self {
        let negated = other.map(other.n, |v| v.iter().map(|&v| W::default().sub(v)).collect());
        self.add(&negated)
    }
}

/// The sum of two lists of vectors, where an empty list stands for zeros.
fn sum<W: Word>(x: &[Vec<W>], y: &[Vec<W>]) -> Vec<Vec<W>> {
    match (x, y) {
        ([], z) | (z, []) => z.to_vec(),
        (x, y) => x.iter().zip(y).map(|(x, y)| zip(x, y, W::add)).collect(),
    }
}

/// `x += y`, piece by piece.
pub(super) fn add_pieces<W: Word>(x: &mut [Vec<W>], y: &[Vec<W>]) {
    x.iter_mut().zip(y).for_each(|(x, y)| add_into(x, y));
}

/// `x -= y`, piece by piece.
pub(super) fn sub_pieces<W: Word>(x: &mut [Vec<W>], y: &[Vec<W>]) {
    x.iter_mut().zip(y).for_each(|(x, y)| sub_from(x, y));
}
