//! Matrix products from products of bytes, for the tile unit.
//!
//! A word of `L` bytes is split into its limbs: `a = sum a_i 2^(8i)`. Then
//! `a b = sum over s < L of 2^(8s) sum over i + j = s of a_i b_j`, the rest being a multiple
//! of the ring's 2^(8L): 10 products of limbs for 32 bits, 21 for 48, 36 for 64. One sum is
//! made for each `s`, all its products of limbs in the same 32-bit tiles.
//!
//! **Sums of 32 bits are wide enough.** Sum `s` counts modulo 2^(8L - 8s) only, so it may
//! wrap where `8L - 8s <= 32`. What remains are the sums `s < L - 4`, of at most
//! `s + 1 <= 4` pairs of limbs each; over `k` steps they stay below `4 * 255^2 * k`, which
//! is less than 2^32 for `k <= 16512`. The inner dimension is cut far below that.

use crate::gemm;
use crate::isa::Isa;
use crate::isa::amx::{Config, Tile, TileSums, Tiles};
use crate::operand::{Grid, Left, Right, Sums, blocks, common_runs};
use crate::word::{Ring, Word, Z64};
use std::ops::Range;
use zeroize::Zeroize;

/// Steps of the inner dimension in a tile.
const DEPTH: usize = 64;
/// Rows or columns of a tile.
const SIDE: usize = 16;
/// Steps of the inner dimension at a time.
const K_BLOCK: usize = 1024;
/// Rows, and columns, split into limbs at a time.
const BLOCK: usize = 256;

const _: () = assert!(4 * 255 * 255 * (K_BLOCK as u64) < 1 << 32, "see the head of this module");

/// An operand's limbs: a tile for each 16 rows (of the left operand; columns of the right
/// one), 64 steps and limb.
pub(crate) struct Limbs {
    tiles: Vec<Tile>,
    /// Tiles along the inner dimension.
    steps: usize,
    /// Limbs of a value.
    limbs: usize,
}

impl Limbs {
    fn new(side: usize, k: usize, limbs: usize) -> Self {
        let steps = k.div_ceil(DEPTH);
        let tiles = vec![Tile([0; _]); side.div_ceil(SIDE) * steps * limbs];
        Self { tiles, steps, limbs }
    }

    fn at(&self, block: usize, step: usize, limb: usize) -> usize {
        (block * self.steps + step) * self.limbs + limb
    }

    /// Rows `rows` and columns `ps` of a left operand: byte `p` of row `i` of a tile is of
    /// element `(i, p)`.
    pub(crate) fn of_left<R: Ring>(left: &Left<'_, R::Word>, rows: Range<usize>, ps: Range<usize>) -> Self {
        let mut all = Self::new(rows.len(), ps.len(), left.span.limbs::<R>());
        let lift = R::Word::from_u64(left.span.lift());
        for (block, rows) in blocks(rows, SIDE).enumerate() {
            for (step, ps) in blocks(ps.clone(), DEPTH).enumerate() {
                for (i, row) in rows.clone().enumerate() {
                    let words = &left.from(row, ps.start)[..ps.len()];
                    for limb in 0..all.limbs {
                        let at = all.at(block, step, limb);
                        let to = &mut all.tiles[at].0[i * DEPTH..][..words.len()];
                        to.iter_mut().zip(words).for_each(|(to, w)| *to = byte(w.add(lift), limb));
                    }
                }
            }
        }
        all
    }

    /// Rows `ps` and columns `cols` of a right operand: byte `4 j + t` of row `q` of a tile
    /// is of element `(4 q + t, j)`.
    pub(crate) fn of_right<R: Ring>(right: &Right<'_, R::Word>, ps: Range<usize>, cols: Range<usize>) -> Self {
        let mut all = Self::new(cols.len(), ps.len(), right.span.limbs::<R>());
        let lift = R::Word::from_u64(right.span.lift());
        for (block, cols) in blocks(cols, SIDE).enumerate() {
            for run in right.columns.runs(cols.clone()) {
                for (i, &offset) in right.offsets[ps.clone()].iter().enumerate() {
                    let words = &right.words[offset + run.at..][..run.len];
                    let (step, p) = (i / DEPTH, i % DEPTH);
                    for limb in 0..all.limbs {
                        let at = all.at(block, step, limb);
                        let start = p / 4 * DEPTH + (run.col - cols.start) * 4 + p % 4;
                        let to = all.tiles[at].0[start..].iter_mut().step_by(4);
                        to.zip(words).for_each(|(to, w)| *to = byte(w.add(lift), limb));
                    }
                }
            }
        }
        all
    }

