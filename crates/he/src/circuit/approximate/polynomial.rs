//! Polynomials in the forms that are evaluated with few levels, and their fit.
//!
//! With `t = (x - centre) / range` and `u = t + shift`:
//!
//! | degree | levels | form |
//! |---|---|---|
//! | 2 | 1 | `a u^2 + c` |
//! | 4 | 2 | `a (u^2 + alpha)^2 + b u + c` |
//! | 8 | 3 | `a ((u^2 + inner)^2 + alpha)^2 + d u^2 + b u + c`, shift 0 |
//!
//! Completing squares gives every polynomial of degree two and four, with centre 0. That of
//! degree eight is an even one plus a line, as the activations here nearly are; the best of a
//! few centres makes up for the powers three, five and seven. Terms are computed divided by `a`, so that the last square needs no factor; the
//! matrix that follows multiplies by it.

use super::super::Function;

/// Degrees there is a form for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Degree {
    /// A square.
    Two,
    /// A square of a square.
    Four,
    /// Three squares one after another.
    Eight,
}

impl Degree {
    /// As a number.
    pub fn value(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    /// The powers it has; the leading one last.
    fn powers(self) -> &'static [i32] {
        match self {
            Self::Two => &[0, 1, 2],
            Self::Four => &[0, 1, 2, 3, 4],
            Self::Eight => &[0, 1, 2, 4, 6, 8],
        }
    }

    /// Centres that are tried, as shares of the largest value.
    fn centres(self) -> &'static [f64] {
        match self {
            Self::Two | Self::Four => &[0.0],
            Self::Eight => &[0.0, -0.1, 0.1, -0.2, 0.2, -0.3, 0.3, -0.4, 0.4],
        }
    }
}

/// A polynomial in the form that is evaluated; fields as in the table.
#[derive(Clone, Debug)]
pub(super) struct Fit {
    degree: Degree,
    pub(super) centre: f64,
    /// Half the width of what it is fitted on.
    pub(super) range: f64,
    pub(super) shift: f64,
    pub(super) inner: f64,
    pub(super) alpha: f64,
    pub(super) leading: f64,
    pub(super) quadratic: f64,
    pub(super) linear: f64,
    pub(super) constant: f64,
}

/// Room beyond the largest value met.
const MARGIN: f64 = 1.1;
/// Values that a fit looks at.
const MOST_VALUES: usize = 1 << 14;
/// Weight of the even spread, relative to all values met.
const SPREAD: f64 = 0.005;
/// Points of it.
const SPREAD_POINTS: usize = 64;
/// Most that another coefficient may be, in leading ones: beyond, precision would go into
/// cancelling, and shifts far out of the range.
const MOST_RATIO: f64 = 8.0;
/// Least size of coefficients: that of a function that is zero.
const LEAST: f64 = 1e-6;

impl Fit {
    /// Fitted to pairs of an activation's operand and what the activation should give.
    pub(super) fn new(met: &[(f64, f64)], degree: Degree, f: Function) -> Self {
        let largest = met.iter().fold(1e-3, |m: f64, p| m.max(p.0.abs()));
        let stride = met.len().div_ceil(MOST_VALUES).max(1);
        let some: Vec<(f64, f64)> = met.iter().step_by(stride).copied().collect();
        let first = Self::around(&some, 0.0, degree, f);
        let others = degree.centres().iter().skip(1).map(|c| Self::around(&some, c * largest, degree, f));
        let fits = std::iter::once(first).chain(others).map(|fit| (fit.squared_error(&some), fit));
        let better = |a: (f64, Self), b: (f64, Self)| if b.0 < a.0 { b } else { a };
        fits.reduce(better).map_or(Self::of(degree, 0.0, 1.0, &[0.0; 6]), |fit| fit.1)
    }

