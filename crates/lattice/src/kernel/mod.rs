//! The inner loops, chosen at run time, the same words on every path.
//!
//! This module and those below it are the only ones with `unsafe` in them.

#[cfg(target_arch = "x86_64")]
mod avx2;
pub(crate) mod buffer;
#[cfg(target_arch = "x86_64")]
mod ifma;
mod portable;

use crate::modulus::{Factor, Modulus, reduce_once};
use crate::ntt::NttTable;
use std::sync::OnceLock;

/// An instruction set the kernels are written for, narrowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Whatever the compiler's baseline for the target offers.
    Portable,
    /// AVX2 with fused multiply-add.
    Avx2,
    /// AVX-512 F, DQ, BW, VL and IFMA.
    Ifma,
}

/// The environment variable that forces an instruction set by its name.
pub const ISA_VARIABLE: &str = "SUBROSA_ISA";

impl Isa {
    /// Every instruction set, narrowest first.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Ifma];

    /// `portable`, `avx2` or `avx512`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Ifma => "avx512",
        }
    }

    /// Whether this processor has it.
    #[cfg(target_arch = "x86_64")]
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            Self::Ifma => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512ifma")
            }
        }
    }

    /// Whether this processor has it.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn is_available(self) -> bool {
        self == Self::Portable
    }
}

/// The instruction set in use: the widest this processor has, or what [`ISA_VARIABLE`]
/// asks for if it has that.
pub fn isa() -> Isa {
    static CHOICE: OnceLock<Isa> = OnceLock::new();
    *CHOICE.get_or_init(|| {
        let request = std::env::var_os(ISA_VARIABLE).map(|v| v.to_string_lossy().into_owned());
        let available = || Isa::ALL.into_iter().rev().filter(|i| i.is_available());
        let forced = available().find(|i| Some(i.name()) == request.as_deref());
        forced.or_else(|| available().next()).unwrap_or(Isa::Portable)
    })
}

