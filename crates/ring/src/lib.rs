//! Arithmetic over Z_2^k with no parties in it: words, matrix products, convolutions,
//! bit planes and packing.
//!
//! **Invariant:** knows nothing of shares or the network. `unsafe` appears only in
//! `isa`, each block with its argument; every path is bit-identical to the portable one.

use subrosa_core::RingWidth;
use subrosa_core::geometry::{ConvGeometry, MatDims};

/// A machine word holding a ring element: `u32` or `u64`, arithmetic modulo 2^bits.
pub trait Word: Copy + Default + PartialEq + Send + Sync + std::fmt::Debug + zeroize::Zeroize + 'static {
    /// Bits in the word.
    const BITS: u32;
    /// Sum modulo 2^BITS.
    fn add(self, other: Self) -> Self;
    /// Difference modulo 2^BITS.
    fn sub(self, other: Self) -> Self;
    /// Product modulo 2^BITS.
    fn mul(self, other: Self) -> Self;
    /// Low BITS bits of a two's complement integer.
    fn from_i64(v: i64) -> Self;
    /// Zero-extended.
    fn to_u64(self) -> u64;
    /// Low BITS bits.
    fn from_u64(v: u64) -> Self;
}

/// A ring Z_2^k. For `k = 48` the word is `u64` and only its low 48 bits mean anything:
/// sums and products stay right, while shifts, comparisons and messages mask first.
pub trait Ring: Copy + Send + Sync + 'static {
    /// The word elements are kept in.
    type Word: Word;
    /// `k`.
    const WIDTH: RingWidth;
}

