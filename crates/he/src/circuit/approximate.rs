//! Activations that are no polynomials, by ones of low degree, a polynomial for each
//! channel, fitted where its values lie on samples.
//!
//! A fit is least squares on the values met, with a thin even spread over the range so that
//! the polynomial does not run away between them. It aims at what the *exact* activation of
//! the *exact* layers before would give: later polynomials so make up for the errors of
//! earlier ones. The degrees are the lowest of a short ladder with which enough samples that
//! were not fitted keep their label.
//!
//! [`polynomial`] has the forms that are evaluated, and their depth.

mod polynomial;

use super::sparse::Sparse;
use super::{Circuit, Function, Kind, Step, StepId};
use crate::Error;
pub use polynomial::Degree;
use polynomial::Fit;

/// How well a polynomial stands for an activation.
#[derive(Clone, Debug, PartialEq)]
pub struct Approximation {
    /// The ONNX node.
    pub name: String,
    /// Degree of the polynomials.
    pub degree: usize,
    /// Polynomials: one for each channel.
    pub channels: usize,
    /// Values are taken to be within plus and minus this, in the channel with the largest.
    pub range: f64,
    /// Root of the mean squared error on the samples' values.
    pub rms_error: f64,
}

/// What the polynomials do to answers, on samples that they were not fitted to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// Such samples.
    pub samples: usize,
    /// Share of them with the label of the model itself.
    pub agreement: f64,
    /// Error of the outputs: root of its mean square, in units of the outputs' deviation.
    pub error: f64,
    /// Share of them with a value outside the range of its polynomial.
    pub outside: f64,
}

/// A circuit without other functions, and what that cost in accuracy.
#[derive(Clone, Debug)]
pub struct Approximated {
    /// The circuit.
    pub circuit: Circuit,
    /// One a function.
    pub functions: Vec<Approximation>,
    /// None if there were no functions.
    pub forecast: Option<Forecast>,
}

/// Share of unseen samples whose label must stay.
const AGREEMENT: f64 = 0.99;
/// Most that outputs may be off, in units of their deviation. Labels of samples that the model
/// was trained on are too safe to tell how those of others will fare.
const ERROR: f64 = 0.125;
/// Of so many samples one is kept from the fit, to see how it does on others.
const HELD_OUT: usize = 4;
/// Fewer samples are all fitted to.
const FEW: usize = 32;

impl Circuit {
    /// The circuit with polynomials in place of other functions, fitted to samples; the
    /// circuit itself if it has none.
    ///
    /// **Errors:** [`Error::Plan`] if there are no samples to fit to.
    pub fn approximated(&self, samples: &[Vec<f64>]) -> Result<Approximated, Error> {
        if !self.has_functions() {
            return Ok(Approximated { circuit: self.clone(), functions: Vec::new(), forecast: None });
        }
        if samples.is_empty() {
            return Err(Error::Plan(
                "an activation of the model is no polynomial, and its range must be known to approximate it; give samples of the input (--calibrate FILE)".to_owned(),
            ));
        }
        let exact: Vec<Vec<Vec<f64>>> = samples.iter().map(|x| self.evaluate(std::slice::from_ref(x))).collect();
        let (degrees, forecast) = self.degrees(samples, &exact);
        let fitting = Fitting::new(self, samples, &exact, &degrees, &vec![true; samples.len()]);
        let rewritten = Rewriter::rewrite(self, &fitting.fits);
        let functions = fitting.found;
        Ok(Approximated { circuit: super::import::needed(rewritten), functions, forecast: Some(forecast) })
    }

    /// Whether an activation is no polynomial.
    pub fn has_functions(&self) -> bool {
        self.steps.iter().any(|s| matches!(s.kind, Kind::Function(..)))
    }

