//! The tile in plain Rust, for the compiler's baseline.

use super::{Family, Kernel, Operands};
use crate::word::Word;

/// Two vectors of 128 bits, which every 64-bit baseline has.
const BYTES: usize = 32;

pub(super) fn kernel<W: Word>() -> Kernel<W> {
    if size_of::<W>() == 4 { sized::<W, { BYTES / 4 }>() } else { sized::<W, { BYTES / 8 }>() }
}

fn sized<W: Word, const COLS: usize>() -> Kernel<W> {
    Kernel {
        lanes: COLS,
        families: &[Family {
            vectors: 1,
            tiles: &[tile::<W, COLS, 1>, tile::<W, COLS, 2>, tile::<W, COLS, 3>, tile::<W, COLS, 4>],
        }],
    }
}

/// # Safety
/// As [`super::TileFn`] demands.
unsafe fn tile<W: Word, const COLS: usize, const R: usize>(t: &Operands<'_, W>, out: *mut W) {
    let mut sums = [[W::default(); COLS]; R];
    let mut a = t.a.as_ptr();
    for &offset in t.offsets.table {
        // SAFETY: the caller vouches for `cols` words at every offset, and for an element of
        // `a` in every row and step.
        let (row, x) = unsafe {
            let row = std::slice::from_raw_parts(t.b.as_ptr().add(offset), t.cols);
            (row, std::array::from_fn(|i| *a.add(i * t.a_row)))
        };
        match <&[W; COLS]>::try_from(row) {
            Ok(row) => step(x, row, &mut sums),
            Err(_) => {
                let mut padded = [W::default(); COLS];
                padded[..row.len()].copy_from_slice(row);
                step(x, &padded, &mut sums);
            }
        }
        a = a.wrapping_add(t.a_step);
    }
    for (i, sums) in sums.iter().enumerate() {
        // SAFETY: the caller vouches for `cols` words in every row of `out`.
        let out = unsafe { std::slice::from_raw_parts_mut(out.add(i * t.out_row), t.cols) };
        out.iter_mut().zip(sums).for_each(|(out, &sum)| *out = out.add(sum));
    }
}

#[inline(always)]
fn step<W: Word, const COLS: usize, const R: usize>(x: [W; R], row: &[W; COLS], sums: &mut [[W; COLS]; R]) {
    for (sums, x) in sums.iter_mut().zip(x) {
        sums.iter_mut().zip(row).for_each(|(sum, &y)| *sum = sum.add(x.mul(y)));
    }
}
