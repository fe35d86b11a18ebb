//! Index arithmetic shared by the real and the integer interval passes: broadcasting,
//! permutations, the products behind a matrix product or convolution, pooling windows.

use crate::Error;
use crate::op::{Conv, Window};
use subrosa_core::Shape;
use subrosa_core::geometry::{ConvGeometry, MatDims};

/// A shape within the element limit.
///
/// **Errors:** [`Error::Malformed`] beyond it.
pub(super) fn shape(dims: impl Into<Vec<usize>>) -> Result<Shape, Error> {
    Shape::new(dims).map_err(|e| Error::Malformed(e.to_string()))
}

/// For each element of `to`, the flat index of the element of `from` that numpy's
/// broadcasting puts there.
pub(super) fn broadcast(from: &[usize], to: &[usize]) -> Vec<u32> {
    let strides = row_major(from);
    let lead = to.len() - from.len();
    let steps: Vec<usize> =
        (0..to.len()).map(|i| if i < lead || from[i - lead] == 1 { 0 } else { strides[i - lead] }).collect();
    walk(to, &steps)
}

/// For each element of the permuted tensor, its flat index in the original.
pub(super) fn permutation(dims: &[usize], perm: &[usize]) -> Vec<u32> {
    let strides = row_major(dims);
    let to: Vec<usize> = perm.iter().map(|&axis| dims[axis]).collect();
    let steps: Vec<usize> = perm.iter().map(|&axis| strides[axis]).collect();
    walk(&to, &steps)
}

/// The inverse of a one-to-one map.
pub(super) fn inverse(map: &[u32]) -> Vec<u32> {
    let mut inverse = vec![0; map.len()];
    map.iter().enumerate().for_each(|(to, &from)| inverse[from as usize] = to as u32);
    inverse
}

/// Whether a map moves nothing.
pub(super) fn is_identity(map: &[u32], len: usize) -> bool {
    map.len() == len && map.iter().enumerate().all(|(i, &at)| i == at as usize)
}

/// Flat indices of a row-major walk over `dims` with these steps.
fn walk(dims: &[usize], steps: &[usize]) -> Vec<u32> {
    let mut map = vec![0u32];
    for (&d, &step) in dims.iter().zip(steps) {
        map = map.iter().flat_map(|&base| (0..d).map(move |i| base + (i * step) as u32)).collect();
    }
    map
}

fn row_major(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for i in (1..dims.len()).rev() {
        strides[i - 1] = strides[i] * dims[i];
    }
    strides
}

/// A matrix product by numpy's rules: vectors promoted, leading axes broadcast.
#[derive(Clone, Debug)]
pub(super) struct MatPlan {
    /// Sizes; `groups` counts the broadcast leading axes.
    pub(super) dims: MatDims,
    /// For each element of `[groups, m, k]`, its flat index in the left operand.
    pub(super) x: Vec<u32>,
    /// For each element of `[groups, k, n]`, or of the one `[k, n]` that all groups
    /// share, its flat index in the right operand.
    pub(super) y: Vec<u32>,
}

impl MatPlan {
    /// Where the right operand has only one matrix, the left one's leading axes are rows.
    pub(super) fn new(x: &[usize], y: &[usize]) -> Self {
        let (x, y) = (promote(x, true), promote(y, false));
        let ((x_lead, xm), (y_lead, ym)) = (split(&x), split(&y));
        let (m, k, n) = (xm[0], xm[1], ym[1]);
        if y_lead.iter().product::<usize>() == 1 {
            let rows = x_lead.iter().product::<usize>() * m;
            let dims = MatDims { groups: 1, m: rows, k, n };
            return Self { dims, x: (0..(rows * k) as u32).collect(), y: (0..(k * n) as u32).collect() };
        }
        let lead = broadcast_dims(x_lead, y_lead);
        let full = |tail: &[usize]| [lead.as_slice(), tail].concat();
        let dims = MatDims { groups: lead.iter().product(), m, k, n };
        Self { dims, x: broadcast(&x, &full(&[m, k])), y: broadcast(&y, &full(&[k, n])) }
    }
}

