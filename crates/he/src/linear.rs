//! An affine map on packed slots as rotations, products and sums.
//!
//! A row of the matrix gets a slot, its *base*. Every slot `s` of the result first
//! collects `sum over rotations r of D_r[s] x[s + r]` (diagonals: S. Halevi, V. Shoup,
//! "Algorithms in HElib", <https://eprint.iacr.org/2014/106>, section 4.3); then slots
//! that belong to one row are added up by rotate-and-sum. [`Diagonals::find`] finds the
//! diagonals for any layout of the operand, any matrix and any placement of rows.
//!
//! Rotations are split into baby and giant steps: `r = giant + baby`, one hoisting for all
//! babies and one division by the special primes for all giants (J.-P. Bossuat et al.,
//! <https://eprint.iacr.org/2020/1203>, section 4).

use crate::circuit::Sparse;
use crate::slots::SlotMap;
use std::collections::{BTreeMap, BTreeSet};

/// Where the rows of a result stand, and what is summed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The slot of each row.
    pub base: Vec<usize>,
    /// Powers of two, ascending, each twice the one before: row `j` is the sum of the
    /// slots `base[j] + (any subset of these)`.
    pub strides: Vec<usize>,
}

impl Placement {
    /// All subset sums of the strides.
    pub fn offsets(&self) -> impl Iterator<Item = usize> + '_ {
        let first = self.strides.first().copied().unwrap_or(0);
        (0..1usize << self.strides.len()).map(move |k| k * first)
    }

    /// Whether the summed slots are a whole cycle: then every one of them ends with the
    /// row's value, and slots that belong to no row with zero.
    pub fn is_cyclic(&self, slots: usize) -> bool {
        self.strides.last().is_none_or(|&s| 2 * s == slots)
    }

    /// Which slots of the result hold which row. Others hold zero if the sum is cyclic,
    /// anything otherwise.
    pub fn layout(&self, slots: usize) -> SlotMap {
        let mut map = SlotMap::empty(slots);
        let cyclic = self.is_cyclic(slots);
        for (row, &base) in self.base.iter().enumerate() {
            self.offsets().take(if cyclic { usize::MAX } else { 1 }).for_each(|o| map.put((base + o) % slots, row));
        }
        map
    }
}

/// The diagonals of a matrix: for operand ciphertext and rotation, a factor for each slot.
#[derive(Clone, Debug)]
pub struct Diagonals {
    /// `(operand, rotation) -> factors`.
    pub by_view: BTreeMap<(usize, usize), Vec<f64>>,
}

/// Most entries a matrix may have to be placed in slots.
pub const MAX_DENSE: usize = 1 << 26;
/// Most diagonals tried for.
const MAX_DIAGONALS: usize = 4096;

impl Diagonals {
    /// Covers each entry of the matrix exactly once, with few rotations. None where that
    /// is not possible.
    ///
    /// Rotations are taken by the number of entries they could cover, near ones first
    /// among equals, and left out if everything they cover is covered.
    ///
    /// Only rotations that are multiples of `step` are taken; a multiple of the slots
    /// means none at all.
    pub fn find(operands: &[SlotMap], matrix: &Sparse, place: &Placement, step: usize) -> Option<Self> {
        let slots = operands.first()?.len();
        if matrix.rows.len() * matrix.cols > MAX_DENSE {
            return None;
        }
        let mut left = Left::new(matrix);
        let offsets: Vec<usize> = place.offsets().collect();
        let mut by_view = BTreeMap::new();
        for view in ranked_views(operands, matrix, place, &offsets) {
            if left.count == 0 || by_view.len() > MAX_DIAGONALS {
                break;
            }
            let (operand, rotation) = view;
            if !rotation.is_multiple_of(step) {
                continue;
            }
            let map = &operands[operand];
            let mut factors = vec![0.0; slots];
            let before = left.count;
            for (row, &base) in place.base.iter().enumerate() {
                for &offset in &offsets {
                    let slot = (base + offset) % slots;
                    if let Some(factor) = map.at(slot + rotation).and_then(|e| left.take(row, e)) {
                        factors[slot] = factor;
                    }
                }
            }
            if left.count < before {
                by_view.insert(view, factors);
            }
        }
        (left.count == 0).then_some(Self { by_view })
    }

    /// The rotations of the diagonals, in `(-slots/2, slots/2]`.
    fn rotations(&self, slots: usize) -> BTreeSet<i64> {
        self.by_view.keys().map(|&(_, r)| signed(r, slots)).collect()
    }

    /// The split with the least cost; `weigh(babies, giants)` is the cost.
    pub fn split(&self, slots: usize, weigh: impl Fn(usize, usize) -> f64) -> Split {
        let rotations = self.rotations(slots);
        let cost = |step: i64| {
            let babies: BTreeSet<i64> = rotations.iter().map(|r| r.rem_euclid(step)).filter(|&b| b != 0).collect();
            let giants: BTreeSet<i64> = rotations.iter().map(|r| r - r.rem_euclid(step)).filter(|&g| g != 0).collect();
            (weigh(babies.len(), giants.len()), step)
        };
        let widest = rotations.iter().map(|r| r.abs()).max().unwrap_or(0).min(MAX_STEP) + 1;
        // A step of 1 makes every rotation a giant one; beyond the widest, all are babies
        // (negative ones then have a common giant).
        let best = (1..=widest).chain([slots as i64]).map(cost).min_by(|a, b| a.0.total_cmp(&b.0));
        Split { step: best.map_or(1, |b| b.1) }
    }
}

/// Widest baby steps looked at.
const MAX_STEP: i64 = 1024;

/// How rotations are split: `baby = r mod step`, `giant = r - baby`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    step: i64,
}

