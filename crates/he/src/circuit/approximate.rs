//! Activations that are no polynomials, by ones of degree four (or two) that fit best
//! where their values lie.
//!
//! Least squares on the values met on samples, with a thin even spread over the range so
//! that the polynomial does not run away between them. `p(t) = a t^4 + ...` on `[-1, 1]` is
//! evaluated with two squarings: with `u = t + s` its cubic term vanishes, and
//! `p = a (u^2 + alpha)^2 + q u + gamma`; `s` and the scaling to `[-1, 1]` join the matrix
//! before, `a`, `q` and `gamma` the matrix after.

use super::sparse::Sparse;
use super::{Circuit, Function, Kind, Step, StepId};
use crate::Error;

/// How well a polynomial stands for an activation.
#[derive(Clone, Debug, PartialEq)]
pub struct Approximation {
    /// The ONNX node.
    pub name: String,
    /// Degree of the polynomial.
    pub degree: usize,
    /// Values are taken to be within plus and minus this.
    pub range: f64,
    /// Root of the mean squared error on the samples' values.
    pub rms_error: f64,
}

/// A value as later steps read it: `a z + q x + gamma`.
#[derive(Clone, Copy)]
struct Combination {
    square: StepId,
    a: f64,
    linear: StepId,
    q: f64,
    gamma: f64,
}

/// A step of the old circuit in the new one.
#[derive(Clone, Copy)]
enum Now {
    Step(StepId),
    Combination(Combination),
}

struct Rewriter<'a> {
    old: &'a Circuit,
    steps: Vec<Step>,
    now: Vec<Now>,
    /// For each sample, the value of each new step.
    values: Vec<Vec<Vec<f64>>>,
    found: Vec<Approximation>,
}

/// Room beyond the largest value met.
const MARGIN: f64 = 1.1;
/// Values that a fit looks at.
const MOST_VALUES: usize = 1 << 16;
/// Weight of the even spread, relative to all values met.
const SPREAD: f64 = 0.02;
/// Points of it.
const SPREAD_POINTS: usize = 64;

impl Circuit {
    /// The circuit with polynomials in place of other functions, fitted to samples; the
    /// circuit itself if it has none.
    ///
    /// **Errors:** [`Error::Plan`] if there are no samples to fit to.
    pub fn approximated(&self, samples: &[Vec<f64>]) -> Result<(Self, Vec<Approximation>), Error> {
        if !self.has_functions() {
            return Ok((self.clone(), Vec::new()));
        }
        if samples.is_empty() {
            return Err(Error::Plan(
                "an activation of the model is no polynomial, and its range must be known to approximate it; give samples of the input (--calibrate FILE)".to_owned(),
            ));
        }
        let values = samples.iter().map(|_| Vec::new()).collect();
        let mut r = Rewriter { old: self, steps: Vec::new(), now: Vec::new(), values, found: Vec::new() };
        for step in &self.steps {
            let now = r.step(step, samples);
            r.now.push(now);
        }
        let inputs = self.inputs.iter().map(|&id| r.read(id)).collect();
        let outputs = self.outputs.iter().map(|&id| r.read(id)).collect();
        let circuit = Self { steps: r.steps, inputs, outputs };
        Ok((super::import::needed(circuit), r.found))
    }

    /// Whether an activation is no polynomial.
    pub fn has_functions(&self) -> bool {
        self.steps.iter().any(|s| matches!(s.kind, Kind::Function(..)))
    }
}