    fn around(met: &[(f64, f64)], centre: f64, degree: Degree, f: Function) -> Self {
        let range = MARGIN * met.iter().fold(1e-3, |m: f64, p| m.max((p.0 - centre).abs()));
        let met = met.iter().map(|&(x, y)| Point { t: (x - centre) / range, y, weight: 1.0 });
        let mut points: Vec<Point> = met.collect();
        let weight = SPREAD * points.len() as f64 / SPREAD_POINTS as f64;
        points.extend((0..=SPREAD_POINTS).map(|i| {
            let t = 2.0 * i as f64 / SPREAD_POINTS as f64 - 1.0;
            Point { t, y: f.at(centre + t * range), weight }
        }));
        let powers = degree.powers();
        let mut c = least_squares(&points, powers);
        let (last, others) = (powers.len() - 1, &powers[..powers.len() - 1]);
        let least = c[..last].iter().fold(LEAST, |m: f64, c| m.max(c.abs())) / MOST_RATIO;
        if c[last].abs() < least {
            // The leading term is given, the others make the best of it.
            let leading = least.copysign(c[last]);
            points.iter_mut().for_each(|p| p.y -= leading * p.t.powi(powers[last]));
            c = least_squares(&points, others);
            c.push(leading);
        }
        Self::of(degree, centre, range, &c)
    }

    /// The form of coefficients as in [`Degree::powers`].
    fn of(degree: Degree, centre: f64, range: f64, c: &[f64]) -> Self {
        let zero = Self {
            degree,
            centre,
            range,
            shift: 0.0,
            inner: 0.0,
            alpha: 0.0,
            leading: 0.0,
            quadratic: 0.0,
            linear: 0.0,
            constant: 0.0,
        };
        match degree {
            Degree::Two => {
                let shift = c[1] / (2.0 * c[2]);
                Self { shift, leading: c[2], constant: c[0] - c[2] * shift * shift, ..zero }
            }
            Degree::Four => {
                let q = Quartic::of([c[0], c[1], c[2], c[3], c[4]]);
                Self { shift: q.shift, alpha: q.alpha, leading: c[4], linear: q.linear, constant: q.constant, ..zero }
            }
            Degree::Eight => {
                // The even part, in y = t^2.
                let q = Quartic::of([c[0], c[2], c[3], c[4], c[5]]);
                Self {
                    inner: q.shift,
                    alpha: q.alpha,
                    leading: c[5],
                    quadratic: q.linear,
                    linear: c[1],
                    constant: q.constant + q.linear * q.shift,
                    ..zero
                }
            }
        }
    }

    /// Its value.
    pub(super) fn at(&self, x: f64) -> f64 {
        let u = (x - self.centre) / self.range + self.shift;
        let square = match self.degree {
            Degree::Two => u * u,
            Degree::Four => (u * u + self.alpha).powi(2),
            Degree::Eight => ((u * u + self.inner).powi(2) + self.alpha).powi(2),
        };
        let rest = (self.quadratic * u + self.linear) * u;
        self.leading * square + rest + self.constant
    }

    /// Whether a value is where it was fitted.
    pub(super) fn holds(&self, x: f64) -> bool {
        (x - self.centre).abs() <= self.range
    }

    /// Over pairs of operand and result.
    pub(super) fn squared_error(&self, met: &[(f64, f64)]) -> f64 {
        met.iter().map(|&(x, y)| (self.at(x) - y).powi(2)).sum()
    }
}

/// `a (v^2 + alpha)^2 + linear v + constant` with `v = y + shift`.
struct Quartic {
    shift: f64,
    alpha: f64,
    linear: f64,
    constant: f64,
}

impl Quartic {
    /// From coefficients in powers of `y`, the leading one not zero.
    fn of(c: [f64; 5]) -> Self {
        let a = c[4];
        let s = c[3] / (4.0 * a);
        // Taylor at -s: p(v - s) has no cubic term.
        let p0 = c.iter().rev().fold(0.0, |acc, c| acc * -s + c);
        let p1 = c[1] - 2.0 * c[2] * s + 3.0 * c[3] * s * s - 4.0 * a * s * s * s;
        let p2 = c[2] - 3.0 * c[3] * s + 6.0 * a * s * s;
        let alpha = p2 / (2.0 * a);
        Self { shift: s, alpha, linear: p1, constant: p0 - a * alpha * alpha }
    }
}

/// What a fit should give, and how much that matters.
struct Point {
    t: f64,
    y: f64,
    weight: f64,
}

