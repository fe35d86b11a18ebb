//! What the preprocessing makes for the time online.

use super::compare::CompareMaterial;
use super::share::Pieces;
use crate::protocol::Primitive;
use std::sync::Arc;
use subrosa_ring::Word;
use zeroize::Zeroize;

/// What one primitive consumes at one party.
pub(super) struct Material<W: Word> {
    /// The call it was made for: any other must not consume it.
    pub(super) call: Primitive,
    pub(super) parts: Parts<W>,
}

/// The parts of [`Material`]; what a primitive does not need is empty.
pub(super) struct Parts<W: Word> {
    /// What is added to a product's pieces before they are opened.
    pub(super) offset: Pieces<W>,
    /// The masks of two factors, neither known before.
    pub(super) factors: [Vec<Arc<Vec<W>>>; 2],
    pub(super) truncation: Option<Truncation<W>>,
    pub(super) selection: Option<Selection<W>>,
}

/// What a truncation consumes.
pub(super) struct Truncation<W: Word> {
    /// What is added to the value's pieces before parties 1 and 2 open it.
    pub(super) offset: Pieces<W>,
    /// With a helper: the piece of the value's mask that parties 1 and 2 have (the public one).
    pub(super) mask: Vec<W>,
    /// What hides the masked value's top bit from party 0, at the others.
    pub(super) top_mask: Vec<u64>,
    /// What is added, the new mask included.
    pub(super) base: Pieces<W>,
    /// The wrap-around where the masked top bit is 0, and where it is 1.
    pub(super) wrap: [Pieces<W>; 2],
}

/// What a sign, or the choice that it makes, consumes.
pub(super) struct Selection<W: Word> {
    pub(super) compare: CompareMaterial,
    /// The sign's mask in the ring.
    pub(super) slope: Pieces<W>,
    /// What is added where the masked sign is 0, and where it is 1: the new mask included.
    pub(super) base: [Pieces<W>; 2],
}

// Written out: deriving would ask for a default of the word type's owner as well.
impl<W: Word> Default for Parts<W> {
    fn default() -> Self {
        Self { offset: Vec::new(), factors: Default::default(), truncation: None, selection: None }
    }
}

// Wiped when it was used, or when a batch is given up.
impl<W: Word> Drop for Material<W> {
    fn drop(&mut self) {
        self.parts.offset.zeroize();
        self.parts.factors.iter_mut().flatten().filter_map(Arc::get_mut).for_each(Zeroize::zeroize);
    }
}

impl<W: Word> Drop for Truncation<W> {
    fn drop(&mut self) {
        self.offset.zeroize();
        self.mask.zeroize();
        self.top_mask.zeroize();
        self.base.zeroize();
        self.wrap.iter_mut().for_each(Zeroize::zeroize);
    }
}

impl<W: Word> Drop for Selection<W> {
    fn drop(&mut self) {
        self.slope.zeroize();
        self.base.iter_mut().for_each(Zeroize::zeroize);
    }
}