impl Rewriter<'_> {
    fn step(&mut self, step: &Step, samples: &[Vec<f64>]) -> Now {
        let kind = match &step.kind {
            Kind::Input => Kind::Input,
            Kind::Affine { terms, bias } => self.affine(terms, bias),
            Kind::Square(x, shift) => Kind::Square(self.read(*x), *shift),
            Kind::Product(x, y) => Kind::Product(self.read(*x), self.read(*y)),
            Kind::Function(x, f) => return self.function(&step.name, *x, *f),
        };
        Now::Step(self.push(&step.name, step.len, kind, samples))
    }

    fn push(&mut self, name: &str, len: usize, kind: Kind, samples: &[Vec<f64>]) -> StepId {
        let step = Step { name: name.to_owned(), len, kind };
        for (i, values) in self.values.iter_mut().enumerate() {
            let input = matches!(step.kind, Kind::Input);
            let value = if input { samples[i].clone() } else { step.value(values) };
            values.push(value);
        }
        self.steps.push(step);
        self.steps.len() - 1
    }

    /// A single step with the value of an old one.
    fn read(&mut self, id: StepId) -> StepId {
        match self.now[id] {
            Now::Step(step) => step,
            Now::Combination(_) => {
                let (name, len) = (self.old.steps[id].name.clone(), self.old.steps[id].len);
                let kind = self.affine(&[(id, Sparse::identity(len))], &vec![0.0; len]);
                let step = self.push(&name, len, kind, &[]);
                self.now[id] = Now::Step(step);
                step
            }
        }
    }

    /// An affine map of old steps, of new ones.
    fn affine(&self, terms: &[(StepId, Sparse)], bias: &[f64]) -> Kind {
        let mut bias = bias.to_vec();
        let mut merged: Vec<(StepId, Sparse)> = Vec::new();
        let mut add = |id: StepId, matrix: Sparse| match merged.iter_mut().find(|t| t.0 == id) {
            Some((_, sum)) => *sum = sum.plus(&matrix),
            None => merged.push((id, matrix)),
        };
        for (id, matrix) in terms {
            match self.now[*id] {
                Now::Step(step) => add(step, matrix.clone()),
                Now::Combination(c) => {
                    for (step, factor) in [(c.square, c.a), (c.linear, c.q)].into_iter().filter(|t| t.1 != 0.0) {
                        let mut scaled = matrix.clone();
                        scaled.scale_rows(|_| factor);
                        add(step, scaled);
                    }
                    let sums = matrix.apply(&vec![c.gamma; matrix.cols]);
                    bias.iter_mut().zip(sums).for_each(|(b, s)| *b += s);
                }
            }
        }
        Kind::Affine { terms: merged, bias }
    }

    fn function(&mut self, name: &str, x: StepId, f: Function) -> Now {
        let x = self.read(x);
        let all: Vec<f64> = self.values.iter().flat_map(|v| v[x].iter().copied()).collect();
        let range = MARGIN * all.iter().fold(1e-3, |m: f64, v| m.max(v.abs()));
        let fit = Fit::new(&all, range, f);
        self.found.push(Approximation { name: name.to_owned(), degree: fit.degree, range, rms_error: fit.rms_error });
        let len = self.steps[x].len;
        // x / range + shift, in the matrix that x is, or in one of its own.
        let (mut terms, mut bias) = match &self.steps[x].kind {
            Kind::Affine { terms, bias } => (terms.clone(), bias.clone()),
            Kind::Input | Kind::Square(..) | Kind::Product(..) | Kind::Function(..) => {
                (vec![(x, Sparse::identity(len))], vec![0.0; len])
            }
        };
        terms.iter_mut().for_each(|t| t.1.scale_rows(|_| 1.0 / range));
        bias.iter_mut().for_each(|b| *b = *b / range + fit.shift);
        let linear = self.push(name, len, Kind::Affine { terms, bias }, &[]);
        let mut square = self.push(name, len, Kind::Square(linear, 0.0), &[]);
        if fit.degree == 4 {
            square = self.push(name, len, Kind::Square(square, fit.alpha), &[]);
        }
        Now::Combination(Combination { square, a: fit.a, linear, q: fit.q, gamma: fit.gamma })
    }
}

/// A polynomial in the form that is evaluated.
struct Fit {
    degree: usize,
    shift: f64,
    alpha: f64,
    a: f64,
    q: f64,
    gamma: f64,
    rms_error: f64,
}

impl Fit {
    fn new(values: &[f64], range: f64, f: Function) -> Self {
        let stride = values.len().div_ceil(MOST_VALUES).max(1);
        let met: Vec<f64> = values.iter().step_by(stride).map(|v| v / range).collect();
        let weight = SPREAD * met.len() as f64 / SPREAD_POINTS as f64;
        let spread = (0..=SPREAD_POINTS).map(|i| 2.0 * i as f64 / SPREAD_POINTS as f64 - 1.0);
        let points: Vec<(f64, f64)> = met.iter().map(|&t| (t, 1.0)).chain(spread.map(|t| (t, weight))).collect();
        let target = |t: f64| f.at(t * range);
        let quartic = least_squares(&points, 4, target);
        let fit = Self::of_quartic(&quartic).unwrap_or_else(|| Self::of_quadratic(&least_squares(&points, 2, target)));
        let squares: f64 = met.iter().map(|&t| (fit.at(t) - target(t)).powi(2)).sum();
        Self { rms_error: (squares / met.len().max(1) as f64).sqrt(), ..fit }
    }