    /// Overwrites every limb with zeros.
    pub(crate) fn wipe(&mut self) {
        self.tiles.iter_mut().for_each(|tile| tile.0.zeroize());
    }
}

fn byte<W: Word>(word: W, limb: usize) -> u8 {
    (word.to_u64() >> (8 * limb)) as u8
}

/// Limbs from some block and step on.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    limbs: &'a Limbs,
    block: usize,
    step: usize,
}

impl<'a> View<'a> {
    /// All of them.
    pub(crate) fn new(limbs: &'a Limbs) -> Self {
        Self { limbs, block: 0, step: 0 }
    }

    /// From that row of a left operand on, if a tile begins there.
    pub(crate) fn at_row(self, row: usize) -> Option<Self> {
        row.is_multiple_of(SIDE).then_some(Self { block: self.block + row / SIDE, ..self })
    }

    /// From a row or column and an element of the inner dimension on, where tiles begin.
    fn at(self, side: usize, p: usize) -> Self {
        Self { block: self.block + side / SIDE, step: self.step + p / DEPTH, ..self }
    }

    fn tile(&self, block: usize, step: usize, limb: usize) -> &'a Tile {
        &self.limbs.tiles[self.limbs.at(self.block + block, self.step + step, limb)]
    }
}

/// Whether tiles suit an `[m, k] x [k, n]` product: at least half of what they multiply must be
/// there.
pub(crate) fn fits(m: usize, k: usize, n: usize) -> bool {
    let padded = m.next_multiple_of(SIDE) * k.next_multiple_of(DEPTH) * n.next_multiple_of(SIDE);
    m >= SIDE && n >= SIDE && padded <= 2 * m * k * n
}

/// Whether `m` rows are enough for what splitting the right operand costs. Measured on a Xeon
/// with the unit (docs/runs/ring-amx.txt): once split, 60 thousand million products a second
/// against 33 of vectors for 32 bits, 33 against 27 for 48, 22 against 11 for 64; splitting
/// takes as long as gains it over 130, 360 and 100 rows, and twice that where elements are
/// gathered from an image.
pub(crate) fn pays<R: Ring>(m: usize, right: &Right<'_, R::Word>) -> bool {
    let rows = match R::WIDTH.bits() {
        ..=32 => 160,
        33..=48 => 448,
        49.. => 128,
    };
    let gathered = right.columns.line() < right.n;
    right.limbs.is_some() || m >= if gathered { 2 * rows } else { rows }
}

/// Adds `left [m, k]` times `right [k, n]` to `out`, modulo 2^k of the ring.
pub(crate) fn product<R: Ring, T: Tiles>(
    tiles: &mut T,
    m: usize,
    left: &Left<'_, R::Word>,
    right: &Right<'_, R::Word>,
    mut out: Sums<'_, R::Word>,
) {
    tiles.configure(&Config::FULL);
    for ps in blocks(0..right.offsets.len(), K_BLOCK) {
        for js in blocks(0..right.n, BLOCK) {
            let made;
            let b = if let Some(limbs) = right.limbs {
                limbs.at(js.start, ps.start)
            } else {
                made = Limbs::of_right::<R>(right, ps.clone(), js.clone());
                View::new(&made)
            };
            for is in blocks(0..m, BLOCK) {
                let made;
                let a = if let Some(limbs) = left.limbs {
                    limbs.at(is.start, ps.start)
                } else {
                    made = Limbs::of_left::<R>(left, is.clone(), ps.clone());
                    View::new(&made)
                };
                block_product::<R, T>(tiles, (a, b), ps.len().div_ceil(DEPTH), (is, js.clone()), &mut out);
            }
        }
    }
    tiles.release();
    lower::<R>(m, left, right, &mut out);
}

