//! Bilinear maps of integers below 2^k, with results modulo 2^(k + s): what of a product is dealt
//! where nobody vouches for it, and how many such equations are made one.

use crate::masked::matmul_repeated;
use crate::vouched::bilinear::{Bilinear, area};
use subrosa_core::Prg;
use subrosa_core::geometry::{ConvGeometry, MatDims};
use subrosa_ring::{Word, conv2d_acc, mask};

/// Bits beyond the ring, `s`.
pub(super) const SLACK: u32 = 56;

/// A word of k + s bits.
pub(super) type Wide = u128;

/// Bits of a wide word.
pub(super) fn width(k: u32) -> u32 {
    k + SLACK
}

/// Bytes of a wide word on the wire: `k` is a multiple of 8.
pub(super) fn wide_bytes(k: u32) -> usize {
    width(k) as usize / 8
}

/// The low bits of a wide word.
pub(super) fn wide_mask(k: u32) -> Wide {
    Wide::MAX >> (Wide::BITS - width(k))
}

/// On the wire.
pub(super) fn pack_wide(words: &[Wide], k: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(words.len() * wide_bytes(k));
    for word in words {
        let whole = word.to_le_bytes();
        bytes.extend_from_slice(whole.get(..wide_bytes(k)).unwrap_or(&whole));
    }
    bytes
}

/// The reverse of [`pack_wide`].
pub(super) fn unpack_wide(bytes: &[u8], k: u32) -> Vec<Wide> {
    let word = |bytes: &[u8]| {
        let mut whole = [0; 16];
        if let Some(low) = whole.get_mut(..bytes.len()) {
            low.copy_from_slice(bytes);
        }
        Wide::from_le_bytes(whole)
    };
    bytes.chunks_exact(wide_bytes(k)).map(word).collect()
}

/// The next `n` random wide words.
pub(super) fn wide_words(prg: &mut Prg, n: usize, k: u32) -> Vec<Wide> {
    let halves = prg.u64s(2 * n);
    let (pairs, _) = halves.as_chunks::<2>();
    let words = pairs.iter().map(|[low, high]| (Wide::from(*low) | Wide::from(*high) << 64) & wide_mask(k)).collect();
    #[cfg(test)]
    let words = crate::masked::leak_tests::flattened_wide(prg, wide_mask(k), words);
    words
}

/// The next `n` random factors: `s` bits.
pub(super) fn factors(prg: &mut Prg, n: usize) -> Vec<u64> {
    prg.u64s(n).into_iter().map(|v| v & mask(SLACK)).collect()
}

/// Words of a ring as integers.
pub(super) fn integers<W: Word>(words: &[W], k: u32) -> Vec<u64> {
    words.iter().map(|w| w.to_u64() & mask(k)).collect()
}

pub(super) fn inner_product(x: &[Wide], y: &[Wide]) -> Wide {
    x.iter().zip(y).fold(0, |sum, (x, y)| sum.wrapping_add(x.wrapping_mul(*y)))
}

/// Adds the map's value to `z`, modulo 2^128: of integers below 2^k and 2^(k+1).
pub(super) fn add(map: &Bilinear, k: u32, x: &[u64], y: &[Wide], z: &mut [Wide]) {
    match *map {
        Bilinear::Mul { .. } => {
            let each = z.iter_mut().zip(x.iter().zip(y));
            each.for_each(|(z, (&x, y))| *z = z.wrapping_add(y.wrapping_mul(Wide::from(x))));
        }
        Bilinear::MatMul { batch, dims, .. } => {
            in_limbs(k, dims.k, x, y, z, |x, y, z| matmul_repeated(batch, dims, y.len(), x, y, z));
        }
        Bilinear::Conv { batch, geometry } => {
            in_limbs(k, terms_of(&geometry), x, y, z, |x, y, z| conv2d_acc(&geometry, batch, x, y, z));
        }
        Bilinear::And { n, shift, .. } => {
            for (i, (&x, &y)) in x.iter().zip(y).enumerate() {
                let both = Wide::from(x) & y;
                for (at, value) in [both, both >> shift, both >> (k - 1)].into_iter().enumerate() {
                    if let Some(z) = z.get_mut(at * n + i) {
                        *z = z.wrapping_add(value);
                    }
                }
            }
        }
        Bilinear::Zero { .. } => {}
    }
}