fn promote(dims: &[usize], left: bool) -> Vec<usize> {
    match dims {
        [k] if left => vec![1, *k],
        [k] => vec![*k, 1],
        dims => dims.to_vec(),
    }
}

fn split(dims: &[usize]) -> (&[usize], &[usize]) {
    dims.split_at(dims.len() - 2)
}

fn broadcast_dims(a: &[usize], b: &[usize]) -> Vec<usize> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |j| dims[j]);
    (0..rank).map(|i| if at(a, i) == 1 { at(b, i) } else { at(a, i) }).collect()
}

/// Calls `product(out, x, y)` for every elementary product, in order of `out`. With one
/// matrix `y` for all groups, `y` indexes that matrix.
pub(super) fn visit_matmul(dims: MatDims, shared: bool, mut product: impl FnMut(usize, usize, usize)) {
    let MatDims { groups, m, k, n } = dims;
    for g in 0..groups {
        let base = if shared { 0 } else { g * k * n };
        for i in g * m..(g + 1) * m {
            for l in 0..k {
                for j in 0..n {
                    product(i * n + j, i * k + l, base + l * n + j);
                }
            }
        }
    }
}

/// The sizes of a convolution of one `[c, h, w]` sample.
pub(super) fn conv_geometry(conv: &Conv, x: &[usize], w: &[usize], out: &[usize]) -> ConvGeometry {
    let window = &conv.window;
    ConvGeometry {
        c: x[1],
        input: (x[2], x[3]),
        o: w[0],
        output: (out[2], out[3]),
        kernel: window.kernel,
        strides: window.strides,
        dilations: window.dilations,
        pads: window.pads_begin,
        groups: conv.groups,
    }
}

/// Calls `product(out, x, w)` for every elementary product of one sample.
pub(super) fn visit_conv(g: &ConvGeometry, mut product: impl FnMut(usize, usize, usize)) {
    let (inputs, outputs) = (g.c / g.groups, g.o / g.groups);
    let plane = g.input.0 * g.input.1;
    let window = Window {
        kernel: g.kernel,
        strides: g.strides,
        dilations: g.dilations,
        pads_begin: g.pads,
        pads_end: (0, 0),
        ceil: false,
    };
    // Of one position at a time: those of all may be many times the numbers that they are of.
    let mut taps: Vec<(usize, usize)> = Vec::new();
    for at in 0..g.output.0 * g.output.1 {
        let inside = window.taps(g.input, (at / g.output.1, at % g.output.1)).enumerate();
        taps.clear();
        taps.extend(inside.filter_map(|(tap, position)| Some((tap, position?))));
        for o in 0..g.o {
            for c in 0..inputs {
                let (x, w) = ((o / outputs * inputs + c) * plane, (o * inputs + c) * g.kernel.0 * g.kernel.1);
                for &(tap, position) in &taps {
                    product(o * g.output.0 * g.output.1 + at, x + position, w + tap);
                }
            }
        }
    }
}

/// For each window of `[n, c, h, w]`, row-major over `[n, c, oh, ow]`: the flat input
/// index of each tap, `None` where it covers padding.
pub(super) fn windows(window: &Window, x: &[usize], out: &[usize]) -> Vec<Vec<Option<u32>>> {
    let (h, w) = (x[2], x[3]);
    let plane = |p: usize| (p * h * w) as u32;
    let of = |p: usize, y: usize, col: usize| -> Vec<Option<u32>> {
        window.taps((h, w), (y, col)).map(|tap| tap.map(|t| plane(p) + t as u32)).collect()
    };
    let planes = x[0] * x[1];
    (0..planes * out[2] * out[3]).map(|i| of(i / (out[2] * out[3]), i / out[3] % out[2], i % out[3])).collect()
}