/// Z_2^32.
#[derive(Clone, Copy, Debug)]
pub struct Z32;
/// Z_2^48.
#[derive(Clone, Copy, Debug)]
pub struct Z48;
/// Z_2^64.
#[derive(Clone, Copy, Debug)]
pub struct Z64;
macro_rules! w {
    ($t:ty) => {
        impl Word for $t {
            const BITS: u32 = <$t>::BITS;
            fn add(self, o: Self) -> Self {
                self.wrapping_add(o)
            }
            fn sub(self, o: Self) -> Self {
                self.wrapping_sub(o)
            }
            fn mul(self, o: Self) -> Self {
                self.wrapping_mul(o)
            }
            fn from_i64(v: i64) -> Self {
                v as $t
            }
            fn to_u64(self) -> u64 {
                self as u64
            }
            fn from_u64(v: u64) -> Self {
                v as $t
            }
        }
    };
}
w!(u32);
w!(u64);
impl Ring for Z32 {
    type Word = u32;
    const WIDTH: RingWidth = RingWidth::W32;
}
impl Ring for Z48 {
    type Word = u64;
    const WIDTH: RingWidth = RingWidth::W48;
}
impl Ring for Z64 {
    type Word = u64;
    const WIDTH: RingWidth = RingWidth::W64;
}
pub fn sign_extend<W: Word>(w: W, bits: u32) -> i64 {
    ((w.to_u64() << (64 - bits)) as i64) >> (64 - bits)
}
pub fn packed_len(n: usize, bits: u32) -> usize {
    (n * bits as usize).div_ceil(8)
}
pub fn pack<W: Word>(words: &[W], bits: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(packed_len(words.len(), bits));
    let (mut acc, mut have) = (0u128, 0u32);
    let m = if bits == 64 { u64::MAX } else { (1u64 << bits) - 1 };
    for w in words {
        acc |= ((w.to_u64() & m) as u128) << have;
        have += bits;
        while have >= 8 {
            out.push(acc as u8);
            acc >>= 8;
            have -= 8;
        }
    }
    if have > 0 {
        out.push(acc as u8);
    }
    out
}
pub fn unpack<W: Word>(bytes: &[u8], bits: u32, n: usize) -> Vec<W> {
    let m = if bits == 64 { u64::MAX } else { (1u64 << bits) - 1 };
    let mut out = Vec::with_capacity(n);
    let (mut acc, mut have) = (0u128, 0u32);
    let mut it = bytes.iter();
    for _ in 0..n {
        while have < bits {
            acc |= (*it.next().unwrap_or(&0) as u128) << have;
            have += 8;
        }
        out.push(W::from_u64(acc as u64 & m));
        acc >>= bits;
        have -= bits;
    }
    out
}
pub fn matmul_acc<W: Word>(d: MatDims, a: &[W], b: &[W], out: &mut [W]) {
    for g in 0..d.groups {
        let a = &a[g * d.m * d.k..];
        let b = if b.len() == d.k * d.n { b } else { &b[g * d.k * d.n..] };
        for i in 0..d.m {
            for p in 0..d.k {
                let x = a[i * d.k + p];
                for j in 0..d.n {
                    let o = &mut out[(g * d.m + i) * d.n + j];
                    *o = o.add(x.mul(b[p * d.n + j]));
                }
            }
        }
    }
}
pub fn matmul<W: Word>(d: MatDims, a: &[W], b: &[W]) -> Vec<W> {
    let mut o = vec![W::default(); d.groups * d.m * d.n];
    matmul_acc(d, a, b, &mut o);
    o
}
pub fn conv2d_acc<W: Word>(g: &ConvGeometry, batch: usize, x: &[W], w: &[W], out: &mut [W]) {
    let (cg, og) = (g.c / g.groups, g.o / g.groups);
    for s in 0..batch {
        for o in 0..g.o {
            for oy in 0..g.output.0 {
                for ox in 0..g.output.1 {
                    let mut acc = W::default();
                    for c in 0..cg {
                        for ky in 0..g.kernel.0 {
                            for kx in 0..g.kernel.1 {
                                let (y, xx) =
                                    (oy * g.strides.0 + ky * g.dilations.0, ox * g.strides.1 + kx * g.dilations.1);
                                if y < g.pads.0
                                    || xx < g.pads.1
                                    || y - g.pads.0 >= g.input.0
                                    || xx - g.pads.1 >= g.input.1
                                {
                                    continue;
                                }
                                let ch = (o / og) * cg + c;
                                acc = acc.add(
                                    x[((s * g.c + ch) * g.input.0 + y - g.pads.0) * g.input.1 + xx - g.pads.1]
                                        .mul(w[((o * cg + c) * g.kernel.0 + ky) * g.kernel.1 + kx]),
                                );
                            }
                        }
                    }
                    let i = ((s * g.o + o) * g.output.0 + oy) * g.output.1 + ox;
                    out[i] = out[i].add(acc);
                }
            }
        }
    }
}
pub fn conv2d<W: Word>(g: &ConvGeometry, batch: usize, x: &[W], w: &[W]) -> Vec<W> {
    let mut o = vec![W::default(); batch * g.o * g.output.0 * g.output.1];
    conv2d_acc(g, batch, x, w, &mut o);
    o
}
#[derive(Clone)]
pub struct BitPlanes {
    planes: Vec<Vec<u64>>,
    n: usize,
}
impl BitPlanes {
    pub fn from_words<W: Word>(w: &[W], low: u32, width: u32) -> Self {
        let n = w.len();
        let mut planes = vec![vec![0u64; n.div_ceil(64)]; width as usize];
        for (i, w) in w.iter().enumerate() {
            for (b, p) in planes.iter_mut().enumerate() {
                p[i / 64] |= (w.to_u64() >> (low as usize + b) & 1) << (i % 64);
            }
        }
        Self { planes, n }
    }
    pub fn from_planes(p: &[Vec<u64>], n: usize) -> Self {
        Self { planes: p.to_vec(), n }
    }
    pub fn to_words<W: Word>(&self) -> Vec<W> {
        (0..self.n)
            .map(|i| {
                W::from_u64(self.planes.iter().enumerate().fold(0, |a, (b, p)| a | (p[i / 64] >> (i % 64) & 1) << b))
            })
            .collect()
    }
    pub fn plane(&self, i: usize) -> &[u64] {
        &self.planes[i]
    }
    pub fn width(&self) -> usize {
        self.planes.len()
    }
}
pub fn expand_bits<W: Word>(p: &[u64], n: usize) -> Vec<W> {
    (0..n).map(|i| W::from_u64(p[i / 64] >> (i % 64) & 1)).collect()
}
pub fn planes_to_bytes(p: &[&[u64]], n: usize) -> Vec<u8> {
    p.iter().flat_map(|p| p.iter().flat_map(|w| w.to_le_bytes()).take(n.div_ceil(8)).collect::<Vec<_>>()).collect()
}
pub fn planes_from_bytes(b: &[u8], planes: usize, n: usize) -> Vec<Vec<u64>> {
    (0..planes)
        .map(|i| {
            let l = n.div_ceil(8);
            let mut w = vec![0u64; n.div_ceil(64)];
            for (j, x) in b[i * l..(i + 1) * l].iter().enumerate() {
                w[j / 8] |= (*x as u64) << (8 * (j % 8));
            }
            w
        })
        .collect()
}