/// A map whose results are sums of `terms` products, by maps of limbs that do not overflow 64 bits.
fn in_limbs(k: u32, terms: usize, x: &[u64], y: &[Wide], z: &mut [Wide], acc: impl Fn(&[u64], &[u64], &mut [u64])) {
    // 32 bits times this many, so many times, are below 2^64.
    let step = 32u32.saturating_sub(terms.max(1).next_power_of_two().trailing_zeros()).max(1);
    for i in 0..k.div_ceil(32) {
        let x: Vec<u64> = x.iter().map(|x| x >> (32 * i) & mask(32)).collect();
        let mut at = 0;
        while at <= k {
            let y: Vec<u64> = y.iter().map(|y| (y >> at) as u64 & mask(step)).collect();
            let mut sums = vec![0; z.len()];
            acc(&x, &y, &mut sums);
            let shifted = |sum: u64| Wide::from(sum) << (32 * i + at);
            z.iter_mut().zip(sums).for_each(|(z, sum)| *z = z.wrapping_add(shifted(sum)));
            at += step;
        }
    }
}

/// Products in one result of a convolution.
fn terms_of(geometry: &ConvGeometry) -> usize {
    geometry.c / geometry.groups.max(1) * area(geometry.kernel)
}

/// How many rows and columns the results are laid out in: result `(i, j)` is weighed with
/// `alpha[i] beta[j]`. No columns: with `alpha` alone.
pub(super) fn grid(map: &Bilinear) -> (usize, usize) {
    match *map {
        Bilinear::Mul { n } | Bilinear::Zero { n } => (n, 0),
        Bilinear::And { n, .. } => (3 * n, 0),
        Bilinear::MatMul { batch, dims, .. } => (batch * dims.groups * dims.m, dims.n),
        Bilinear::Conv { batch, geometry } => (batch * area(geometry.output), geometry.o),
    }
}

/// Length of the inner product that the weighed sum of all results is: of [`left`] and [`right`].
pub(super) fn inner(map: &Bilinear) -> usize {
    match *map {
        Bilinear::Mul { n } => n,
        Bilinear::Zero { .. } => 0,
        Bilinear::And { n, k, .. } => n * k as usize,
        Bilinear::MatMul { dims, matrices, .. } => matrices * dims.k,
        Bilinear::Conv { geometry, .. } => geometry.c * area(geometry.kernel),
    }
}

/// The weighed sum of results.
pub(super) fn weigh(map: &Bilinear, alpha: &[u64], beta: &[u64], z: &[Wide]) -> Wide {
    let sum = |z: &mut dyn Iterator<Item = (&u64, Wide)>| {
        z.fold(0, |sum: Wide, (&by, z)| sum.wrapping_add(z.wrapping_mul(Wide::from(by))))
    };
    match *map {
        Bilinear::Mul { .. } | Bilinear::Zero { .. } | Bilinear::And { .. } => {
            sum(&mut alpha.iter().zip(z.iter().copied()))
        }
        Bilinear::MatMul { dims, .. } => {
            let rows = z.chunks(dims.n.max(1)).map(|row| sum(&mut beta.iter().zip(row.iter().copied())));
            sum(&mut alpha.iter().zip(rows))
        }
        Bilinear::Conv { geometry, .. } => {
            let places = area(geometry.output).max(1);
            let of_sample = |(alpha, z): (&[u64], &[Wide])| {
                let planes = z.chunks(places).map(|plane| sum(&mut alpha.iter().zip(plane.iter().copied())));
                sum(&mut beta.iter().zip(planes))
            };
            let samples = alpha.chunks(places).zip(z.chunks((geometry.o * places).max(1)));
            samples.map(of_sample).fold(0, Wide::wrapping_add)
        }
    }
}

