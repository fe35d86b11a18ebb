//! Images in slots: pixels side by side, so that a window's taps are few rotations, the
//! same for every channel.
//!
//! ```text
//! before 2x2 pooling                     after it: two rotations and additions
//! [ c0 c1 .. | c0 c1 .. | .. | .. ]      [ c0 c1 .. | c0 c1 .. | .. | .. ]
//!   even rows, even rows,                  the pooled image, four times:
//!   even cols  odd cols                    each copy computes a quarter of the
//!                                          next layer's channels
//! ```
//!
//! Each block holds one position of the pooling cells, so that pooling is a sum over blocks:
//! no gaps are left, and the copies come for nothing. (Filling the gaps that strides leave is
//! the aim of multiplexed packing too: E. Lee et al., 2022,
//! <https://eprint.iacr.org/2021/1688>, section 4; there it takes rotations and a level.)

use crate::circuit::Sparse;
use crate::linear::Placement;
use crate::place::FirstLayer;
use crate::slots::SlotMap;

/// Where the pixels of an image stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    /// Channels, height, width.
    image: [usize; 3],
    /// Slots of a block; blocks fill the ciphertext.
    block: usize,
    /// Side of the cells whose positions are told apart by blocks; 1 if by none.
    cell: usize,
    /// Channels in a block.
    channels: usize,
    /// Slots of a channel within a block.
    plane: usize,
    /// From one row of pixels to the next.
    line: usize,
    /// From one pixel to the next.
    pitch: usize,
}

/// A matrix that reads sums over the cells of an image, and those sums.
pub(super) struct Pooled {
    /// Side of the cells.
    cell: usize,
    /// The matrix on the sums: one column a cell.
    pub(super) matrix: Sparse,
}

impl Pooled {
    /// Side of the cells.
    pub(super) fn cell(&self) -> usize {
        self.cell
    }

    /// None unless all pixels of a cell have one weight in every row.
    pub(super) fn find(matrix: &Sparse, image: [usize; 3]) -> Option<Self> {
        [3, 2].into_iter().find_map(|cell| Self::by_cell(matrix, image, cell))
    }

    fn by_cell(matrix: &Sparse, [channels, height, width]: [usize; 3], cell: usize) -> Option<Self> {
        let (rows, columns) = (height / cell, width / cell);
        let area = cell * cell;
        let mut pooled = Vec::new();
        for row in &matrix.rows {
            // For each cell, its weight and how many of its pixels had it.
            let mut cells = std::collections::BTreeMap::new();
            for &(column, value) in row {
                let (c, y, x) = split(column as usize, height, width);
                if y / cell >= rows || x / cell >= columns {
                    return None;
                }
                let id = (c * rows + y / cell) * columns + x / cell;
                let (weight, count) = cells.entry(id as u32).or_insert((value, 0));
                *count += 1;
                if (*weight - value).abs() > 1e-12 * value.abs() {
                    return None;
                }
            }
            if cells.values().any(|c| c.1 != area) {
                return None;
            }
            pooled.push(cells.into_iter().map(|(id, (weight, _))| (id, weight)).collect());
        }
        Some(Self { cell, matrix: Sparse { cols: channels * rows * columns, rows: pooled } })
    }
}

fn split(i: usize, height: usize, width: usize) -> (usize, usize, usize) {
    (i / (height * width), i / width % height, i % width)
}

impl Grid {
    fn slot(&self, c: usize, y: usize, x: usize) -> usize {
        let (block, c) = if self.cell > 1 {
            (y % self.cell * self.cell + x % self.cell, c)
        } else {
            (c / self.channels, c % self.channels)
        };
        block * self.block + c * self.plane + self.pitch * (y / self.cell * self.line + x / self.cell)
    }

    /// The slot of every pixel.
    fn base(&self) -> Vec<usize> {
        let [channels, height, width] = self.image;
        let pixels = (0..channels * height * width).map(|i| split(i, height, width));
        pixels.map(|(c, y, x)| self.slot(c, y, x)).collect()
    }

    /// The pixels as rows of a matrix.
    pub(super) fn placement(&self) -> Placement {
        Placement { base: self.base(), strides: Vec::new() }
    }

