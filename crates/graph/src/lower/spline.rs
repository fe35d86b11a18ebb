//! Approximating a smooth function by a few cubics, so that integers can compute it.
//!
//! The pieces are found greedily from the left: each is the longest on which a Chebyshev
//! interpolation of degree 3 or less (J. C. Mason and D. C. Handscomb, *Chebyshev
//! Polynomials*, section 6.3) stays within the tolerance and its coefficients fit. Ends
//! and centres are integers at the input's fraction, where the function is evaluated.

/// Coefficients of one piece at most: cubics.
pub(super) const TERMS: usize = 4;

/// A polynomial `sum c_i (x - centre)^i` on the integers `from..to`, which stand for
/// `x / 2^frac`.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) centre: i64,
    /// Of the real variable, lowest degree first.
    pub(super) coefficients: [f64; TERMS],
    /// Largest difference to the function, sampled.
    pub(super) error: f64,
}

/// What to approximate.
pub(super) struct Task<'a> {
    pub(super) f: &'a dyn Fn(f64) -> f64,
    /// Largest difference allowed at `x`.
    pub(super) tolerance: &'a dyn Fn(f64) -> f64,
    /// Fraction bits of `x`.
    pub(super) frac: u32,
    /// Largest coefficient of degree 1 and more.
    pub(super) largest: f64,
}

impl Task<'_> {
    /// Pieces that cover `from..to`, or `None` if more than `most` are needed.
    pub(super) fn pieces(&self, from: i64, to: i64, most: usize) -> Option<Vec<Piece>> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut at = from;
        while at < to {
            if pieces.len() == most {
                return None;
            }
            let piece = self.longest(at, to)?;
            at = piece.to;
            pieces.push(piece);
        }
        Some(pieces)
    }

    /// The longest piece from `from`, of whatever degree reaches farthest; lower degrees
    /// have smaller coefficients. A single integer always has one: a constant.
    fn longest(&self, from: i64, to: i64) -> Option<Piece> {
        (0..TERMS).filter_map(|degree| self.reach(from, to, degree)).max_by_key(|piece| piece.to)
    }

    /// Bisection over the end: a shorter piece is approximated at least as well.
    fn reach(&self, from: i64, to: i64, degree: usize) -> Option<Piece> {
        if let Some(whole) = self.fit(from, to, degree) {
            return Some(whole);
        }
        let mut best = self.fit(from, from + 1, degree)?;
        let (mut good, mut bad) = (from + 1, to);
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            match self.fit(from, middle, degree) {
                Some(piece) => (good, best) = (middle, piece),
                None => bad = middle,
            }
        }
        Some(best)
    }

    /// The interpolation on `from..to`, if it is good enough.
    fn fit(&self, from: i64, to: i64, degree: usize) -> Option<Piece> {
        let unit = f64::from(self.frac).exp2();
        let centre = from + (to - from) / 2;
        let (a, b) = ((from - centre) as f64 / unit, (to - 1 - centre) as f64 / unit);
        let (middle, half) = ((a + b) / 2.0, ((b - a) / 2.0).max(0.5 / unit));
        let local = chebyshev(|t| (self.f)(centre as f64 / unit + middle + half * t), degree);
        let coefficients = shifted(local, middle, half);
        if coefficients.iter().skip(1).any(|c| c.abs() > self.largest) {
            return None;
        }
        let mut error = 0f64;
        for x in samples(from, to) {
            let u = (x - centre) as f64 / unit;
            let difference = (horner(&coefficients, u) - (self.f)(x as f64 / unit)).abs();
            if difference.is_nan() || difference > (self.tolerance)(x as f64 / unit) {
                return None;
            }
            error = error.max(difference);
        }
        Some(Piece { from, to, centre, coefficients, error })
    }
}

/// Up to 49 integers of `from..to`, both ends among them.
fn samples(from: i64, to: i64) -> impl Iterator<Item = i64> {
    let last = to - 1 - from;
    let steps = last.clamp(1, 48);
    (0..=steps).map(move |i| from + (i128::from(last) * i128::from(i) / i128::from(steps)) as i64)
}

fn horner(coefficients: &[f64; TERMS], u: f64) -> f64 {
    coefficients.iter().rev().fold(0.0, |acc, c| acc * u + c)
}

/// Coefficients of `t^0 .. t^3` of the polynomial that meets `f` in the Chebyshev nodes of
/// [-1, 1].
fn chebyshev(f: impl Fn(f64) -> f64, degree: usize) -> [f64; TERMS] {
    let n = degree + 1;
    let angle = |j: usize| std::f64::consts::PI * (j as f64 + 0.5) / n as f64;
    let values: Vec<f64> = (0..n).map(|j| f(angle(j).cos())).collect();
    let series = |k: usize| {
        let sum: f64 = values.iter().enumerate().map(|(j, v)| v * (k as f64 * angle(j)).cos()).sum();
        sum * if k == 0 { 1.0 } else { 2.0 } / n as f64
    };
    let a: [f64; TERMS] = std::array::from_fn(|k| if k < n { series(k) } else { 0.0 });
    // T0 = 1, T1 = t, T2 = 2t^2 - 1, T3 = 4t^3 - 3t.
    [a[0] - a[2], a[1] - 3.0 * a[3], 2.0 * a[2], 4.0 * a[3]]
}

/// Coefficients in `u = middle + half t` of a polynomial in `t`.
fn shifted(c: [f64; TERMS], middle: f64, half: f64) -> [f64; TERMS] {
    let s: [f64; TERMS] = std::array::from_fn(|i| c[i] / half.powi(i as i32));
    let m = -middle;
    [s[0] + m * (s[1] + m * (s[2] + m * s[3])), s[1] + m * (2.0 * s[2] + 3.0 * m * s[3]), s[2] + 3.0 * m * s[3], s[3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cubics_are_met_exactly() {
        let f = |x: f64| 2.0 - x + 0.5 * x * x + 0.25 * x * x * x;
        let task = Task { f: &f, tolerance: &|_| 1e-9, frac: 8, largest: 1e9 };
        let pieces = task.pieces(-512, 700, 9).unwrap();
        assert_eq!((pieces.len(), pieces[0].from, pieces[0].to), (1, -512, 700));
    }

    #[test]
    fn pieces_tile_the_range_within_tolerance() {
        let task = Task { f: &f64::exp, tolerance: &|_| 1e-3, frac: 10, largest: 1e9 };
        let pieces = task.pieces(-8 * 1024, 1024, 20).unwrap();
        assert!(pieces.len() < 9, "{}", pieces.len());
        assert!(pieces.windows(2).all(|w| w[0].to == w[1].from));
        for p in &pieces {
            for x in p.from..p.to {
                let err = (horner(&p.coefficients, (x - p.centre) as f64 / 1024.0) - (x as f64 / 1024.0).exp()).abs();
                assert!(err <= 1.05e-3, "{x}: {err}");
            }
        }
        assert!(task.pieces(-8 * 1024, 1024, 2).is_none());
    }
}