/// The left operand, its rows weighed.
pub(super) fn left(map: &Bilinear, x: &[u64], alpha: &[u64]) -> Vec<Wide> {
    match *map {
        Bilinear::Mul { .. } => x.iter().zip(alpha).map(|(&x, &by)| Wide::from(x) * Wide::from(by)).collect(),
        Bilinear::Zero { .. } => Vec::new(),
        Bilinear::And { n, k, shift } => {
            let by = |at: usize, i: usize| alpha.get(at * n + i).copied().map_or(0, Wide::from);
            let weight = |bit: u32, i: usize| {
                let low = by(0, i) << bit;
                let rest = if bit >= shift { by(1, i) << (bit - shift) } else { 0 };
                let top = if bit + 1 == k { by(2, i) } else { 0 };
                low.wrapping_add(rest).wrapping_add(top)
            };
            let bits = |(i, &x): (usize, &u64)| {
                (0..k).map(move |bit| weight(bit, i).wrapping_mul(Wide::from(x >> bit & 1))).collect::<Vec<_>>()
            };
            x.iter().enumerate().flat_map(bits).collect()
        }
        Bilinear::MatMul { dims, matrices, .. } => {
            let mut sums = vec![0; matrices * dims.k];
            let rows = x.chunks(dims.k.max(1)).zip(alpha).enumerate();
            for (row, (x, &by)) in rows {
                let matrix = row / dims.m.max(1) % matrices.max(1);
                let sums = sums.get_mut(matrix * dims.k..).unwrap_or_default();
                add_weighed(sums, x.iter(), by);
            }
            sums
        }
        Bilinear::Conv { geometry, .. } => windows(&geometry, x, alpha),
    }
}

/// The right operand, its columns weighed.
pub(super) fn right(map: &Bilinear, y: &[u64], beta: &[u64]) -> Vec<Wide> {
    let weighed = |row: &[u64]| {
        row.iter().zip(beta).fold(0, |sum: Wide, (&y, &by)| sum.wrapping_add(Wide::from(y) * Wide::from(by)))
    };
    match *map {
        Bilinear::Mul { .. } => y.iter().copied().map(Wide::from).collect(),
        Bilinear::Zero { .. } => Vec::new(),
        Bilinear::And { k, .. } => y.iter().flat_map(|&y| (0..k).map(move |bit| Wide::from(y >> bit & 1))).collect(),
        Bilinear::MatMul { dims: MatDims { n, .. }, .. } => y.chunks(n.max(1)).map(weighed).collect(),
        Bilinear::Conv { geometry, .. } => {
            let (each, terms) = (geometry.o / geometry.groups.max(1), terms_of(&geometry));
            let mut sums = vec![0; geometry.groups * terms];
            for (o, (w, &by)) in y.chunks(terms.max(1)).zip(beta).enumerate() {
                let sums = sums.get_mut(o / each.max(1) * terms..).unwrap_or_default();
                add_weighed(sums, w.iter(), by);
            }
            sums
        }
    }
}

fn add_weighed<'a>(sums: &mut [Wide], x: impl Iterator<Item = &'a u64>, by: u64) {
    sums.iter_mut().zip(x).for_each(|(sum, &x)| *sum = sum.wrapping_add(Wide::from(x) * Wide::from(by)));
}