/// Coefficients of the weighted least-squares polynomial with these powers: normal equations,
/// by Cholesky's square root with a ridge that keeps directions nobody asks about at zero.
fn least_squares(points: &[Point], powers: &[i32]) -> Vec<f64> {
    /// Relative to the weight of all points.
    const RIDGE: f64 = 1e-9;
    let n = powers.len();
    let mut system = vec![vec![0.0; n + 1]; n];
    for p in points {
        let basis: Vec<f64> = powers.iter().map(|&k| p.t.powi(k)).collect();
        for (row, b) in system.iter_mut().zip(&basis) {
            row.iter_mut().zip(basis.iter().chain([&p.y])).for_each(|(s, v)| *s += p.weight * b * v);
        }
    }
    let ridge = RIDGE * points.iter().map(|p| p.weight).sum::<f64>().max(1.0);
    (0..n).for_each(|k| system[k][k] += ridge);
    solve(system)
}

/// Gauss with pivots, of a system that the ridge keeps regular.
fn solve(mut m: Vec<Vec<f64>>) -> Vec<f64> {
    let n = m.len();
    for k in 0..n {
        let pivot = (k..n).max_by(|&i, &j| m[i][k].abs().total_cmp(&m[j][k].abs())).unwrap_or(k);
        m.swap(k, pivot);
        let head = m[k].clone();
        for row in m.iter_mut().skip(k + 1) {
            let factor = row[k] / head[k];
            row.iter_mut().zip(&head).for_each(|(a, b)| *a -= factor * b);
        }
    }
    let mut x = vec![0.0; n];
    for k in (0..n).rev() {
        let known: f64 = (k + 1..n).map(|j| m[k][j] * x[j]).sum();
        x[k] = (m[k][n] - known) / m[k][k];
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEGREES: [Degree; 3] = [Degree::Two, Degree::Four, Degree::Eight];

    #[test]
    fn higher_degrees_fit_better() {
        let met = |f: Function| -> Vec<(f64, f64)> {
            (0..1000).map(|i| f64::from(i) * 0.01 - 4.0).map(|x| (x, f.at(x))).collect()
        };
        for f in [Function::Relu { alpha: 0.0 }, Function::Gelu, Function::Abs] {
            let met = met(f);
            let errors = DEGREES.map(|d| (Fit::new(&met, d, f).squared_error(&met) / 1000.0).sqrt());
            assert!(errors[0] < 0.6 && errors[1] < 0.6 * errors[0] && errors[2] < 0.7 * errors[1], "{f:?}: {errors:?}");
        }
    }

    #[test]
    fn polynomials_of_the_forms_are_found_exactly() {
        for degree in DEGREES {
            let c: Vec<f64> = [0.3, -1.0, 0.5, 0.2, 1.5, -0.7][..degree.powers().len()].to_vec();
            let p = |t: f64| degree.powers().iter().zip(&c).map(|(&k, c)| c * t.powi(k)).sum::<f64>();
            let ts = || (-50..=50).map(|i| f64::from(i) / 50.0);
            let form = Fit::of(degree, 0.0, 1.0, &c);
            assert!(ts().all(|t| (form.at(t) - p(t)).abs() < 1e-12), "{degree:?}");
            let points: Vec<Point> = ts().map(|t| Point { t, y: p(t), weight: 1.0 }).collect();
            let found = least_squares(&points, degree.powers());
            assert!(found.iter().zip(&c).all(|(a, b)| (a - b).abs() < 1e-3), "{degree:?}: {found:?}");
        }
    }

    #[test]
    fn flat_and_lonely_channels_have_a_fit() {
        for degree in DEGREES {
            for met in [vec![], vec![(0.0, 0.0)], vec![(-3.0, 0.0), (-2.0, 0.0), (-1.0, 0.0)], vec![(1.0, 1.0); 9]] {
                let fit = Fit::new(&met, degree, Function::Relu { alpha: 0.0 });
                assert!(met.iter().all(|&(x, y)| (fit.at(x) - y).abs() < 0.3), "{degree:?} {met:?}");
                assert!(fit.shift.abs() <= MOST_RATIO && fit.inner.abs() <= MOST_RATIO);
            }
        }
    }
}
