//! Fixed-point numbers in a ring Z_2^k.
//!
//! A real `x` with `frac` fraction bits is the integer `round(x * 2^frac)`, kept modulo
//! 2^k in two's complement. Whether it fits is proved by range analysis in
//! `subrosa-graph`; nothing here checks a range at run time.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The bit width `k` of the ring Z_2^k that shares live in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RingWidth {
    /// Z_2^32: one `u32` a share.
    W32,
    /// Z_2^48: one `u64` a share in memory, six bytes on a link.
    W48,
    /// Z_2^64: one `u64` a share.
    W64,
}

impl RingWidth {
    /// Every width, narrowest first.
    pub const ALL: [Self; 3] = [Self::W32, Self::W48, Self::W64];

    /// `k`, in bits.
    pub const fn bits(self) -> u32 {
        match self {
            Self::W32 => 32,
            Self::W48 => 48,
            Self::W64 => 64,
        }
    }
}

impl fmt::Display for RingWidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Z_2^{}", self.bits())
    }
}

/// `round(x * 2^frac)`, ties away from zero, or `None` when `x` is not finite or the
/// result does not fit in 62 bits.
pub fn encode(x: f64, frac: u32) -> Option<i64> {
    let scaled = x * exp2(frac);
    // Whatever is this large is an integer.
    (scaled.abs() < exp2(62)).then(|| nearest(scaled))
}

/// The integer nearest to `x`, ties away from zero, saturated; zero for what is no number.
///
/// The same as `x.round() as i64`, which is a call into a library where the baseline has no
/// instruction for it: that one branches on the exponent, and owners' inputs are rounded here.
#[inline(always)]
pub fn nearest(x: f64) -> i64 {
    // With one half itself, 0.5 - 2^-54 would become 1. With the double below it, a half's sum
    // lacks 2^-54 of an integer, no more than half of the spacing there, and is rounded to it.
    (x + ALMOST_HALF.copysign(x)) as i64
}

/// The largest double below one half.
const ALMOST_HALF: f64 = 0.5 - f64::EPSILON / 4.0;

/// As [`encode`], of a value between `lo` and `hi`; `None` for any other. The ends as `f32` are
/// inside, even where they were rounded outward.
pub fn encode_within(x: f32, lo: f64, hi: f64, frac: u32) -> Option<i64> {
    let inside = lo <= hi && (lo as f32..=hi as f32).contains(&x);
    inside.then(|| f64::from(x).clamp(lo, hi)).and_then(|x| encode(x, frac))
}

/// `v / 2^frac` as the nearest double.
pub fn decode(v: i64, frac: u32) -> f64 {
    v as f64 / exp2(frac)
}

/// 2^n as a double, exact for n <= 1023.
fn exp2(n: u32) -> f64 {
    f64::from_bits(u64::from(1023 + n.min(1023)) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encode_rounds_and_refuses() {
        assert_eq!(encode(1.5, 4), Some(24));
        assert_eq!(encode(-0.03125, 4), Some(-1));
        assert_eq!(encode(f64::NAN, 4), None);
        assert_eq!(encode(f64::INFINITY, 4), None);
        assert_eq!(encode(1e30, 4), None);
        let limit = exp2(62);
        assert_eq!((encode(limit, 0), encode(limit.next_down(), 0)), (None, Some((1 << 62) - 512)));
        assert_eq!((encode(-limit, 0), encode(-limit.next_down(), 0)), (None, Some(512 - (1 << 62))));
        assert_eq!(decode(24, 4), 1.5);
    }

    #[test]
    fn numbers_become_the_nearest_integer() {
        let check = |x: f64| assert_eq!(nearest(x), x.round() as i64, "{x:?}, {:#018x}", x.to_bits());
        let about = |x: f64| [x.next_down().next_down(), x.next_down(), x, x.next_up(), x.next_up().next_up()];
        let halves = (0..=64).flat_map(|e| [0.5, 1.0, 1.5, 2.0, 2.5].map(|units| exp2(e) + units));
        let powers = (-1074..1024).map(|e| f64::from(e).exp2());
        let ends = [0.0, 0.5, 1.5, 2.5, 1e15 + 0.5, f64::MAX, f64::INFINITY, f64::NAN];
        for x in halves.chain(powers).chain(ends).flat_map(about) {
            check(x);
            check(-x);
        }
        // Every exponent and sign, and twice as often those from 2^-8 to 2^54.
        for (i, word) in crate::Seed::from_bytes([1; 32]).stream("nearest").u64s(400_000).into_iter().enumerate() {
            let near = word & !(0x7ff << 52) | (1015 + word % 63) << 52;
            check(f64::from_bits(if i % 3 == 0 { word } else { near }));
            // One half of an integer, and its neighbours.
            let half = (word >> 12) as f64 / 2.0;
            check(f64::from_bits(half.to_bits() + word % 3 - 1));
        }
    }

    #[test]
    fn a_range_ends_where_it_says() {
        assert_eq!(encode_within(0.1, 0.0, 0.1, 20), Some(104_858));
        assert_eq!(encode_within(0.2, 0.0, 0.1, 20), None);
        assert_eq!(encode_within(f32::NAN, 0.0, 0.1, 20), None);
        assert_eq!(encode_within(0.0, 1.0, -1.0, 20), None);
        assert_eq!(encode_within(0.0, f64::NAN, 1.0, 20), None);
    }
}