/// What meets each element of a kernel, weighed by the place of the result and added up.
fn windows(geometry: &ConvGeometry, x: &[u64], alpha: &[u64]) -> Vec<Wide> {
    let ConvGeometry { input: (h, w), output, kernel, strides, dilations, pads, .. } = *geometry;
    let mut sums = Vec::with_capacity(geometry.c * area(kernel));
    let samples = || x.chunks((geometry.c * h * w).max(1)).zip(alpha.chunks(area(output).max(1)));
    // Where an element of the kernel meets the input, one place a result along an axis.
    let place = |at: usize, k: usize, stride: usize, dilation: usize, pad: usize, len: usize| {
        (at * stride + k * dilation).checked_sub(pad).filter(|&at| at < len)
    };
    for c in 0..geometry.c {
        for (ky, kx) in (0..kernel.0).flat_map(|ky| (0..kernel.1).map(move |kx| (ky, kx))) {
            let mut sum: Wide = 0;
            for (x, alpha) in samples() {
                let plane = x.get(c * h * w..(c + 1) * h * w).unwrap_or(&[]);
                for (oy, alpha) in alpha.chunks(output.1.max(1)).enumerate() {
                    let Some(y) = place(oy, ky, strides.0, dilations.0, pads.0, h) else { continue };
                    let row = plane.get(y * w..(y + 1) * w).unwrap_or(&[]);
                    for (ox, &by) in alpha.iter().enumerate() {
                        let at = place(ox, kx, strides.1, dilations.1, pads.1, w);
                        let x = at.and_then(|at| row.get(at)).copied().unwrap_or_default();
                        sum = sum.wrapping_add(Wide::from(x) * Wide::from(by));
                    }
                }
            }
            sums.push(sum);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use subrosa_core::Seed;

    const CONV: ConvGeometry = ConvGeometry {
        c: 4,
        input: (5, 6),
        o: 6,
        output: (3, 3),
        kernel: (3, 2),
        strides: (2, 2),
        dilations: (1, 1),
        pads: (1, 0),
        groups: 2,
    };

    /// Maps with the lengths of their operands.
    fn maps(k: u32) -> Vec<(Bilinear, usize, usize)> {
        let dims = MatDims { groups: 3, m: 2, k: 5, n: 4 };
        let matrices = |matrices| (Bilinear::MatMul { batch: 2, dims, matrices }, 2 * 3 * 2 * 5, matrices * 5 * 4);
        vec![
            (Bilinear::Mul { n: 70 }, 70, 70),
            (Bilinear::Zero { n: 5 }, 0, 0),
            (Bilinear::And { n: 9, k, shift: 7 }, 9, 9),
            matrices(1),
            matrices(3),
            matrices(6),
            (Bilinear::Conv { batch: 2, geometry: CONV }, 2 * 4 * 30, 6 * 2 * 6),
        ]
    }

    /// Extremes and random numbers below 2^k.
    fn numbers(prg: &mut Prg, n: usize, k: u32) -> Vec<u64> {
        let random = prg.u64s(n);
        let edge = |(i, v): (usize, u64)| if i % 5 == 0 { mask(k) } else { v & mask(k) };
        random.into_iter().enumerate().map(edge).collect()
    }

    #[test]
    fn weighed_results_are_the_inner_product_of_weighed_operands() {
        for k in [32, 48, 64] {
            let mut prg = Seed::from_bytes([k as u8; 32]).stream("wide");
            for (map, x, y) in maps(k) {
                let (x, y) = (numbers(&mut prg, x, k), numbers(&mut prg, y, k));
                let (rows, columns) = grid(&map);
                let (alpha, beta) = (factors(&mut prg, rows), factors(&mut prg, columns));
                let mut z = vec![0; map.outputs()];
                add(&map, k, &x, &y.iter().copied().map(Wide::from).collect::<Vec<_>>(), &mut z);
                let (u, v) = (left(&map, &x, &alpha), right(&map, &y, &beta));
                assert_eq!((u.len(), v.len()), (inner(&map), inner(&map)));
                let (sum, product) = (weigh(&map, &alpha, &beta, &z), inner_product(&u, &v));
                assert_eq!(sum & wide_mask(k), product & wide_mask(k), "{k} bits, {rows} rows, {columns} columns");
            }
        }
    }

    /// What is dealt modulo 2^(k + s) is modulo 2^k what the protocol computes with.
    #[test]
    fn wide_results_are_the_rings_with_more_bits() {
        for k in [48, 64] {
            let mut prg = Seed::from_bytes([100 + k as u8; 32]).stream("wide");
            for (map, x, y) in maps(k) {
                let (x, y) = (numbers(&mut prg, x, k), numbers(&mut prg, y, k));
                let (mut z, mut narrow) = (vec![0; map.outputs()], vec![0u64; map.outputs()]);
                add(&map, k, &x, &y.iter().copied().map(Wide::from).collect::<Vec<_>>(), &mut z);
                map.add(&x, &y, &mut narrow);
                let low: Vec<u64> = z.iter().map(|z| *z as u64 & mask(k)).collect();
                assert_eq!(low, narrow.iter().map(|z| z & mask(k)).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn one_wrong_result_shows() {
        let (k, mut prg) = (32, Seed::from_bytes([3; 32]).stream("wide"));
        for (map, ..) in maps(k) {
            for error in [1, 1 << 31, (1 << 31) + (1 << 40)] {
                for at in 0..map.outputs() {
                    let (rows, columns) = grid(&map);
                    let (alpha, beta) = (factors(&mut prg, rows), factors(&mut prg, columns));
                    let mut z = vec![0; map.outputs()];
                    z[at] = error;
                    assert_ne!(weigh(&map, &alpha, &beta, &z) & wide_mask(k), 0, "{error} at {at}");
                }
            }
        }
    }

    #[test]
    fn wide_words_cross_the_wire() {
        for k in [32, 48, 64] {
            let words = wide_words(&mut Seed::from_bytes([9; 32]).stream("wide"), 100, k);
            let bytes = pack_wide(&words, k);
            assert_eq!(bytes.len(), 100 * wide_bytes(k));
            assert_eq!(unpack_wide(&bytes, k), words);
        }
    }
}