/// A loop compiled once for each instruction set. `run` must be `#[inline(always)]`, and
/// so must what it calls in its inner loop.
trait Loop {
    fn run(self);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2(body: impl Loop) {
    body.run();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512ifma")]
fn run_avx512(body: impl Loop) {
    body.run();
}

#[cfg(target_arch = "x86_64")]
fn run(isa: Isa, body: impl Loop) {
    match isa {
        // SAFETY: the processor was asked.
        Isa::Ifma if isa.is_available() => unsafe { run_avx512(body) },
        // SAFETY: the processor was asked.
        Isa::Avx2 if isa.is_available() => unsafe { run_avx2(body) },
        Isa::Portable | Isa::Avx2 | Isa::Ifma => body.run(),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn run(_: Isa, body: impl Loop) {
    body.run();
}

/// Runs the loop of this name that was written for `$isa`.
macro_rules! choose {
    ($isa:expr, $name:ident ( $($arg:expr),* )) => {
        match $isa {
            // SAFETY: the processor was asked, and the caller has checked the lengths.
            #[cfg(target_arch = "x86_64")]
            Isa::Ifma if $isa.is_available() => unsafe { ifma::$name($($arg),*) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 if $isa.is_available() => unsafe { avx2::$name($($arg),*) },
            Isa::Portable | Isa::Avx2 | Isa::Ifma => portable::$name($($arg),*),
        }
    };
}

pub(crate) fn ntt_forward(table: &NttTable, x: &mut [u64]) {
    ntt_forward_on(isa(), table, x);
}

pub(crate) fn ntt_inverse(table: &NttTable, x: &mut [u64]) {
    ntt_inverse_on(isa(), table, x);
}

pub(crate) fn ntt_forward_on(isa: Isa, table: &NttTable, x: &mut [u64]) {
    assert_eq!(x.len(), table.len(), "a polynomial has the table's length");
    choose!(isa, ntt_forward(table, x));
}

pub(crate) fn ntt_inverse_on(isa: Isa, table: &NttTable, x: &mut [u64]) {
    assert_eq!(x.len(), table.len(), "a polynomial has the table's length");
    choose!(isa, ntt_inverse(table, x));
}

/// Whether vectors of eight cover all of these equally long slices.
fn whole_vectors(len: usize, mut others: impl Iterator<Item = usize>) {
    assert!(len.is_multiple_of(crate::ntt::LANES) && others.all(|n| n == len), "slices of one length");
}

/// Products that [`dot`] may sum: their high words then fit 52 bits.
pub(crate) const MAX_PAIRS: usize = 256;

/// `out = sum of a * b` over at most [`MAX_PAIRS`] pairs, elementwise.
pub(crate) fn dot(m: &Modulus, out: &mut [u64], pairs: &[(&[u64], &[u64])]) {
    dot_on(isa(), m, out, pairs);
}

pub(crate) fn dot_on(isa: Isa, m: &Modulus, out: &mut [u64], pairs: &[(&[u64], &[u64])]) {
    whole_vectors(out.len(), pairs.iter().flat_map(|(a, b)| [a.len(), b.len()]));
    assert!(pairs.len() <= MAX_PAIRS, "the sum would overflow");
    choose!(isa, dot(m, out, pairs));
}

/// A residue in memory: 64 bits, or 32 where the prime allows it.
pub(crate) trait Word: Copy + Into<u64> + Send + Sync + 'static {}

impl Word for u32 {}
impl Word for u64 {}

/// Two sums over at most [`MAX_PAIRS`] terms `(a, b, y)`, elementwise, in one pass:
/// `first = sum of a * y`, `second = sum of b * y`.
pub(crate) fn dot_pair<A: Word, Y: Word>(
    m: &Modulus,
    first: &mut [u64],
    second: &mut [u64],
    terms: &[(&[A], &[A], &[Y])],
) {
    dot_pair_on(isa(), m, first, second, terms);
}

fn dot_pair_on<A: Word, Y: Word>(
    isa: Isa,
    m: &Modulus,
    first: &mut [u64],
    second: &mut [u64],
    terms: &[(&[A], &[A], &[Y])],
) {
    let lengths = terms.iter().flat_map(|(a, b, y)| [a.len(), b.len(), y.len()]);
    whole_vectors(first.len(), lengths.chain([second.len()]));
    assert!(terms.len() <= MAX_PAIRS, "the sum would overflow");
    choose!(isa, dot_pair(m, first, second, terms));
}

/// Words of a stretch of [`combine`].
pub(crate) const STRETCH: usize = 64;

/// `out[r] = sum over k of w[r][k] x[k]`, where `x` holds stretches of [`STRETCH`] words
/// one after another and the multipliers are residues.
pub(crate) fn combine(m: &Modulus, out: &mut [[u64; STRETCH]], x: &[[u64; STRETCH]], w: &[&[u64]]) {
    combine_on(isa(), m, out, x, w);
}

fn combine_on(isa: Isa, m: &Modulus, out: &mut [[u64; STRETCH]], x: &[[u64; STRETCH]], w: &[&[u64]]) {
    assert!(out.len() == w.len() && w.iter().all(|w| w.len() == x.len()), "one multiplier a stretch and row");
    choose!(isa, combine(m, out, x, w));
}

/// `x *= w`.
pub(crate) fn scale(m: &Modulus, x: &mut [u64], w: Factor) {
    scale_on(isa(), m, x, w);
}

fn scale_on(isa: Isa, m: &Modulus, x: &mut [u64], w: Factor) {
    whole_vectors(x.len(), std::iter::empty());
    choose!(isa, scale(m, x, w));
}

/// `x = (x - y) * w`.
pub(crate) fn sub_scale(m: &Modulus, x: &mut [u64], y: &[u64], w: Factor) {
    sub_scale_on(isa(), m, x, y, w);
}

fn sub_scale_on(isa: Isa, m: &Modulus, x: &mut [u64], y: &[u64], w: Factor) {
    whole_vectors(x.len(), std::iter::once(y.len()));
    choose!(isa, sub_scale(m, x, y, w));
}

/// The centred representatives modulo `from` of `x`, modulo `to`.
pub(crate) fn convert(from: &Modulus, to: &Modulus, out: &mut [u64], x: &[u64]) {
    convert_on(isa(), from, to, out, x);
}

fn convert_on(isa: Isa, from: &Modulus, to: &Modulus, out: &mut [u64], x: &[u64]) {
    whole_vectors(out.len(), std::iter::once(x.len()));
    choose!(isa, convert(from, to, out, x));
}

/// `x += y`.
pub(crate) fn add(m: &Modulus, x: &mut [u64], y: &[u64]) {
    struct Add<'a>(u64, &'a mut [u64], &'a [u64]);
    impl Loop for Add<'_> {
        #[inline(always)]
        fn run(self) {
            self.1.iter_mut().zip(self.2).for_each(|(x, y)| *x = reduce_once(*x + y, self.0));
        }
    }
    run(isa(), Add(m.value(), x, y));
}

/// `x -= y`.
pub(crate) fn sub(m: &Modulus, x: &mut [u64], y: &[u64]) {
    struct Sub<'a>(u64, &'a mut [u64], &'a [u64]);
    impl Loop for Sub<'_> {
        #[inline(always)]
        fn run(self) {
            self.1.iter_mut().zip(self.2).for_each(|(x, y)| *x = reduce_once(*x + self.0 - y, self.0));
        }
    }
    run(isa(), Sub(m.value(), x, y));
}

/// `x = -x`.
pub(crate) fn neg(m: &Modulus, x: &mut [u64]) {
    struct Neg<'a>(u64, &'a mut [u64]);
    impl Loop for Neg<'_> {
        #[inline(always)]
        fn run(self) {
            self.1.iter_mut().for_each(|x| *x = reduce_once(self.0 - *x, self.0));
        }
    }
    run(isa(), Neg(m.value(), x));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modulus::primes_below;
    use proptest::prelude::*;
    use subrosa_core::Seed;

    fn residues(m: &Modulus, seed: u8, n: usize) -> Vec<u64> {
        let mut words = Seed::from_bytes([seed; 32]).stream("kernel test").u64s(n);
        words.iter_mut().for_each(|w| *w %= m.value());
        words[0] = m.value() - 1;
        words
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn every_path_agrees(bits in 20u32..=48, other in 20u32..=48, seed: u8, count in 1usize..=MAX_PAIRS) {
            let m = Modulus::new(primes_below(6, bits, 1, &[]).unwrap()[0]).unwrap();
            let to = Modulus::new(primes_below(6, other, 1, &[]).unwrap()[0]).unwrap();
            let low = Modulus::new(primes_below(6, bits.min(32), 1, &[]).unwrap()[0]).unwrap();
            let (a, b) = (residues(&m, seed, 64), vec![m.value() - 1; 64]);
            let w = m.factor(a[5]);
            let pairs = vec![(&b[..], &b[..]); count];
            for isa in Isa::ALL.into_iter().filter(|i| i.is_available()) {
                let mut sum = vec![0; 64];
                dot_on(isa, &m, &mut sum, &pairs);
                prop_assert_eq!(&sum, &vec![count as u64 % m.value(); 64], "(-1)(-1) summed, {}", isa.name());
                dot_on(isa, &m, &mut sum, &[(&a, &b), (&a, &a)]);
                prop_assert!((0..64).all(|i| sum[i] == m.add(m.neg(a[i]), m.mul(a[i], a[i]))));
                let (narrow, half) = (residues(&low, seed, 64), vec![low.value() - 1; 64]);
                let short: Vec<u32> = narrow.iter().map(|&v| v as u32).collect();
                let (mut first, mut second) = (vec![0; 64], vec![0; 64]);
                dot_pair_on(isa, &low, &mut first, &mut second, &vec![(&narrow[..], &half[..], &short[..]); count]);
                let (mut third, mut fourth) = (vec![0; 64], vec![0; 64]);
                dot_pair_on(isa, &low, &mut third, &mut fourth, &vec![(&short[..], &short[..], &half[..]); count]);
                dot_pair_on(isa, &m, &mut sum, &mut [0; 64], &[(&a[..], &b[..], &b[..]), (&a, &b, &a)]);
                for i in 0..64 {
                    let times = |v: u64| low.mul(v, count as u64 % low.value());
                    prop_assert_eq!(first[i], times(low.mul(narrow[i], narrow[i])), "{}", isa.name());
                    prop_assert_eq!((second[i], third[i], fourth[i]), (times(low.neg(narrow[i])), second[i], second[i]));
                    prop_assert_eq!(sum[i], m.add(m.neg(a[i]), m.mul(a[i], a[i])));
                }
                let stretch: [u64; STRETCH] = a[..].try_into().unwrap();
                let many = vec![stretch; 3 * count];
                let weights: Vec<Vec<u64>> = (0..4).map(|r| vec![m.value() - 1 - r; many.len()]).collect();
                let rows: Vec<&[u64]> = weights.iter().map(Vec::as_slice).collect();
                let mut sums = [[0; STRETCH]; 4];
                combine_on(isa, &m, &mut sums, &many, &rows);
                for (r, sum) in sums.iter().enumerate() {
                    let by = m.mul(m.neg(r as u64 + 1), many.len() as u64 % m.value());
                    prop_assert!((0..64).all(|i| sum[i] == m.mul(a[i], by)), "row {}, {}", r, isa.name());
                }
                let mut x = a.clone();
                scale_on(isa, &m, &mut x, w);
                prop_assert!((0..64).all(|i| x[i] == m.mul(a[i], w.value)));
                let mut x = a.clone();
                sub_scale_on(isa, &m, &mut x, &b, w);
                prop_assert!((0..64).all(|i| x[i] == m.mul(m.sub(a[i], b[i]), w.value)));
                convert_on(isa, &m, &to, &mut x, &a);
                prop_assert!((0..64).all(|i| x[i] == to.signed(m.centred(a[i]))));
            }
            let mut x = a.clone();
            add(&m, &mut x, &b);
            sub(&m, &mut x, &b);
            neg(&m, &mut x);
            prop_assert!((0..64).all(|i| x[i] == m.neg(a[i])));
        }
    }
}
