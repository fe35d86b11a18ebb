//! Trees side by side: what both walks down them do.

use super::dcf::{FIELDS, LANES, Trees};
use super::hash::sigma;
use super::layout::Fields;
use subrosa_core::Secret;
use zeroize::Zeroize;

/// One word of each tree.
pub(super) type Lanes = [u64; LANES];

/// Hashes of a node: the child's seed, then its words.
pub(super) const HASHES: usize = 1 + FIELDS.div_ceil(2);

/// What a node's hashes give: two words each.
pub(super) type Hashes = [[Lanes; 2]; HASHES];

pub(super) const NOTHING: Lanes = [0; LANES];

/// One party's nodes. Trees behind the last one are walked too, to no effect: loops of a fixed
/// length are worth more.
pub(super) struct Nodes {
    pub(super) seeds: [Lanes; 2],
    /// All ones or zero.
    pub(super) control: Lanes,
}

impl Nodes {
    pub(super) fn roots(roots: &[[u64; 2]], party: usize) -> Self {
        let mut seeds = [NOTHING; 2];
        for (lane, root) in roots.iter().enumerate().take(LANES) {
            (seeds[0][lane], seeds[1][lane]) = (root[0], root[1]);
        }
        Self { seeds, control: [(party as u64).wrapping_neg(); LANES] }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.seeds.zeroize();
        self.control.zeroize();
    }
}

/// Room for the blocks that a node's hashes are made in, seeds of children among them. A run has
/// one and wipes it once, at its end, rather than after every node.
pub(super) type Blocks = Secret<[[[u64; 2]; LANES]; HASHES]>;

pub(super) fn blocks() -> Blocks {
    Secret::new([[[0; 2]; LANES]; HASHES])
}

/// The second half of a tweak: the node's level, and which of its children or leaves.
#[inline(always)]
pub(super) fn tweak(level: u32, which: u64) -> u64 {
    u64::from(level) << 5 | which << 2
}

/// All ones if that bit is set.
#[inline(always)]
pub(super) fn mask_of(x: u64, bit: u32) -> u64 {
    (x >> bit & 1).wrapping_neg()
}

#[inline(always)]
pub(super) fn choose(set: u64, zero: u64, one: u64) -> u64 {
    zero ^ set & (zero ^ one)
}

/// `-x` where `set` is all ones.
#[inline(always)]
pub(super) fn negated_if(set: u64, x: u64) -> u64 {
    (x ^ set).wrapping_sub(set)
}

/// The next words of `words`, one a lane.
#[inline(always)]
pub(super) fn next(words: &mut &[u64], lanes: usize) -> Lanes {
    let (now, later) = words.split_at(lanes);
    *words = later;
    let mut next = NOTHING;
    next[..lanes].copy_from_slice(now);
    next
}

/// As many words behind what was written.
#[inline(always)]
pub(super) fn put(words: &mut &mut [u64], lanes: usize, put: &Lanes) {
    let (now, later) = std::mem::take(words).split_at_mut(lanes);
    now.copy_from_slice(&put[..lanes]);
    *words = later;
}

/// `count` hashes of each node, under tweaks that start with the tree's number.
#[inline(always)]
pub(super) fn expand(
    trees: &Trees<'_>,
    nodes: &Nodes,
    tweaks: &Lanes,
    count: usize,
    blocks: &mut Blocks,
    out: &mut Hashes,
) {
    let blocks = blocks.expose_mut();
    for (h, block) in blocks.iter_mut().enumerate().take(count) {
        for lane in 0..LANES {
            let [l, r] = sigma([nodes.seeds[0][lane], nodes.seeds[1][lane]]);
            block[lane] = [l ^ trees.first.wrapping_add(lane as u64), r ^ tweaks[lane] ^ h as u64];
        }
    }
    trees.hash.permute(blocks[..count].as_flattened_mut().as_flattened_mut());
    for (block, out) in blocks.iter().zip(out).take(count) {
        let [left, right] = out;
        for lane in 0..LANES {
            let [l, r] = sigma([nodes.seeds[0][lane], nodes.seeds[1][lane]]);
            left[lane] = block[lane][0] ^ l;
            right[lane] = block[lane][1] ^ r;
        }
    }
}

/// The numbers in the words of all lanes.
#[inline(always)]
pub(super) fn split<F: Fields>(words: &[Lanes; FIELDS], k: u32) -> [Lanes; FIELDS] {
    let mut fields = [NOTHING; FIELDS];
    for lane in 0..LANES {
        let numbers = F::split([words[0][lane], words[1][lane], words[2][lane]], k);
        (fields[0][lane], fields[1][lane], fields[2][lane]) = (numbers[0], numbers[1], numbers[2]);
    }
    fields
}

/// The inverse of [`split`].
#[inline(always)]
pub(super) fn join<F: Fields>(fields: &[Lanes; FIELDS], k: u32) -> [Lanes; FIELDS] {
    let mut words = [NOTHING; FIELDS];
    for lane in 0..LANES {
        let joined = F::join([fields[0][lane], fields[1][lane], fields[2][lane]], k);
        (words[0][lane], words[1][lane], words[2][lane]) = (joined[0], joined[1], joined[2]);
    }
    words
}

/// The words among hashes from number `from` on.
#[inline(always)]
pub(super) fn words_of(hashes: &Hashes, from: usize, width: usize) -> [Lanes; FIELDS] {
    let mut words = [NOTHING; FIELDS];
    for (w, words) in words.iter_mut().enumerate().take(width) {
        *words = hashes[from + w / 2][w % 2];
    }
    words
}
