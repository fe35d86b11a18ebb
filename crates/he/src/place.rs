//! Candidate layouts for the rows of a matrix; the planner prices each and takes the best.

use crate::circuit::Sparse;
use crate::linear::Placement;
use crate::slots::SlotMap;

/// Powers of two from `from` up to below `to`.
fn doublings(from: usize, to: usize) -> Vec<usize> {
    std::iter::successors(Some(from.max(1)), |s| Some(2 * s)).take_while(|&s| s < to).collect()
}

/// Placements for a later layer. `last` asks for those that leave nothing but rows in the
/// slots: the client will see them.
pub fn candidates(operand: &SlotMap, matrix: &Sparse, last: bool) -> Vec<Placement> {
    let mut found = rows_in_order(operand.len(), matrix.rows.len());
    if !last {
        found.extend(blocks(operand, matrix.rows.len()));
    }
    found.extend(windows(operand, matrix));
    found
}

/// Rows one after another, everything further off summed up: cyclic.
pub fn rows_in_order(slots: usize, rows: usize) -> Vec<Placement> {
    let widths = doublings(rows.next_power_of_two(), 2 * slots);
    let place = |width: usize| Placement { base: (0..rows).collect(), strides: doublings(width, slots) };
    widths.into_iter().filter(|&w| rows <= w && w <= slots).map(place).collect()
}

/// The operand repeats: each repetition computes a few rows (the hybrid of C. Juvekar et
/// al., "Gazelle", <https://eprint.iacr.org/2018/073>, section 4.2), whose sums end in its
/// first slots; the others then hold partial sums.
fn blocks(operand: &SlotMap, rows: usize) -> Vec<Placement> {
    let (slots, period) = (operand.len(), operand.period());
    let least = (rows * period).div_ceil(slots).next_power_of_two();
    doublings(least, period)
        .into_iter()
        .take(2)
        .map(|each| Placement {
            base: (0..rows).map(|j| j / each * period + j % each).collect(),
            strides: doublings(each, period),
        })
        .collect()
}

/// A sliding window: rows that start at the same element (the output channels of one
/// position) stand at that element's slot plus an offset of their channel, the offsets
/// chosen such that few new rotations come in.
fn windows(operand: &SlotMap, matrix: &Sparse) -> Option<Placement> {
    let slots = operand.len();
    let first = first_positions(operand, matrix.cols);
    // Rows by the slot of their first element, in order: the k-th of each group is channel k.
    let mut channel = vec![0usize; slots];
    let mut members: Vec<Vec<(usize, usize)>> = Vec::new();
    for (row, entries) in matrix.rows.iter().enumerate() {
        let at = first[entries.first()?.0 as usize]?;
        let k = channel[at];
        channel[at] += 1;
        if members.len() <= k {
            members.push(Vec::new());
        }
        members[k].push((row, at));
    }
    // One group alone is no window.
    if members.len() * 2 > matrix.rows.len() && members.len() > 1 || matrix.widest_row() > slots / 4 {
        return None;
    }
    // Positions of copies count too: the matcher takes whichever copy is near.
    let taps = tap_offsets(operand, matrix, &first);
    let mut taken = vec![false; slots];
    let mut rotations = vec![false; slots];
    let mut base = vec![0; matrix.rows.len()];
    for group in &members {
        let free = |d: usize| group.iter().all(|&(_, at)| !taken[(at + d) % slots]);
        let new =
            |d: usize| taps.iter().filter(|copies| !copies.iter().any(|&t| rotations[(t + slots - d) % slots])).count();
        let offset = (0..slots).filter(|&d| free(d)).min_by_key(|&d| (new(d), d))?;
        for copies in &taps {
            let near = |&&t: &&usize| {
                let r = (t + slots - offset) % slots;
                (!rotations[r], r.min(slots - r))
            };
            copies.iter().min_by_key(near).into_iter().for_each(|t| rotations[(t + slots - offset) % slots] = true);
        }
        for &(row, at) in group {
            taken[(at + offset) % slots] = true;
            base[row] = (at + offset) % slots;
        }
    }
    Some(Placement { base, strides: Vec::new() })
}