    /// A first layer with these rows, which next are pooled by `cell` (1 if not): the client
    /// sends its image cut in the same way, once for each channel of the rows.
    pub(super) fn first(slots: usize, from: [usize; 3], to: [usize; 3], cell: usize) -> Option<(Self, FirstLayer)> {
        let up = |a: usize, b: usize| a.max(b).div_ceil(cell);
        let (height, width) = (up(from[1], to[1]), up(from[2], to[2]));
        let block = slots / (cell * cell).next_power_of_two();
        // Powers of two make rotations coincide; where they do not fit, as tight as may be.
        let sizes = [(width.next_power_of_two(), (width.next_power_of_two() * height).next_power_of_two())];
        let sizes = sizes.into_iter().chain([(width, width * height)]);
        let grids = sizes.map(|(line, plane)| {
            let channels = if cell > 1 { to[0] } else { (block / plane).max(1) };
            Self { image: to, block, cell, channels, plane, line, pitch: 1 }
        });
        let grid = grids.into_iter().find(|g| g.fits(slots))?;
        let sent = grid.sent(slots, from)?;
        Some((grid, FirstLayer { operands: vec![sent], place: grid.placement(), step: 1 }))
    }

    fn fits(&self, slots: usize) -> bool {
        let [channels, height, width] = self.image;
        let (rows, columns) = (height.div_ceil(self.cell), width.div_ceil(self.cell));
        let blocks = if self.cell > 1 { self.cell * self.cell } else { channels.div_ceil(self.channels) };
        let last = (rows - 1) * self.line + columns - 1;
        columns <= self.line
            && self.pitch * last < self.plane
            && self.channels.min(channels) * self.plane <= self.block
            && blocks * self.block <= slots
    }

    /// The client's image, in every plane.
    fn sent(&self, slots: usize, [channels, height, width]: [usize; 3]) -> Option<SlotMap> {
        let planes = self.block / self.plane;
        let mut map = SlotMap::empty(slots);
        if planes < channels {
            return None;
        }
        for i in 0..height * width {
            let (_, y, x) = split(i, height, width);
            let blocks = if self.cell > 1 { 1 } else { slots / self.block };
            for copy in 0..blocks * planes {
                let slot = if self.cell > 1 {
                    self.slot(copy, y, x)
                } else {
                    copy / planes * self.block + copy % planes * self.plane + y * self.line + x
                };
                map.put(slot, copy % planes % channels * height * width + i);
            }
        }
        Some(map)
    }

    /// The rotations that sum the cells, and where the sums then stand.
    pub(super) fn pooled(&self, slots: usize, pooled: &Pooled) -> Option<(Vec<usize>, Self, SlotMap)> {
        let cell = pooled.cell;
        let [channels, height, width] = self.image;
        let image = [channels, height / cell, width / cell];
        let by_blocks = self.cell == cell && cell.is_power_of_two() && self.block * cell * cell == slots;
        let offset = |i: usize, j: usize| match by_blocks {
            true => (i * cell + j) * self.block,
            false => self.pitch * (i * self.line + j),
        };
        if !by_blocks && self.cell > 1 {
            return None;
        }
        let rotations = (1..cell * cell).map(|k| offset(k / cell, k % cell)).collect();
        let (grid, copies) = if by_blocks {
            // Every block ends with the same sums.
            (Self { image, cell: 1, channels, ..*self }, cell * cell)
        } else {
            (Self { image, pitch: self.pitch * cell, ..*self }, 1)
        };
        let mut map = SlotMap::empty(slots);
        for (i, slot) in grid.base().into_iter().enumerate() {
            (0..copies).for_each(|k| map.put(slot + k * self.block, i));
        }
        Some((rotations, grid, map))
    }

