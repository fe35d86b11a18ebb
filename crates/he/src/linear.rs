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
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

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
    /// Greedy: the rotation that covers most of what is left comes next, near ones first
    /// among equals.
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
        let views = bounded_views(operands, matrix, place, &offsets);
        let mut views: BinaryHeap<Bounded> = views.into_iter().filter(|v| v.view.1.is_multiple_of(step)).collect();
        while left.count > 0 {
            let next = views.pop().filter(|_| by_view.len() <= MAX_DIAGONALS)?;
            let (operand, rotation) = next.view;
            let pairs = || {
                let slots_of = |(row, &base)| offsets.iter().map(move |o| (row, (base + o) % slots));
                let pairs = place.base.iter().enumerate().flat_map(slots_of);
                pairs.filter_map(|(row, slot)| operands[operand].at(slot + rotation).map(|e| (row, slot, e)))
            };
            // What it covers only falls as others are taken: an old count is a bound.
            let covers = pairs().filter(|&(row, _, e)| left.holds(row, e)).count() as u32;
            if views.peek().is_some_and(|other| covers < other.covers) {
                views.extend((covers > 0).then_some(Bounded { covers, ..next }));
                continue;
            }
            let mut factors = vec![0.0; slots];
            for (row, slot, element) in pairs() {
                if let Some(factor) = left.take(row, element) {
                    factors[slot] = factor;
                }
            }
            by_view.insert(next.view, factors);
        }
        Some(Self { by_view })
    }

    /// The rotations of the diagonals, in `(-slots/2, slots/2]`.
    fn rotations(&self, slots: usize) -> BTreeSet<i64> {
        self.by_view.keys().map(|&(_, r)| signed(r, slots)).collect()
    }

    /// The split with the least cost; `weigh(babies, giants)` is the cost.
    pub fn split(&self, slots: usize, weigh: impl Fn(usize, usize) -> f64) -> Split {
        let rotations = self.rotations(slots);
        let cost = |split: Split| {
            let babies: BTreeSet<i64> = rotations.iter().map(|&r| split.baby(r)).filter(|&b| b != 0).collect();
            let giants: BTreeSet<i64> = rotations.iter().map(|&r| r - split.baby(r)).filter(|&g| g != 0).collect();
            (weigh(babies.len(), giants.len()), split)
        };
        let widest = rotations.iter().map(|r| r.abs()).max().unwrap_or(0).min(MAX_STEP) + 1;
        // A step of 1 makes every rotation a giant one; beyond the widest, all are babies
        // (negative ones then have a common giant, unless babies are centred).
        let powers = std::iter::successors(Some(1i64), |s| Some(2 * s)).take_while(|&s| s <= slots as i64);
        let from_zero = (1..=widest).chain(powers.clone()).map(|step| Split { step, centre: 0 });
        let centred = powers.map(|step| Split { step, centre: step / 2 });
        let best = from_zero.chain(centred).map(cost).min_by(|a, b| a.0.total_cmp(&b.0));
        best.map_or(Split { step: 1, centre: 0 }, |b| b.1)
    }
}

/// Widest baby steps looked at.
const MAX_STEP: i64 = 1024;

/// How rotations are split: `baby = (r + centre) mod step - centre`, `giant = r - baby`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    step: i64,
    centre: i64,
}

impl Split {
    fn baby(self, r: i64) -> i64 {
        (r + self.centre).rem_euclid(self.step) - self.centre
    }

    /// `(baby, giant)` as rotations to the left, each below `slots`.
    pub fn of(self, rotation: usize, slots: usize) -> (usize, usize) {
        let r = signed(rotation, slots);
        let baby = self.baby(r);
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

    fn holds(&self, row: usize, element: usize) -> bool {
        self.dense[row * self.cols + element] != 0.0
    }

    fn take(&mut self, row: usize, element: usize) -> Option<f64> {
        let value = std::mem::take(&mut self.dense[row * self.cols + element]);
        (value != 0.0).then(|| {
            self.count -= 1;
            value
        })
    }
}

/// An operand and a rotation, with the most entries that it may cover; near ones are greater
/// among equals.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Bounded {
    covers: u32,
    near: Reverse<(i64, usize, usize)>,
    view: (usize, usize),
}

fn bounded_views(operands: &[SlotMap], matrix: &Sparse, place: &Placement, offsets: &[usize]) -> Vec<Bounded> {
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
    let views = (0..operands.len()).flat_map(|o| (0..slots).map(move |r| (o, r)));
    let bounded = |view @ (o, r): (usize, usize)| Bounded {
        covers: counts[o * slots + r],
        near: Reverse((signed(r, slots).abs(), r, o)),
        view,
    };
    views.map(bounded).filter(|v| v.covers > 0).collect()
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
