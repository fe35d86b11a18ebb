//! Distributed comparison functions: keys for two parties that together say `x < alpha`.
//!
//! Boyle, Chandran, Gilboa, Gupta, Ishai, Kumar, Rathee, *Function Secret Sharing for
//! Mixed-Mode and Fixed-Point Secure Computation*, <https://eprint.iacr.org/2020/1392>,
//! section 3, figure 1. With its key each party computes on a public `x` an additive part of
//! `beta` where `x < alpha`, of 0 elsewhere; one key alone says nothing about `alpha` and `beta`.
//!
//! **Differs from the paper:**
//! - The last [`TAIL`] levels are one table of four leaves: smaller and two levels less.
//! - `beta` is up to three numbers that share one block of the hash where they fit
//!   ([`Layout`]), with the two control bits: 32 bytes a level.
//! - A key is a *root*, 16 bytes that a party draws from what it shares with the dealer, and
//!   *correction words* that are the same for both. Only these are sent. Without a root they are
//!   pseudo-random: they say nothing, wherever they are kept.
//! - [`LANES`] trees are walked together, level by level; words of one kind lie together.
//!
//! Tweaks: the tree's number in its batch, the level, and which of a node's hashes it is: no two
//! calls of the hash share one, but those of both parties for the same node.

use super::deal::Deal;
use super::eval::Eval;
use super::hash::Hash;
use super::layout::{Alone, Layout, One, Packed, Wide};
use std::marker::PhantomData;
use subrosa_ring::isa::{Isa, run};

/// Trees walked together.
pub const LANES: usize = 64;

/// Levels that the table of leaves stands for.
const TAIL: u32 = 2;

/// Numbers that a payload has, not all of them used: modulo 2^k, 2^k, and as much as is left.
pub const FIELDS: usize = 3;

/// What a key compares and gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    pub(super) bits: u32,
    pub(super) k: u32,
    layout: Layout,
}

impl Form {
    /// One number modulo 2^k where `x < alpha`, both of `bits` bits.
    pub fn bit(bits: u32, k: u32) -> Self {
        Self { bits, k, layout: if k <= 62 { Layout::One } else { Layout::Alone } }
    }

    /// Two numbers modulo 2^k and one modulo 2^(k - bits).
    pub fn triple(bits: u32, k: u32) -> Self {
        let room = 2 * 64u32.saturating_sub(k);
        let packed = k <= 62 && room >= 2 + k.saturating_sub(bits);
        Self { bits, k, layout: if packed { Layout::Packed } else { Layout::Wide } }
    }

    pub(super) fn tail(&self) -> u32 {
        self.bits.min(TAIL)
    }

    pub(super) fn levels(&self) -> u32 {
        self.bits - self.tail()
    }

    /// Words of correction for one tree.
    pub fn words(&self) -> usize {
        self.levels() as usize * (2 + self.layout.words()) + (self.layout.leaf_words() << self.tail())
    }
}

/// Some trees of a batch: what both parties and the dealer know of them.
#[derive(Clone, Copy)]
pub struct Trees<'a> {
    /// The batch's hash.
    pub hash: &'a Hash,
    /// What each compares and gives.
    pub form: Form,
    /// The number of the first one in its batch.
    pub first: u64,
}

/// What a party has of some trees.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    /// The party, 0 or 1.
    pub party: usize,
    /// A root a tree.
    pub roots: &'a [[u64; 2]],
    /// [`Form::words`] a tree.
    pub words: &'a [u64],
}

/// What the dealer knows of some trees, in the order of their numbers.
#[derive(Clone, Copy)]
pub struct Secrets<'a> {
    /// Both parties' roots.
    pub roots: [&'a [[u64; 2]]; 2],
    /// The thresholds.
    pub alpha: &'a [u64],
    /// The payloads.
    pub beta: [&'a [u64]; FIELDS],
}

impl Trees<'_> {
    fn from(&self, tree: usize) -> Self {
        Self { first: self.first + tree as u64, ..*self }
    }

    /// The correction words of these trees, [`Form::words`] each.
    pub fn deal(&self, isa: Isa, secrets: Secrets<'_>, out: &mut [u64]) {
        let Secrets { roots, alpha, beta } = secrets;
        for (run_number, out) in out.chunks_mut(LANES * self.form.words()).enumerate() {
            let at = run_number * LANES;
            let lanes = at..(at + LANES).min(alpha.len());
            let secrets = Secrets {
                roots: roots.map(|roots| &roots[lanes.clone()]),
                alpha: &alpha[lanes.clone()],
                beta: beta.map(|beta| &beta[lanes.clone()]),
            };
            let trees = self.from(at);
            match self.form.layout {
                Layout::One => run(isa, Deal { trees, secrets, out, layout: PhantomData::<One> }),
                Layout::Alone => run(isa, Deal { trees, secrets, out, layout: PhantomData::<Alone> }),
                Layout::Packed => run(isa, Deal { trees, secrets, out, layout: PhantomData::<Packed> }),
                Layout::Wide => run(isa, Deal { trees, secrets, out, layout: PhantomData::<Wide> }),
            }
        }
    }

    /// Adds this party's parts of the trees' payloads at `x` to `out`.
    pub fn eval(&self, isa: Isa, keys: Keys<'_>, x: &[u64], out: [&mut [u64]; FIELDS]) {
        let Keys { party, roots, words } = keys;
        let [p, q, c] = out.map(|out| out.chunks_mut(LANES));
        let runs = x.chunks(LANES).zip(roots.chunks(LANES)).zip(words.chunks(LANES * self.form.words()));
        for (run_number, (((x, roots), words), ((p, q), c))) in runs.zip(p.zip(q).zip(c)).enumerate() {
            let trees = self.from(run_number * LANES);
            let (keys, out) = (Keys { party, roots, words }, [p, q, c]);
            match self.form.layout {
                Layout::One => run(isa, Eval { trees, keys, x, out, layout: PhantomData::<One> }),
                Layout::Alone => run(isa, Eval { trees, keys, x, out, layout: PhantomData::<Alone> }),
                Layout::Packed => run(isa, Eval { trees, keys, x, out, layout: PhantomData::<Packed> }),
                Layout::Wide => run(isa, Eval { trees, keys, x, out, layout: PhantomData::<Wide> }),
            }
        }
    }
}