/// For each output position `[oh, ow]`, what a mean divides by: the taps inside the input
/// or, with `include_pad`, inside the padded input (never beyond it, see `ceil`).
pub(super) fn divisors(window: &Window, x: &[usize], out: &[usize], include_pad: bool) -> Vec<usize> {
    let count = |at: usize, k: usize, stride: usize, dilation: usize, from: usize, to: usize| {
        (0..k).filter(|i| (from..to).contains(&(at * stride + i * dilation))).count()
    };
    let axis = |at: usize, a: [usize; 3], begin: usize, size: usize, end: usize| match include_pad {
        true => count(at, a[0], a[1], a[2], 0, begin + size + end),
        false => count(at, a[0], a[1], a[2], begin, begin + size),
    };
    let rows = [window.kernel.0, window.strides.0, window.dilations.0];
    let cols = [window.kernel.1, window.strides.1, window.dilations.1];
    (0..out[2] * out[3])
        .map(|i| {
            axis(i / out[3], rows, window.pads_begin.0, x[2], window.pads_end.0)
                * axis(i % out[3], cols, window.pads_begin.1, x[3], window.pads_end.1)
        })
        .collect()
}

/// A reduction's elements as `[taps, rest]`: for each, its flat index in the input.
/// `rest` is the row-major order of the remaining axes.
pub(super) fn axes_first(dims: &[usize], axes: &[usize]) -> (usize, Vec<u32>) {
    let rest = (0..dims.len()).filter(|axis| !axes.contains(axis));
    let perm: Vec<usize> = axes.iter().copied().chain(rest).collect();
    (axes.iter().map(|&axis| dims[axis]).product(), permutation(dims, &perm))
}

/// Where the pieces of `axis`-concatenated tensors lie when they are laid end to end:
/// for each output element, its flat index there.
pub(super) fn interleave(pieces: &[&[usize]], axis: usize) -> Vec<u32> {
    let Some(first) = pieces.first() else { return Vec::new() };
    let outer: usize = first[..axis].iter().product();
    let mut map = Vec::new();
    for o in 0..outer {
        let mut base = 0;
        for dims in pieces {
            let run: usize = dims[axis..].iter().product();
            map.extend((0..run).map(|i| (base + o * run + i) as u32));
            base += outer * run;
        }
    }
    map
}

/// For each element of the padded tensor, its flat index in the input, `None` in the
/// padding.
pub(super) fn padded(dims: &[usize], pads: &[(usize, usize)]) -> Vec<Option<u32>> {
    let strides = row_major(dims);
    let mut map = vec![Some(0u32)];
    for ((&d, &(before, after)), &stride) in dims.iter().zip(pads).zip(&strides) {
        let axis = move |base: Option<u32>| {
            (0..before + d + after).map(move |i| {
                let inside = i.checked_sub(before).filter(|&i| i < d)?;
                Some(base? + (inside * stride) as u32)
            })
        };
        map = map.into_iter().flat_map(axis).collect();
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_repeats() {
        assert_eq!(broadcast(&[3], &[2, 3]), [0, 1, 2, 0, 1, 2]);
        assert_eq!(broadcast(&[2, 1], &[2, 3]), [0, 0, 0, 1, 1, 1]);
        assert_eq!(broadcast(&[], &[2]), [0, 0]);
    }

    #[test]
    fn permutations_and_inverses() {
        let map = permutation(&[2, 3], &[1, 0]);
        assert_eq!(map, [0, 3, 1, 4, 2, 5]);
        let back = inverse(&map);
        assert!((0..6).all(|i| map[back[i] as usize] == i as u32));
    }

    #[test]
    fn matrices_broadcast_their_leading_axes() {
        let plan = MatPlan::new(&[2, 1, 4, 3], &[5, 3, 6]);
        assert_eq!(plan.dims, MatDims { groups: 10, m: 4, k: 3, n: 6 });
        assert_eq!((plan.x.len(), plan.y.len()), (120, 180));
        let rows = MatPlan::new(&[2, 7, 4, 3], &[3, 6]);
        assert_eq!(rows.dims, MatDims { groups: 1, m: 56, k: 3, n: 6 });
        assert_eq!(MatPlan::new(&[3], &[3]).dims, MatDims { groups: 1, m: 1, k: 3, n: 1 });
    }

    #[test]
    fn pieces_interleave() {
        assert_eq!(interleave(&[&[2, 1], &[2, 2]], 1), [0, 2, 3, 1, 4, 5]);
    }

    #[test]
    fn padding_is_marked() {
        assert_eq!(padded(&[2], &[(1, 1)]), [None, Some(0), Some(1), None]);
    }
}