    /// None where the shift would leave the range: the leading term is then of no use.
    fn of_quartic(c: &[f64]) -> Option<Self> {
        let a = c[4];
        let s = c[3] / (4.0 * a);
        if s.is_nan() || s.abs() > 1.0 {
            return None;
        }
        // Taylor at -s: p(u - s).
        let (p0, p1) = (horner(c, -s), c[1] - 2.0 * c[2] * s + 3.0 * c[3] * s * s - 4.0 * a * s * s * s);
        let p2 = c[2] - 3.0 * c[3] * s + 6.0 * a * s * s;
        let alpha = p2 / (2.0 * a);
        let gamma = p0 - a * alpha * alpha;
        // A large alpha means a small quartic term: precision would go into cancelling.
        (alpha.abs() <= 8.0).then_some(Self { degree: 4, shift: s, alpha, a, q: p1, gamma, rms_error: 0.0 })
    }

    fn of_quadratic(c: &[f64]) -> Self {
        // q carries the linear term, so no shift can be too far.
        Self { degree: 2, shift: 0.0, alpha: 0.0, a: c[2], q: c[1], gamma: c[0], rms_error: 0.0 }
    }

    fn at(&self, t: f64) -> f64 {
        let u = t + self.shift;
        let square = if self.degree == 4 { (u * u + self.alpha).powi(2) } else { u * u };
        self.a * square + self.q * u + self.gamma
    }
}

fn horner(c: &[f64], t: f64) -> f64 {
    c.iter().rev().fold(0.0, |acc, c| acc * t + c)
}

/// Coefficients in powers of `t` of the weighted least-squares polynomial: normal equations
/// in Legendre's basis, which are well conditioned on `[-1, 1]`.
fn least_squares(points: &[(f64, f64)], degree: usize, target: impl Fn(f64) -> f64) -> Vec<f64> {
    const LEGENDRE: [[f64; 5]; 5] = [
        [1.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 1.0, 0.0, 0.0, 0.0],
        [-0.5, 0.0, 1.5, 0.0, 0.0],
        [0.0, -1.5, 0.0, 2.5, 0.0],
        [0.375, 0.0, -3.75, 0.0, 4.375],
    ];
    let n = degree + 1;
    let mut system = vec![vec![0.0; n + 1]; n];
    for &(t, weight) in points {
        let basis: Vec<f64> = LEGENDRE[..n].iter().map(|c| horner(c, t)).collect();
        let y = target(t);
        for (row, b) in system.iter_mut().zip(&basis) {
            row.iter_mut().zip(basis.iter().chain([&y])).for_each(|(s, v)| *s += weight * b * v);
        }
    }
    let solution = solve(system);
    (0..n).map(|power| solution.iter().zip(&LEGENDRE).map(|(s, c)| s * c[power]).sum()).collect()
}

/// Gauss with pivots; a singular direction gets zero.
fn solve(mut m: Vec<Vec<f64>>) -> Vec<f64> {
    let n = m.len();
    for k in 0..n {
        let pivot = (k..n).max_by(|&i, &j| m[i][k].abs().total_cmp(&m[j][k].abs())).unwrap_or(k);
        m.swap(k, pivot);
        let head = m[k].clone();
        if head[k].abs() < 1e-12 {
            continue;
        }
        for (i, row) in m.iter_mut().enumerate().filter(|(i, _)| *i != k) {
            let factor = row[k] / head[k];
            debug_assert!(i < n);
            row.iter_mut().zip(&head).for_each(|(a, b)| *a -= factor * b);
        }
    }
    (0..n).map(|k| if m[k][k].abs() < 1e-12 { 0.0 } else { m[k][n] / m[k][k] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fits_are_what_is_evaluated() {
        let values: Vec<f64> = (0..1000).map(|i| f64::from(i) * 0.01 - 4.0).collect();
        for f in [Function::Relu { alpha: 0.0 }, Function::Sigmoid, Function::Tanh, Function::Gelu, Function::Abs] {
            let fit = Fit::new(&values, 6.6, f);
            assert!(fit.rms_error < 0.35, "{f:?}: {}", fit.rms_error);
            let direct = values.iter().map(|v| (fit.at(v / 6.6) - f.at(*v)).powi(2)).sum::<f64>() / 1000.0;
            assert!((direct.sqrt() - fit.rms_error).abs() < 1e-9);
        }
    }

    #[test]
    fn a_quartic_is_found_exactly() {
        let quartic = [0.3, -1.0, 0.5, 0.2, 1.5];
        let points: Vec<(f64, f64)> = (0..50).map(|i| (f64::from(i) / 25.0 - 1.0, 1.0)).collect();
        let found = least_squares(&points, 4, |t| horner(&quartic, t));
        assert!(found.iter().zip(&quartic).all(|(a, b)| (a - b).abs() < 1e-9));
        let fit = Fit::of_quartic(&found).unwrap();
        assert!((-10..=10).map(|i| f64::from(i) / 10.0).all(|t| (fit.at(t) - horner(&quartic, t)).abs() < 1e-9));
    }
}