    /// Rows that are an image again, computed from this one: their channels spread over the
    /// blocks.
    pub(super) fn next(&self, slots: usize, to: [usize; 3]) -> Option<Self> {
        let blocks = slots / self.block;
        let channels = to[0].div_ceil(blocks).max(1);
        let grid = Self { image: to, cell: 1, channels, ..*self };
        grid.fits(slots).then_some(grid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::Diagonals;

    /// A convolution with a border of zeros, its channels' weights all different.
    fn convolution(from: [usize; 3], to: [usize; 3], side: usize, border: usize) -> Sparse {
        let row = |i: usize| {
            let (o, y, x) = split(i, to[1], to[2]);
            let taps = (0..from[0] * side * side).map(|t| split(t, side, side));
            let inside = taps.filter_map(|(c, dy, dx)| {
                let (y, x) = ((y + dy).checked_sub(border)?, (x + dx).checked_sub(border)?);
                let weight = 1.0 + ((o * 31 + c * 17 + dy * 5 + dx) % 7) as f64;
                (y < from[1] && x < from[2]).then_some((((c * from[1] + y) * from[2] + x) as u32, weight))
            });
            inside.collect()
        };
        Sparse::from_rows(from.iter().product(), (0..to.iter().product()).map(row))
    }

    fn pooling(image: [usize; 3], cell: usize) -> Sparse {
        let to = [image[0], image[1] / cell, image[2] / cell];
        let row = |i: usize| {
            let (c, y, x) = split(i, to[1], to[2]);
            let pixel = |k: usize| ((c * image[1] + y * cell + k / cell) * image[2] + x * cell + k % cell) as u32;
            (0..cell * cell).map(|k| (pixel(k), 0.25)).collect()
        };
        Sparse::from_rows(image.iter().product(), (0..to.iter().product()).map(row))
    }

    /// Slots of a matrix's result, by its diagonals.
    fn computed(d: &Diagonals, x: &[f64]) -> Vec<f64> {
        let slots = x.len();
        let mut sum = vec![0.0; slots];
        for ((_, rotation), factors) in &d.by_view {
            (0..slots).for_each(|s| sum[s] += factors[s] * x[(s + rotation) % slots]);
        }
        sum
    }

    #[test]
    fn two_layers_of_a_small_network_with_few_rotations() {
        let slots = 1024;
        let (sent, first, second) = ([1, 12, 12], [3, 12, 12], [8, 4, 4]);
        let conv = convolution(sent, first, 3, 1);
        let (grid, layer) = Grid::first(slots, sent, first, 2).unwrap();
        let d = Diagonals::find(&layer.operands, &conv, &layer.place, 1).unwrap();
        assert!(d.by_view.len() <= 36, "{} diagonals", d.by_view.len());
        let image: Vec<f64> = (0..144).map(|i| (i as f64 * 0.7).sin()).collect();
        let slots_of = computed(&d, &layer.operands[0].fill(&image));
        let expected = conv.apply(&image);
        assert!(grid.base().iter().zip(&expected).all(|(&s, v)| (slots_of[s] - v).abs() < 1e-9));

        let matrix = convolution([3, 6, 6], second, 3, 0).after(&pooling(first, 2));
        let pooled = Pooled::find(&matrix, first).unwrap();
        let (rotations, sums, map) = grid.pooled(slots, &pooled).unwrap();
        let summed: Vec<f64> = (0..slots)
            .map(|s| slots_of[s] + rotations.iter().map(|r| slots_of[(s + r) % slots]).sum::<f64>())
            .collect();
        let next = sums.next(slots, second).unwrap();
        let d = Diagonals::find(&[map], &pooled.matrix, &next.placement(), 1).unwrap();
        // Nine taps and the differences of channels, not one for each pair of them.
        assert!(d.by_view.len() <= 9 * 6, "{} diagonals", d.by_view.len());
        let found = computed(&d, &summed);
        let expected = matrix.apply(&expected);
        assert!(next.base().iter().zip(&expected).all(|(&s, v)| (found[s] - v).abs() < 1e-9));

        // Pooled again, now without blocks of its own.
        let last = Sparse::from_rows(32, (0..5).map(|r| (0..32).map(|c| (c, f64::from(r + c))).collect()));
        let matrix = last.after(&pooling(second, 2));
        let pooled = Pooled::find(&matrix, second).unwrap();
        let (rotations, _, map) = next.pooled(slots, &pooled).unwrap();
        let sum = |s: usize| found[s] + rotations.iter().map(|r| found[(s + r) % slots]).sum::<f64>();
        let values: Vec<f64> = (0..slots).map(|s| map.at(s).map_or(0.0, |_| sum(s))).collect();
        for (row, v) in matrix.apply(&expected).iter().enumerate() {
            let terms = (0..slots).filter_map(|s| map.at(s).map(|e| (s, e)));
            let weight = |e: usize| pooled.matrix.rows[row].iter().find(|t| t.0 as usize == e).map_or(0.0, |t| t.1);
            let found: f64 = terms.map(|(s, e)| weight(e) * values[s]).sum();
            assert!((found - v).abs() < 1e-6 * v.abs().max(1.0), "row {row}");
        }
    }

    #[test]
    fn what_is_no_pooling_is_not_taken_for_it() {
        let conv = convolution([1, 8, 8], [2, 8, 8], 3, 1);
        assert!(Pooled::find(&conv, [1, 8, 8]).is_none());
        assert!(Grid::first(64, [1, 28, 28], [6, 28, 28], 2).is_none(), "too few slots");
    }
}