/// The product of rows `is` and columns `js` over `steps` tiles of the inner dimension, in
/// blocks of two by two tiles.
fn block_product<R: Ring, T: Tiles>(
    tiles: &mut T,
    (left, right): (View<'_>, View<'_>),
    steps: usize,
    (is, js): (Range<usize>, Range<usize>),
    out: &mut Sums<'_, R::Word>,
) {
    for (j, cols) in blocks(js, 2 * SIDE).enumerate() {
        for (i, rows) in blocks(is.clone(), 2 * SIDE).enumerate() {
            let left = View { block: left.block + 2 * i, ..left };
            let right = View { block: right.block + 2 * j, ..right };
            let mut block = Block { sums: [R::Word::default(); _], tall: rows.len() > SIDE, wide: cols.len() > SIDE };
            for s in 0..R::WIDTH.bits() as usize / 8 {
                block.add_limbs(tiles, left, right, steps, s);
            }
            for run in out.columns.runs(cols.clone()) {
                for (i, row) in rows.clone().enumerate() {
                    let from = &block.sums[i * 2 * SIDE + run.col - cols.start..];
                    let to = &mut out.words[row * out.row + run.at..][..run.len];
                    to.iter_mut().zip(from).for_each(|(to, &from)| *to = to.add(from));
                }
            }
        }
    }
}

/// Two by two tiles of sums.
struct Block<W> {
    sums: [W; 4 * SIDE * SIDE],
    /// Whether there is a second row of tiles.
    tall: bool,
    /// Whether there is a second column of tiles.
    wide: bool,
}

impl<W: Word> Block<W> {
    /// Adds 2^(8s) times the sum of all products of limbs `i` and `j`, `i + j = s`.
    fn add_limbs<T: Tiles>(&mut self, tiles: &mut T, left: View<'_>, right: View<'_>, steps: usize, s: usize) {
        tiles.zero::<0>();
        tiles.zero::<1>();
        tiles.zero::<2>();
        tiles.zero::<3>();
        for i in (0..left.limbs.limbs.min(s + 1)).filter(|i| s - i < right.limbs.limbs) {
            for step in 0..steps {
                tiles.load::<4>(left.tile(0, step, i));
                tiles.load::<6>(right.tile(0, step, s - i));
                tiles.dot::<0, 4, 6>();
                if self.wide {
                    tiles.load::<7>(right.tile(1, step, s - i));
                    tiles.dot::<1, 4, 7>();
                }
                if self.tall {
                    tiles.load::<5>(left.tile(1, step, i));
                    tiles.dot::<2, 5, 6>();
                }
                if self.tall && self.wide {
                    tiles.dot::<3, 5, 7>();
                }
            }
        }
        self.take::<T, 0>(tiles, s);
        self.take::<T, 1>(tiles, s);
        self.take::<T, 2>(tiles, s);
        self.take::<T, 3>(tiles, s);
    }

    /// Adds 2^(8s) times the tile of sums `C` where it belongs.
    fn take<T: Tiles, const C: usize>(&mut self, tiles: &T, s: usize) {
        let mut tile = TileSums([0; _]);
        tiles.store::<C>(&mut tile);
        let first = C / 2 * SIDE * 2 * SIDE + C % 2 * SIDE;
        for (row, sums) in tile.0.chunks_exact(SIDE).zip(self.sums[first..].chunks_mut(2 * SIDE)) {
            let shifted = row.iter().map(|&sum| W::from_u64(u64::from(sum) << (8 * s)));
            sums.iter_mut().zip(shifted).for_each(|(to, v)| *to = to.add(v));
        }
    }
}

