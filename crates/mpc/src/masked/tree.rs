//! The prefix tree over a comparison's groups of bits: `(g, p) . (g', p') = (g + p g', p p')`,
//! high half first. Who computes the ANDs, and how, is the protocol's.

use subrosa_ring::bits::xor_assign;

/// ANDs on each level of the tree, the last being the one whose result is the sign.
pub(crate) fn and_levels(blocks: usize) -> Vec<usize> {
    let (mut blocks, mut ands) = (blocks, Vec::new());
    while blocks > 1 {
        // The lowest pair passes nothing on.
        ands.push(if blocks == 2 { 1 } else { blocks / 2 * 2 - 1 });
        blocks = blocks.div_ceil(2);
    }
    ands
}

/// A run of groups in the prefix tree: its borrow, and whether it passes a borrow on
/// (never needed of the lowest).
pub(crate) struct Block<B> {
    pub(crate) less: B,
    pub(crate) equal: Option<B>,
}

/// What is known of a bit: offline a mask, online the masked bit too.
pub(crate) trait Bits: Clone {
    fn xor(&mut self, other: &Self);
}

impl Bits for Vec<u64> {
    fn xor(&mut self, other: &Self) {
        xor_assign(self, other);
    }
}

/// Groups' borrows, lowest first, then equalities of all but the lowest, as blocks.
pub(crate) fn blocks_of<B>(mut bits: Vec<B>, count: usize) -> Vec<Block<B>> {
    let equals = bits.split_off(count.min(bits.len()));
    let equals = std::iter::once(None).chain(equals.into_iter().map(Some));
    bits.into_iter().zip(equals).map(|(less, equal)| Block { less, equal }).collect()
}

/// The operands of a level's ANDs: neighbouring blocks, lowest first; an odd one at the
/// top waits.
pub(crate) fn operands<B>(blocks: &[Block<B>]) -> Vec<(&B, &B)> {
    let mut pairs = Vec::new();
    for pair in blocks.chunks_exact(2) {
        if let [low, Block { less: _, equal: Some(equal) }] = pair {
            pairs.push((equal, &low.less));
            pairs.extend(low.equal.as_ref().map(|low| (equal, low)));
        }
    }
    pairs
}

/// The next level's blocks from this one's and the results of its ANDs.
pub(crate) fn joined<B: Bits>(blocks: Vec<Block<B>>, ands: Vec<B>) -> Vec<Block<B>> {
    let (mut blocks, mut ands, mut joined) = (blocks.into_iter(), ands.into_iter(), Vec::new());
    while let Some(low) = blocks.next() {
        let Some(Block { mut less, equal: _ }) = blocks.next() else {
            joined.push(low);
            break;
        };
        if let Some(carried) = ands.next() {
            less.xor(&carried);
        }
        let equal = low.equal.and_then(|_| ands.next());
        joined.push(Block { less, equal });
    }
    joined
}