    /// The first degrees of the ladder with which enough labels stay, or the best.
    fn degrees(&self, samples: &[Vec<f64>], exact: &[Vec<Vec<f64>>]) -> (Vec<Degree>, Forecast) {
        let fitted: Vec<bool> =
            (0..samples.len()).map(|i| samples.len() < FEW || i % HELD_OUT != HELD_OUT - 1).collect();
        let mut best: Option<(Vec<Degree>, Forecast)> = None;
        for degrees in ladder(self.steps.iter().filter(|s| matches!(s.kind, Kind::Function(..))).count()) {
            let forecast = Fitting::new(self, samples, exact, &degrees, &fitted).forecast(self, exact, &fitted);
            if best.as_ref().is_none_or(|b| forecast.error < b.1.error) {
                best = Some((degrees, forecast));
            }
            if forecast.agreement >= AGREEMENT && forecast.error <= ERROR {
                break;
            }
        }
        best.unwrap_or_else(|| (Vec::new(), Forecast { samples: 0, agreement: 0.0, error: 0.0, outside: 0.0 }))
    }
}

/// Degrees for so many functions, shallow ones first: earlier layers are raised before later
/// ones, whose errors fewer layers carry on.
fn ladder(functions: usize) -> impl Iterator<Item = Vec<Degree>> {
    let all = |d| vec![d; functions];
    let raised = (1..=functions).map(move |n| {
        let mut degrees = vec![Degree::Four; functions];
        degrees[..n].fill(Degree::Eight);
        degrees
    });
    [all(Degree::Two), all(Degree::Four)].into_iter().chain(raised)
}

/// The circuit's functions fitted one after another, each on values that the polynomials
/// before it gave.
struct Fitting {
    /// For each step that is a function, its fit by element.
    fits: Vec<Option<ChannelFits>>,
    found: Vec<Approximation>,
    /// For each sample, the value of each step; emptied when nobody reads it any more.
    values: Vec<Vec<Vec<f64>>>,
    /// For each sample, whether a value left its range.
    outside: Vec<bool>,
}

/// The polynomials of one activation.
struct ChannelFits {
    degree: Degree,
    channels: Vec<Fit>,
    /// The channel of each element.
    of: Vec<usize>,
}

impl Fitting {
    fn new(
        circuit: &Circuit,
        samples: &[Vec<f64>],
        exact: &[Vec<Vec<f64>>],
        degrees: &[Degree],
        fitted: &[bool],
    ) -> Self {
        let last = last_readers(circuit);
        let mut degrees = degrees.iter();
        let mut all = Self {
            fits: Vec::new(),
            found: Vec::new(),
            values: vec![Vec::new(); samples.len()],
            outside: vec![false; samples.len()],
        };
        for (id, step) in circuit.steps.iter().enumerate() {
            let fit = match (&step.kind, degrees.len()) {
                (Kind::Function(x, f), 1..) => {
                    let degree = degrees.next().copied().unwrap_or(Degree::Two);
                    Some(all.fit(step, (*x, *f), degree, (exact, id), fitted))
                }
                _ => None,
            };
            for (i, values) in all.values.iter_mut().enumerate() {
                let value = match (&step.kind, &fit) {
                    (Kind::Input, _) => samples[i].clone(),
                    (Kind::Function(x, _), Some(fit)) => {
                        let read = |(v, &c): (&f64, &usize)| fit.channels[c].at(*v);
                        values[*x].iter().zip(&fit.of).map(read).collect()
                    }
                    _ => step.value(values),
                };
                values.push(value);
                step.operands().into_iter().filter(|&x| last[x] == id).for_each(|x| values[x] = Vec::new());
            }
            all.fits.push(fit);
        }
        all
    }

