//! A model as ciphertexts can compute it: affine maps, polynomials, products.
//!
//! [`Circuit::import`] turns a graph into few steps: whatever is affine (dense layers,
//! convolutions, average pooling, padding, any rearrangement) is multiplied out into one
//! sparse matrix between two non-linear steps; `a x^2 + b x + c` becomes a square between
//! two such matrices by completing it.

mod approximate;
mod import;
mod sparse;
mod symbol;

pub use approximate::{Approximated, Approximation, Degree, Forecast};
pub use sparse::Sparse;

use crate::Error;
use subrosa_graph::Graph;

/// Index of a step.
pub type StepId = usize;

/// A model: steps in order, each a vector of real numbers.
#[derive(Clone, Debug)]
pub struct Circuit {
    /// The steps; operands come earlier.
    pub steps: Vec<Step>,
    /// The inputs in ONNX order.
    pub inputs: Vec<StepId>,
    /// The outputs in ONNX order.
    pub outputs: Vec<StepId>,
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    /// Name of the ONNX node that it ends with.
    pub name: String,
    /// Elements of its value.
    pub len: usize,
    /// Its value's shape in the model, batch included: where elements lie side by side. A
    /// hint for the planner; `len` is what counts.
    pub shape: Vec<usize>,
    /// What it computes.
    pub kind: Kind,
}

/// What a step computes.
#[derive(Clone, Debug)]
pub enum Kind {
    /// An input of the model.
    Input,
    /// `sum of A_i x_i + b`.
    Affine {
        /// The operands with their matrices.
        terms: Vec<(StepId, Sparse)>,
        /// `b`.
        bias: Vec<f64>,
    },
    /// The square of each element plus a number: `(x + shift)^2`.
    Square(StepId, f64),
    /// The product of elements.
    Product(StepId, StepId),
    /// `base + sum of f_i x_i + b` by elements. The base keeps its level: other terms were
    /// computed earlier, and their multiplication costs no depth.
    Combine {
        /// The base.
        base: StepId,
        /// The other terms with their factors.
        terms: Vec<(StepId, Vec<f64>)>,
        /// `b`.
        bias: Vec<f64>,
    },
    /// A function of each element, to be approximated on its range.
    Function(StepId, Function),
}

/// A function of one number that is no polynomial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// `max(x, 0)`, or `alpha x` where negative.
    Relu {
        /// Slope for negative numbers.
        alpha: f64,
    },
    /// `|x|`.
    Abs,
    /// `min(max(x, min), max)`.
    Clip {
        /// Lower bound.
        min: f64,
        /// Upper bound.
        max: f64,
    },
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// Gauss error function.
    Erf,
    /// `x Phi(x)`.
    Gelu,
    /// `e^x`.
    Exp,
}

impl Function {
    /// Its value.
    pub fn at(self, x: f64) -> f64 {
        match self {
            Self::Relu { alpha } => {
                if x > 0.0 {
                    x
                } else {
                    alpha * x
                }
            }
            Self::Abs => x.abs(),
            Self::Clip { min, max } => x.max(min).min(max),
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Tanh => x.tanh(),
            Self::Erf => erf(x),
            Self::Gelu => 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2)),
            Self::Exp => x.exp(),
        }
    }
}

/// Within 1.2e-7 (W. Press et al., "Numerical Recipes", 2nd edition, section 6.2, erfcc:
/// its Chebyshev fit), which is far below any approximation made here.
fn erf(x: f64) -> f64 {
    const FIT: [f64; 10] = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let t = 1.0 / (1.0 + 0.5 * x.abs());
    let tail = t * (FIT.iter().rev().fold(0.0, |acc, c| acc * t + c) - x * x).exp();
    (1.0 - tail).copysign(x)
}

impl Circuit {
    /// The circuit of a model.
    ///
    /// **Errors:** [`Error::Unsupported`] naming the first node that ciphertexts cannot
    /// compute, and the way out.
    pub fn import(graph: &Graph) -> Result<Self, Error> {
        import::import(graph)
    }

    /// Computes it in the clear: the value of every step.
    pub fn evaluate(&self, inputs: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let mut values: Vec<Vec<f64>> = Vec::with_capacity(self.steps.len());
        let mut next = inputs.iter();
        for step in &self.steps {
            let value = if matches!(step.kind, Kind::Input) {
                next.next().cloned().unwrap_or_else(|| vec![0.0; step.len])
            } else {
                step.value(&values)
            };
            values.push(value);
        }
        values
    }
}

impl Step {
    /// Its value from those of earlier steps; nothing for an input.
    fn value(&self, values: &[Vec<f64>]) -> Vec<f64> {
        match &self.kind {
            Kind::Input => Vec::new(),
            Kind::Affine { terms, bias } => terms.iter().fold(bias.clone(), |mut sum, (x, a)| {
                sum.iter_mut().zip(a.apply(&values[*x])).for_each(|(s, v)| *s += v);
                sum
            }),
            Kind::Square(x, shift) => values[*x].iter().map(|v| (v + shift) * (v + shift)).collect(),
            Kind::Product(x, y) => values[*x].iter().zip(&values[*y]).map(|(a, b)| a * b).collect(),
            Kind::Combine { base, terms, bias } => {
                let mut sum: Vec<f64> = values[*base].iter().zip(bias).map(|(v, b)| v + b).collect();
                for (x, factors) in terms {
                    sum.iter_mut().zip(values[*x].iter().zip(factors)).for_each(|(s, (v, f))| *s += v * f);
                }
                sum
            }
            Kind::Function(x, f) => values[*x].iter().map(|&v| f.at(v)).collect(),
        }
    }

    /// Channels, height and width, if its value is one image.
    pub fn image(&self) -> Option<[usize; 3]> {
        match *self.shape.as_slice() {
            [1, c, h, w] | [c, h, w] if c * h * w == self.len => Some([c, h, w]),
            _ => None,
        }
    }

    /// The channel of element `i`: the second axis of a batch; every element its own where
    /// there is no other axis.
    pub fn channel(&self, i: usize) -> usize {
        match self.shape.as_slice() {
            [_, _, _, ..] => i / self.shape[2..].iter().product::<usize>().max(1) % self.shape[1].max(1),
            _ => i,
        }
    }

    /// The steps it reads.
    pub fn operands(&self) -> Vec<StepId> {
        match &self.kind {
            Kind::Input => Vec::new(),
            Kind::Affine { terms, .. } => terms.iter().map(|t| t.0).collect(),
            Kind::Square(x, _) | Kind::Function(x, _) => vec![*x],
            Kind::Product(x, y) => vec![*x, *y],
            Kind::Combine { base, terms, .. } => std::iter::once(*base).chain(terms.iter().map(|t| t.0)).collect(),
        }
    }
}