fn first_positions(operand: &SlotMap, cols: usize) -> Vec<Option<usize>> {
    let mut first = vec![None; cols];
    for (slot, element) in operand.iter().enumerate() {
        element.into_iter().for_each(|e| first[e] = first[e].or(Some(slot)));
    }
    first
}

/// For each distance between a row's first element and another, the distances over all
/// copies of that other.
fn tap_offsets(operand: &SlotMap, matrix: &Sparse, first: &[Option<usize>]) -> Vec<Vec<usize>> {
    let slots = operand.len();
    let positions = operand.positions(matrix.cols);
    let mut seen = vec![false; slots];
    let mut taps = Vec::new();
    for entries in &matrix.rows {
        let Some(at) = entries.first().and_then(|e| first[e.0 as usize]) else { continue };
        for &(e, _) in entries {
            let Some(near) = first[e as usize] else { continue };
            let d = (near + slots - at) % slots;
            if !std::mem::replace(&mut seen[d], true) {
                taps.push(positions[e as usize].iter().map(|&p| (p as usize + slots - at) % slots).collect());
            }
        }
    }
    taps
}

/// What the client may send for the first layer, and where its rows then stand.
#[derive(Clone, Debug)]
pub struct FirstLayer {
    /// One map a ciphertext.
    pub operands: Vec<SlotMap>,
    /// The rows.
    pub place: Placement,
    /// Rotations are multiples of this.
    pub step: usize,
}

/// Arrangements of the input for a first layer, in at most `most` ciphertexts.
pub fn first_layers(slots: usize, matrix: &Sparse, most: usize, last: bool) -> Vec<FirstLayer> {
    let mut found = Vec::new();
    found.extend(taps(slots, matrix, most));
    found.extend(doublings(1, most + 1).into_iter().filter_map(|count| stretched(slots, matrix, count)));
    let copies = SlotMap::new(slots, |s| Some(s % matrix.cols.next_power_of_two()).filter(|&e| e < matrix.cols));
    if matrix.cols <= slots {
        let places = candidates(&copies, matrix, last).into_iter();
        found.extend(places.map(|place| FirstLayer { operands: vec![copies.clone()], place, step: 1 }));
    }
    found
}

/// For narrow rows: the client lays out, for each row, the elements it reads (im2col), one
/// group of slots and one ciphertext after another (A. Brutzkus et al., "LoLa",
/// <https://arxiv.org/abs/1812.10659>, section 6.1). No rotations but the sums.
fn taps(slots: usize, matrix: &Sparse, most: usize) -> Option<FirstLayer> {
    let width = matrix.rows.len().next_power_of_two();
    let groups = slots / width;
    if groups == 0 {
        return None;
    }
    let count = matrix.widest_row().div_ceil(groups).max(1);
    let operand = |t: usize| {
        SlotMap::new(slots, |s| {
            let row = matrix.rows.get(s % width)?;
            row.get(t * groups + s / width).map(|e| e.0 as usize)
        })
    };
    let place = Placement { base: (0..matrix.rows.len()).collect(), strides: doublings(width, slots) };
    (count <= most).then(|| FirstLayer { operands: (0..count).map(operand).collect(), place, step: slots })
}

/// For wide rows: each element stands in a run of neighbouring slots, one for each of
/// several rows; further ciphertexts hold the same rotated, as baby steps that cost the
/// server nothing.
fn stretched(slots: usize, matrix: &Sparse, count: usize) -> Option<FirstLayer> {
    let elements = matrix.cols.next_power_of_two();
    let run = slots.checked_div(elements).filter(|&r| r > 0)?;
    let diagonals = matrix.rows.len().div_ceil(run).next_power_of_two();
    let width = run * diagonals;
    if width > slots || count > diagonals {
        return None;
    }
    let operand = |b: usize| SlotMap::new(slots, |s| Some((s / run + b) % elements).filter(|&e| e < matrix.cols));
    let place = Placement { base: (0..matrix.rows.len()).collect(), strides: doublings(width, slots) };
    Some(FirstLayer { operands: (0..count).map(operand).collect(), place, step: count * run })
}