    fn fit(
        &mut self,
        step: &Step,
        (x, f): (StepId, Function),
        degree: Degree,
        (exact, id): (&[Vec<Vec<f64>>], StepId),
        fitted: &[bool],
    ) -> ChannelFits {
        let of: Vec<usize> = (0..step.len).map(|i| step.channel(i)).collect();
        let channels = of.iter().max().map_or(0, |c| c + 1);
        let mut met: Vec<Vec<(f64, f64)>> = vec![Vec::new(); channels];
        for (i, values) in self.values.iter().enumerate().filter(|(i, _)| fitted[*i]) {
            let pairs = values[x].iter().zip(&exact[i][id]);
            pairs.zip(&of).for_each(|((v, y), &c)| met[c].push((*v, *y)));
        }
        let channels: Vec<Fit> = met.iter().map(|met| Fit::new(met, degree, f)).collect();
        for (values, outside) in self.values.iter().zip(&mut self.outside) {
            *outside |= values[x].iter().zip(&of).any(|(v, &c)| !channels[c].holds(*v));
        }
        let squares: f64 = met.iter().zip(&channels).map(|(m, fit)| fit.squared_error(m)).sum();
        let count = met.iter().map(Vec::len).sum::<usize>().max(1);
        self.found.push(Approximation {
            name: step.name.clone(),
            degree: degree.value(),
            channels: channels.len(),
            range: channels.iter().map(|c| c.centre.abs() + c.range).fold(0.0, f64::max),
            rms_error: (squares / count as f64).sqrt(),
        });
        ChannelFits { degree, channels, of }
    }

    fn forecast(&self, circuit: &Circuit, exact: &[Vec<Vec<f64>>], fitted: &[bool]) -> Forecast {
        let held = |i: &usize| fitted.iter().all(|f| *f) || !fitted[*i];
        let seen: Vec<usize> = (0..fitted.len()).filter(held).collect();
        let label = |values: &[Vec<f64>]| largest(values, &circuit.outputs);
        let same = seen.iter().filter(|&&i| label(&self.values[i]) == label(&exact[i])).count();
        let outside = seen.iter().filter(|&&i| self.outside[i]).count();
        let share = |n: usize| n as f64 / seen.len().max(1) as f64;
        let (mut errors, mut squares) = (0.0, 0.0);
        for &i in &seen {
            for &o in &circuit.outputs {
                let (found, right) = (&self.values[i][o], &exact[i][o]);
                let mean = right.iter().sum::<f64>() / right.len().max(1) as f64;
                errors += found.iter().zip(right).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
                squares += right.iter().map(|b| (b - mean).powi(2)).sum::<f64>();
            }
        }
        let error = (errors / squares.max(f64::MIN_POSITIVE)).sqrt();
        Forecast { samples: seen.len(), agreement: share(same), error, outside: share(outside) }
    }
}

/// The place of the largest element of the first output.
fn largest(values: &[Vec<f64>], outputs: &[StepId]) -> Option<usize> {
    let output = &values[*outputs.first()?];
    (0..output.len()).max_by(|&a, &b| output[a].total_cmp(&output[b]))
}

/// For each step, the last that reads it; outputs are read at the end.
fn last_readers(circuit: &Circuit) -> Vec<usize> {
    let mut last = vec![usize::MAX; circuit.steps.len()];
    for (id, step) in circuit.steps.iter().enumerate() {
        step.operands().into_iter().for_each(|x| last[x] = id);
    }
    circuit.outputs.iter().for_each(|&o| last[o] = usize::MAX);
    last
}

/// A step of the old circuit in the new one.
#[derive(Clone)]
enum Now {
    Step(StepId),
    /// `factors * step + offsets` by elements, for the matrix that reads it.
    Scaled {
        step: StepId,
        factors: Vec<f64>,
        offsets: Vec<f64>,
    },
}

struct Rewriter<'a> {
    old: &'a Circuit,
    steps: Vec<Step>,
    now: Vec<Now>,
}

impl<'a> Rewriter<'a> {
    fn rewrite(old: &'a Circuit, fits: &[Option<ChannelFits>]) -> Circuit {
        let mut r = Self { old, steps: Vec::new(), now: Vec::new() };
        for (step, fit) in old.steps.iter().zip(fits) {
            let now = r.step(step, fit.as_ref());
            r.now.push(now);
        }
        let inputs = old.inputs.iter().map(|&id| r.read(id)).collect();
        let outputs = old.outputs.iter().map(|&id| r.read(id)).collect();
        Circuit { steps: r.steps, inputs, outputs }
    }

