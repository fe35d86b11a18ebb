//! The tile in plain Rust, for the compiler's baseline.

use super::{Family, Kernel, Operands};
use crate::word::Word;

const COLS: usize = 8;

pub(super) fn kernel<W: Word>() -> Kernel<W> {
    Kernel {
        lanes: COLS,
        families: &[Family { vectors: 1, tiles: &[tile::<W, 1>, tile::<W, 2>, tile::<W, 3>, tile::<W, 4>] }],
    }
}

/// # Safety
/// As [`super::TileFn`] demands.
unsafe fn tile<W: Word, const R: usize>(t: &Operands<'_, W>, out: *mut W) {
    let mut sums = [[W::default(); COLS]; R];
    for (p, &offset) in t.offsets.table.iter().enumerate() {
        let row = &t.b[offset..offset + t.cols];
        match <&[W; COLS]>::try_from(row) {
            Ok(row) => step(t, p, row, &mut sums),
            Err(_) => {
                let mut padded = [W::default(); COLS];
                padded[..row.len()].copy_from_slice(row);
                step(t, p, &padded, &mut sums);
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        // SAFETY: the caller vouches for `cols` words in every row of `out`.
        let out = unsafe { std::slice::from_raw_parts_mut(out.add(i * t.out_row), t.cols) };
        out.iter_mut().zip(sums).for_each(|(out, &sum)| *out = out.add(sum));
    }
}

#[inline(always)]
fn step<W: Word, const R: usize>(t: &Operands<'_, W>, p: usize, row: &[W; COLS], sums: &mut [[W; COLS]; R]) {
    for (i, sums) in sums.iter_mut().enumerate() {
        let x = t.a[i * t.a_row + p * t.a_step];
        sums.iter_mut().zip(row).for_each(|(sum, &y)| *sum = sum.add(x.mul(y)));
    }
}
