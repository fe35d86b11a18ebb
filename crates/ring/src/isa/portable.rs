//! The tile in plain Rust, for the compiler's baseline.

use super::{Kernel, steps};
use crate::word::Word;

const ROWS: usize = 4;
const COLS: usize = 8;

pub(super) fn kernel<W: Word>() -> Kernel<W> {
    Kernel { rows: ROWS, cols: COLS, tile: tile::<W> }
}

fn tile<W: Word>(a: &[&[W]], b: &[W], out: &mut [W]) {
    let a: [&[W]; ROWS] = steps::<W, ROWS, COLS>(a, b);
    let mut acc = [[W::default(); COLS]; ROWS];
    for (p, b) in b.as_chunks::<COLS>().0.iter().enumerate() {
        for (row, line) in acc.iter_mut().zip(a) {
            let x = line[p];
            for (sum, &y) in row.iter_mut().zip(b) {
                *sum = sum.add(x.mul(y));
            }
        }
    }
    out.copy_from_slice(acc.as_flattened());
}