    fn step(&mut self, step: &Step, fit: Option<&ChannelFits>) -> Now {
        let kind = match &step.kind {
            Kind::Input => Kind::Input,
            Kind::Affine { terms, bias } => self.affine(terms, bias),
            Kind::Square(x, shift) => Kind::Square(self.read(*x), *shift),
            Kind::Product(x, y) => Kind::Product(self.read(*x), self.read(*y)),
            Kind::Combine { base, terms, bias } => Kind::Combine {
                base: self.read(*base),
                terms: terms.iter().map(|(x, f)| (self.read(*x), f.clone())).collect(),
                bias: bias.clone(),
            },
            Kind::Function(x, f) => match fit {
                Some(fit) => return self.function(step, *x, fit),
                None => Kind::Function(self.read(*x), *f),
            },
        };
        Now::Step(self.push(step, kind))
    }

    /// A step with the name and shape of an old one.
    fn push(&mut self, like: &Step, kind: Kind) -> StepId {
        self.steps.push(Step { name: like.name.clone(), len: like.len, shape: like.shape.clone(), kind });
        self.steps.len() - 1
    }

    /// A single step with the value of an old one.
    fn read(&mut self, id: StepId) -> StepId {
        match self.now[id] {
            Now::Step(step) => step,
            Now::Scaled { .. } => {
                let like = &self.old.steps[id];
                let kind = self.affine(&[(id, Sparse::identity(like.len))], &vec![0.0; like.len]);
                let step = self.push(like, kind);
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
            match &self.now[*id] {
                Now::Step(step) => add(*step, matrix.clone()),
                Now::Scaled { step, factors, offsets } => {
                    bias.iter_mut().zip(matrix.apply(offsets)).for_each(|(b, s)| *b += s);
                    let mut scaled = matrix.clone();
                    scaled.scale_cols(|i| factors[i]);
                    add(*step, scaled);
                }
            }
        }
        Kind::Affine { terms: merged, bias }
    }

    fn function(&mut self, like: &Step, x: StepId, fit: &ChannelFits) -> Now {
        let x = self.read(x);
        let each = |f: fn(&Fit) -> f64| -> Vec<f64> { fit.of.iter().map(|&c| f(&fit.channels[c])).collect() };
        // (x - centre) / range + shift, in the matrix that x is, or in one of its own.
        let (mut terms, mut bias) = match &self.steps[x].kind {
            Kind::Affine { terms, bias } => (terms.clone(), bias.clone()),
            Kind::Input | Kind::Square(..) | Kind::Product(..) | Kind::Combine { .. } | Kind::Function(..) => {
                (vec![(x, Sparse::identity(like.len))], vec![0.0; like.len])
            }
        };
        let (range, shift) = (each(|f| f.range), each(|f| f.shift - f.centre / f.range));
        terms.iter_mut().for_each(|t| t.1.scale_rows(|i| 1.0 / range[i]));
        bias.iter_mut().enumerate().for_each(|(i, b)| *b = *b / range[i] + shift[i]);
        let u = self.push(like, Kind::Affine { terms, bias });
        let plus = |x, b| Kind::Combine { base: x, terms: Vec::new(), bias: b };
        let square = self.push(like, Kind::Square(u, 0.0));
        let (linear, quadratic) = (each(|f| f.linear / f.leading), each(|f| f.quadratic / f.leading));
        let step = match fit.degree {
            Degree::Two => square,
            Degree::Four => {
                let inner = self.push(like, plus(square, each(|f| f.alpha)));
                let base = self.push(like, Kind::Square(inner, 0.0));
                self.push(like, Kind::Combine { base, terms: vec![(u, linear)], bias: vec![0.0; like.len] })
            }
            Degree::Eight => {
                let v = self.push(like, plus(square, each(|f| f.inner)));
                let w = self.push(like, Kind::Square(v, 0.0));
                let inner = self.push(like, plus(w, each(|f| f.alpha)));
                let base = self.push(like, Kind::Square(inner, 0.0));
                let terms = vec![(u, linear), (square, quadratic)];
                self.push(like, Kind::Combine { base, terms, bias: vec![0.0; like.len] })
            }
        };
        Now::Scaled { step, factors: each(|f| f.leading), offsets: each(|f| f.constant) }
    }
}