/// Signed values were lifted to unsigned ones by adding a constant `c`; subtracts what that
/// added: `(a + c) b = a b + c sum b` and `a (b + c) = a b + c sum a`. Never both are signed.
fn lower<R: Ring>(m: usize, left: &Left<'_, R::Word>, right: &Right<'_, R::Word>, out: &mut Sums<'_, R::Word>) {
    let (a_lift, b_lift) = (left.span.lift(), right.span.lift());
    if a_lift == 0 && b_lift == 0 {
        return;
    }
    let sum = |words: &mut dyn Iterator<Item = R::Word>, lift| words.fold(R::Word::default(), Word::add).mul(lift);
    let (a_lift, b_lift) = (R::Word::from_u64(a_lift), R::Word::from_u64(b_lift));
    let row = |i| sum(&mut left.from(i, 0)[..left.k].iter().copied(), b_lift);
    let rows: Vec<R::Word> = (0..m).map(row).collect();
    for (from, to, len) in common_runs(&right.columns, &out.columns, right.n) {
        for j in 0..len {
            let column = sum(&mut right.offsets.iter().map(|offset| right.words[offset + from + j]), a_lift);
            for (i, &row) in rows.iter().enumerate() {
                let word = &mut out.words[i * out.row + to + j];
                *word = word.sub(column).sub(row);
            }
        }
    }
}