impl Split {
    /// `(baby, giant)` as rotations to the left, each below `slots`.
    pub fn of(self, rotation: usize, slots: usize) -> (usize, usize) {
        let r = signed(rotation, slots);
        let baby = r.rem_euclid(self.step);
        let around = |x: i64| x.rem_euclid(slots as i64) as usize;
        (around(baby), around(r - baby))
    }
}

fn signed(rotation: usize, slots: usize) -> i64 {
    let r = (rotation % slots) as i64;
    if r > slots as i64 / 2 { r - slots as i64 } else { r }
}

/// Entries that are not yet covered.
struct Left {
    dense: Vec<f64>,
    cols: usize,
    count: usize,
}

impl Left {
    fn new(matrix: &Sparse) -> Self {
        let mut dense = vec![0.0; matrix.rows.len() * matrix.cols];
        for (row, entries) in matrix.rows.iter().enumerate() {
            entries.iter().for_each(|&(c, v)| dense[row * matrix.cols + c as usize] = v);
        }
        Self { dense, cols: matrix.cols, count: matrix.entries() }
    }

    fn take(&mut self, row: usize, element: usize) -> Option<f64> {
        let value = std::mem::take(&mut self.dense[row * self.cols + element]);
        (value != 0.0).then(|| {
            self.count -= 1;
            value
        })
    }
}

/// Operands and rotations, those that can cover most entries first.
fn ranked_views(operands: &[SlotMap], matrix: &Sparse, place: &Placement, offsets: &[usize]) -> Vec<(usize, usize)> {
    let slots = operands[0].len();
    let mut counts = vec![0u32; operands.len() * slots];
    for (operand, map) in operands.iter().enumerate() {
        let positions = map.positions(matrix.cols);
        let counts = &mut counts[operand * slots..(operand + 1) * slots];
        for (row, &base) in matrix.rows.iter().zip(&place.base) {
            for &(element, _) in row {
                for &at in &positions[element as usize] {
                    offsets.iter().for_each(|o| counts[(at as usize + 2 * slots - base - o) % slots] += 1);
                }
            }
        }
    }
    let mut views: Vec<(usize, usize)> = (0..operands.len())
        .flat_map(|o| (0..slots).map(move |r| (o, r)))
        .filter(|&(o, r)| counts[o * slots + r] > 0)
        .collect();
    views.sort_by_key(|&(o, r)| (std::cmp::Reverse(counts[o * slots + r]), signed(r, slots).abs(), r, o));
    views
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, in the clear.
    fn run(d: &Diagonals, operands: &[Vec<f64>], place: &Placement) -> Vec<f64> {
        let slots = operands[0].len();
        let mut sum = vec![0.0; slots];
        for ((operand, rotation), factors) in &d.by_view {
            (0..slots).for_each(|s| sum[s] += factors[s] * operands[*operand][(s + rotation) % slots]);
        }
        for stride in &place.strides {
            sum = (0..slots).map(|s| sum[s] + sum[(s + stride) % slots]).collect();
        }
        sum
    }

    fn matrix(rows: usize, cols: usize, keep: usize) -> Sparse {
        let entry = |r: usize, c: usize| (c as u32, ((r * 31 + c * 17) % 13) as f64 - 6.5);
        Sparse::from_rows(
            cols,
            (0..rows).map(|r| (0..cols).filter(|c| (r * 7 + c * 3) % keep == 0).map(|c| entry(r, c)).collect()),
        )
    }

    proptest! {
        #[test]
        fn diagonals_compute_the_matrix(rows in 1usize..17, cols in 1usize..33, keep in 1usize..4, sums in 0u32..3, copies in 0u32..2) {
            let slots = 128;
            let period = cols.next_power_of_two() << (2 - copies);
            let operand = SlotMap::new(slots, |s| Some(s % period).filter(|&e| e < cols));
            let strides: Vec<usize> = (0..sums).map(|i| (slots >> sums) << i).collect();
            let place = Placement { base: (0..rows).collect(), strides };
            prop_assert!(place.is_cyclic(slots));
            let m = matrix(rows, cols, keep);
            let d = Diagonals::find(std::slice::from_ref(&operand), &m, &place, 1).unwrap();
            let x: Vec<f64> = (0..cols).map(|i| (i as f64).sin()).collect();
            let found = run(&d, &[operand.fill(&x)], &place);
            let expected = m.apply(&x);
            for (slot, row) in place.layout(slots).iter().enumerate() {
                // Slots of no row end with zero.
                prop_assert!((found[slot] - row.map_or(0.0, |r| expected[r])).abs() < 1e-9);
            }
            let split = d.split(slots, |b, g| b as f64 + 2.0 * g as f64);
            for &(_, r) in d.by_view.keys() {
                let (baby, giant) = split.of(r, slots);
                prop_assert_eq!((baby + giant) % slots, r);
            }
        }
    }

    #[test]
    fn an_operand_that_lacks_an_element_is_no_solution() {
        let operand = SlotMap::new(16, |s| (s != 3).then_some(s));
        let place = Placement { base: vec![0], strides: vec![] };
        assert!(Diagonals::find(&[operand], &matrix(1, 16, 1), &place, 1).is_none());
    }

    #[test]
    fn dense_layers_need_as_few_diagonals_as_fit() {
        // 64 x 64 in 256 slots: 16 diagonals and four sums, not 64.
        let operand = SlotMap::new(256, |s| Some(s % 64));
        let place = Placement { base: (0..64).map(|j| (j / 16) * 64 + j % 16).collect(), strides: vec![16, 32] };
        let d = Diagonals::find(&[operand], &matrix(64, 64, 1), &place, 1).unwrap();
        assert_eq!(d.by_view.len(), 16);
    }
}