/// Whether the unit gives the answers of the portable kernel, for every pair of limbs, whole
/// and cut tiles. Asked once, before the unit is chosen.
pub(crate) fn answers_are_right<T: Tiles>(tiles: &mut T) -> bool {
    let (m, k, n) = (37, 130, 35);
    // Any words will do that have all bits in use: multiples of an odd constant.
    let words = |count: u64| (1..=count).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect::<Vec<u64>>();
    let (a, b) = (words(m as u64 * k as u64), words(k as u64 * n as u64));
    let offsets: Vec<usize> = (0..k).map(|p| p * n).collect();
    let columns = Grid::row(n);
    let (left, right) = (Left::new(&a, k), Right::new(&b, &offsets, columns, n));
    let (mut expected, mut got) = (vec![0u64; m * n], vec![0u64; m * n]);
    let out = |words| Sums { words, row: n, columns };
    gemm::product::<Z64>(Isa::Portable, 1, m, left, right, out(&mut expected));
    product::<Z64, T>(tiles, m, &left, &right, out(&mut got));
    expected == got
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::amx::{Hardware, Model};
    use crate::span::Span;
    use crate::word::{Z32, Z48, mask, sign_extend};
    use proptest::prelude::*;
    use subrosa_core::Seed;

    /// Words in the span.
    fn words<R: Ring>(seed: u8, label: &'static str, n: usize, span: Span) -> Vec<R::Word> {
        let word = |w: u64| match span {
            Span::Full => w,
            Span::Unsigned { bits } => w & mask(bits),
            Span::Signed { bits } => sign_extend(w, bits) as u64,
        };
        let random = Seed::from_bytes([seed; 32]).stream(label).u64s(n);
        random.into_iter().map(|w| R::Word::from_u64(word(w))).collect()
    }

    fn low<R: Ring>(words: &[R::Word]) -> Vec<u64> {
        words.iter().map(|w| w.to_u64() & mask(R::WIDTH.bits())).collect()
    }

    fn check<R: Ring, T: Tiles>(tiles: &mut T, (m, k, n): (usize, usize, usize), spans: (Span, Span), seed: u8) {
        let (a, b) = (words::<R>(seed, "a", m * k, spans.0), words::<R>(seed, "b", k * n, spans.1));
        let start = words::<R>(seed, "out", m * n, Span::Full);
        let offsets: Vec<usize> = (0..k).map(|p| p * n).collect();
        // Columns in lines and planes, as for a convolution, where they can be.
        let columns = if n.is_multiple_of(6) { Grid::planes(6, 6) } else { Grid::row(n) };
        let left = Left { span: spans.0, ..Left::new(&a, k) };
        let right = Right { span: spans.1, ..Right::new(&b, &offsets, columns, n) };
        let mut expected = start.clone();
        gemm::product::<R>(Isa::Portable, 1, m, left, right, Sums { words: &mut expected, row: n, columns });
        let (a_limbs, b_limbs) = (Limbs::of_left::<R>(&left, 0..m, 0..k), Limbs::of_right::<R>(&right, 0..k, 0..n));
        for packed in [false, true] {
            let left = Left { limbs: packed.then_some(View::new(&a_limbs)), ..left };
            let right = Right { limbs: packed.then_some(View::new(&b_limbs)), ..right };
            let mut out = start.clone();
            product::<R, T>(tiles, m, &left, &right, Sums { words: &mut out, row: n, columns });
            assert!(low::<R>(&out) == low::<R>(&expected), "{m} x {k} x {n}, {spans:?}, packed: {packed}");
        }
    }

    fn check_rings<T: Tiles>(tiles: &mut T, sizes: (usize, usize, usize), spans: (Span, Span), seed: u8) {
        check::<Z32, T>(tiles, sizes, spans, seed);
        check::<Z48, T>(tiles, sizes, spans, seed);
        check::<Z64, T>(tiles, sizes, spans, seed);
    }

    fn span() -> impl Strategy<Value = Span> {
        let bits = 1u32..=31;
        prop_oneof![
            Just(Span::Full),
            bits.clone().prop_map(|bits| Span::Unsigned { bits }),
            bits.prop_map(|bits| Span::Signed { bits })
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn the_model_gives_the_portable_product(m in 0usize..50, k in 0usize..150, n in 0usize..50, small in span(), on_the_left: bool, seed: u8) {
            let spans = if on_the_left { (small, Span::Full) } else { (Span::Full, small) };
            check_rings(&mut Model::new(), (m, k, n), spans, seed);
            if let Some(mut tiles) = Hardware::new() {
                check_rings(&mut tiles, (m, k, n), spans, seed);
            }
        }
    }

    #[test]
    fn blocks_meet_without_gaps() {
        for sizes in [(270, 70, 40), (20, 70, 290), (17, 2100, 33)] {
            check::<Z32, _>(&mut Model::new(), sizes, (Span::Full, Span::Full), 1);
            if let Some(mut tiles) = Hardware::new() {
                check_rings(&mut tiles, sizes, (Span::Full, Span::Full), 1);
            }
        }
    }

    /// The largest sums there are: every byte 255, a whole block of the inner dimension.
    #[test]
    fn no_sum_that_counts_overflows() {
        let (m, k, n) = (1, K_BLOCK, 1);
        let (a, b) = (vec![u64::MAX; k], vec![u64::MAX; k]);
        let offsets: Vec<usize> = (0..k).collect();
        let (left, right) = (Left::new(&a, k), Right::new(&b, &offsets, Grid::row(n), n));
        let mut out = [0u64];
        product::<Z64, _>(&mut Model::new(), m, &left, &right, Sums { words: &mut out, row: n, columns: Grid::row(n) });
        // (-1)(-1), k times.
        assert_eq!(out, [k as u64]);
    }

    #[test]
    fn the_self_check_finds_a_broken_unit() {
        /// Forgets one product of limbs.
        struct Broken(Model);
        impl Tiles for Broken {
            fn configure(&mut self, config: &Config) {
                self.0.configure(config);
            }
            fn zero<const T: usize>(&mut self) {
                self.0.zero::<T>();
            }
            fn load<const T: usize>(&mut self, from: &Tile) {
                self.0.load::<T>(from);
            }
            fn dot<const C: usize, const A: usize, const B: usize>(&mut self) {
                if C != 3 {
                    self.0.dot::<C, A, B>();
                }
            }
            fn store<const T: usize>(&self, to: &mut TileSums) {
                self.0.store::<T>(to);
            }
            fn release(&mut self) {
                self.0.release();
            }
        }
        assert!(answers_are_right(&mut Model::new()));
        assert!(!answers_are_right(&mut Broken(Model::new())));
    }

    #[test]
    fn tiles_are_for_wide_products() {
        assert!(fits(128, 784, 128) && fits(50, 500, 8192) && fits(1024, 1024, 1024));
        assert!(!fits(1, 784, 128) && !fits(20, 25, 73728) && !fits(128, 784, 10));
    }
}
