//! Pass A: what real values each node may take, by interval arithmetic on every element
//! of one sample.
//!
//! Constants are intervals of one point, so the same pass folds constant subgraphs. Its
//! bounds choose ring and fractions; the proof that nothing overflows is not this pass
//! but the integer one in `builder`, so f64 rounding is only widened by a hair here.

use super::geometry as geo;
use super::special;
use crate::op::{Conv, Reduction, Window};
use crate::{Error, Graph, InputRange, Node, Op};
use std::rc::Rc;
use subrosa_core::Shape;

/// An interval for each element, row-major.
#[derive(Clone, Debug)]
pub(super) struct Real {
    pub(super) lo: Vec<f64>,
    pub(super) hi: Vec<f64>,
}

/// What is known about one node's value.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    /// Smallest possible element.
    pub(super) lo: f64,
    /// Largest possible element.
    pub(super) hi: f64,
    /// Its values, if it depends on no input.
    pub(super) constant: Option<Rc<Vec<f64>>>,
}

impl Fact {
    /// Largest magnitude.
    pub(super) fn bound(&self) -> f64 {
        self.hi.abs().max(self.lo.abs())
    }

    /// Least magnitude; of values that may be on either side of zero, zero.
    pub(super) fn least(&self) -> f64 {
        let of_constant = self.constant.iter().flat_map(|values| values.iter()).map(|v| v.abs());
        let of_range = if self.lo <= 0.0 && self.hi >= 0.0 { 0.0 } else { self.lo.abs().min(self.hi.abs()) };
        of_constant.reduce(f64::min).unwrap_or(of_range)
    }
}

/// The facts of every node when each element of input `i` lies in `ranges[i]`.
///
/// **Errors:** [`Error::Domain`] where a function is undefined on the range its input may
/// take; [`Error::Range`] for magnitudes beyond all reason; [`Error::Malformed`] for a
/// weight that is not finite.
pub(super) fn facts(graph: &Graph, ranges: &[InputRange]) -> Result<Vec<Fact>, Error> {
    let inputs = graph.inputs.iter().zip(ranges).map(|(&id, r)| Real::filled(graph.nodes[id].shape.len(), r.lo, r.hi));
    evaluate(graph, &inputs.collect::<Vec<_>>()).map(|(facts, _)| facts)
}

/// Facts of every node and the values of the outputs, for these inputs.
///
/// **Errors:** as [`facts`].
pub(super) fn evaluate(graph: &Graph, inputs: &[Real]) -> Result<(Vec<Fact>, Vec<Real>), Error> {
    let mut uses = graph.uses();
    let mut values: Vec<Option<Rc<Real>>> = vec![None; graph.nodes.len()];
    let mut facts: Vec<Fact> = Vec::with_capacity(graph.nodes.len());
    for (id, node) in graph.nodes.iter().enumerate() {
        let value = match graph.inputs.iter().position(|&input| input == id) {
            Some(i) => inputs[i].clone(),
            None => apply(graph, node, &operands(node, &values))?,
        };
        let constant = !matches!(node.op, Op::Input) && node.inputs.iter().all(|&i| facts[i].constant.is_some());
        let value = if constant { value } else { value.widened() };
        facts.push(fact(node, &value, constant)?);
        values[id] = Some(Rc::new(value));
        for &input in &node.inputs {
            uses[input] -= 1;
            if uses[input] == 0 {
                values[input] = None;
            }
        }
    }
    let outputs = graph.outputs.iter().filter_map(|&id| values[id].as_deref().cloned()).collect();
    Ok((facts, outputs))
}

fn operands(node: &Node, values: &[Option<Rc<Real>>]) -> Vec<Rc<Real>> {
    node.inputs.iter().filter_map(|&i| values[i].clone()).collect()
}

fn fact(node: &Node, value: &Real, constant: bool) -> Result<Fact, Error> {
    let lo = value.lo.iter().copied().fold(f64::INFINITY, f64::min);
    let hi = value.hi.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let finite = value.lo.iter().chain(&value.hi).all(|v| v.is_finite());
    match (finite, &node.op) {
        (false, Op::Weight(_)) => {
            Err(Error::Malformed(format!("weight '{}' holds NaN or an infinity; export the model again", node.name)))
        }
        (false, _) => Err(Error::Range {
            node: node.name.clone(),
            magnitude_bits: f64::INFINITY,
            needed: "no ring holds that".to_owned(),
            remedy: super::scale::REMEDY.to_owned(),
        }),
        (true, _) if value.lo.is_empty() => Ok(Fact { lo: 0.0, hi: 0.0, constant: constant.then(Rc::default) }),
        (true, _) => Ok(Fact { lo, hi, constant: constant.then(|| Rc::new(value.lo.clone())) }),
    }
}

impl Real {
    /// One point an element.
    pub(super) fn point(values: Vec<f64>) -> Self {
        Self { lo: values.clone(), hi: values }
    }

    fn filled(len: usize, lo: f64, hi: f64) -> Self {
        Self { lo: vec![lo; len], hi: vec![hi; len] }
    }

    /// Rounded outward by far more than f64 arithmetic can have erred.
    fn widened(mut self) -> Self {
        const SLACK: f64 = 1e-12;
        self.lo.iter_mut().for_each(|v| *v -= v.abs() * SLACK);
        self.hi.iter_mut().for_each(|v| *v += v.abs() * SLACK);
        self
    }

    fn pairs(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.lo.iter().copied().zip(self.hi.iter().copied())
    }

    fn map(&self, f: impl Fn(f64, f64) -> (f64, f64)) -> Self {
        let (lo, hi) = self.pairs().map(|(lo, hi)| f(lo, hi)).unzip();
        Self { lo, hi }
    }

    /// A function that nowhere falls.
    fn rising(&self, f: impl Fn(f64) -> f64) -> Self {
        self.map(|lo, hi| (f(lo), f(hi)))
    }

    fn gather(&self, map: &[u32]) -> Self {
        let pick = |from: &[f64]| map.iter().map(|&at| from[at as usize]).collect();
        Self { lo: pick(&self.lo), hi: pick(&self.hi) }
    }

    fn zip(&self, other: &Self, f: impl Fn(Span, Span) -> Span) -> Self {
        let (lo, hi) = self.pairs().zip(other.pairs()).map(|(a, b)| f(a, b)).unzip();
        Self { lo, hi }
    }

    fn accumulate(&mut self, at: usize, (lo, hi): Span) {
        self.lo[at] += lo;
        self.hi[at] += hi;
    }

    fn at(&self, i: usize) -> Span {
        (self.lo[i], self.hi[i])
    }
}

type Span = (f64, f64);

fn product((a, b): Span, (c, d): Span) -> Span {
    let all = [a * c, a * d, b * c, b * d];
    (all.iter().copied().fold(f64::INFINITY, f64::min), all.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

/// `|x|^exponent` keeps its lower end at 0 where the interval straddles it.
fn power((lo, hi): Span, exponent: u32) -> Span {
    let p = |v: f64| v.powf(f64::from(exponent));
    match (exponent % 2 == 1, lo >= 0.0, hi <= 0.0) {
        (true, ..) => (lo.signum() * p(lo.abs()), hi.signum() * p(hi.abs())),
        (false, true, _) => (p(lo), p(hi)),
        (false, _, true) => (p(-hi), p(-lo)),
        (false, false, false) => (0.0, p(hi.max(-lo))),
    }
}

fn apply(graph: &Graph, node: &Node, x: &[Rc<Real>]) -> Result<Real, Error> {
    let dims = |i: usize| graph.nodes[node.inputs[i]].shape.dims();
    let wide = |i: usize| x[i].gather(&geo::broadcast(dims(i), node.shape.dims()));
    let out = node.shape.dims();
    Ok(match &node.op {
        Op::Input => Real::filled(node.shape.len(), 0.0, 0.0),
        Op::Weight(tensor) => Real::point(tensor.data().iter().map(|&v| f64::from(v)).collect()),
        Op::MatMul => matmul(&x[0], &x[1], dims(0), dims(1)),
        Op::Conv(c) => conv(c, x, dims(0), dims(1), &node.shape),
        Op::Add => wide(0).zip(&wide(1), |a, b| (a.0 + b.0, a.1 + b.1)),
        Op::Sub => wide(0).zip(&wide(1), |a, b| (a.0 - b.1, a.1 - b.0)),
        Op::Mul if node.inputs[0] == node.inputs[1] => x[0].map(|lo, hi| power((lo, hi), 2)),
        Op::Mul => wide(0).zip(&wide(1), product),
        Op::Div => wide(0).zip(&reciprocal(node, &wide(1))?, product),
        Op::Relu => x[0].rising(|v| v.max(0.0)),
        Op::LeakyRelu { alpha } => x[0].map(|lo, hi| leaky((lo, hi), f64::from(*alpha))),
        Op::PRelu => wide(0).zip(&wide(1), prelu),
        Op::Clip { min, max } => x[0].rising(|v| v.max(f64::from(*min)).min(f64::from(*max))),
        Op::Abs => x[0].map(|lo, hi| if lo <= 0.0 && hi >= 0.0 { (0.0, hi.max(-lo)) } else { power_one(lo, hi) }),
        Op::Max => wide(0).zip(&wide(1), |a, b| (a.0.max(b.0), a.1.max(b.1))),
        Op::Min => wide(0).zip(&wide(1), |a, b| (a.0.min(b.0), a.1.min(b.1))),
        Op::MaxPool(window) => max_pool(node, window, &x[0], dims(0))?,
        Op::AveragePool { window, count_include_pad } => average_pool(window, *count_include_pad, &x[0], dims(0), out),
        Op::Sigmoid => x[0].rising(special::sigmoid),
        Op::Tanh => x[0].rising(f64::tanh),
        Op::Erf => x[0].rising(special::erf),
        Op::Gelu { tanh } => x[0].map(|lo, hi| gelu((lo, hi), *tanh)),
        Op::Softmax { axis } => softmax(&x[0], dims(0), *axis),
        Op::Exp => x[0].rising(f64::exp),
        Op::Sqrt => square_root(node, &x[0])?,
        Op::Reciprocal => reciprocal(node, &x[0])?,
        Op::Pow { exponent } => x[0].map(|lo, hi| power((lo, hi), *exponent)),
        Op::Reduce { kind, axes } => reduce(*kind, axes, &x[0], dims(0)),
        Op::ArgMax { axis } => arg_max(&x[0], dims(0), *axis),
        Op::Concat { axis } => concat(graph, node, x, *axis),
        Op::Layout { map } => x[0].gather(map),
        Op::Transpose { perm } => x[0].gather(&geo::permutation(dims(0), perm)),
        Op::Pad { pads, value } => pad(&x[0], dims(0), pads, f64::from(*value)),
        Op::Reshape => x[0].as_ref().clone(),
    })
}

fn matmul(x: &Real, y: &Real, x_dims: &[usize], y_dims: &[usize]) -> Real {
    let plan = geo::MatPlan::new(x_dims, y_dims);
    let (x, y) = (x.gather(&plan.x), y.gather(&plan.y));
    let mut out = Real::filled(plan.dims.groups * plan.dims.m * plan.dims.n, 0.0, 0.0);
    let shared = plan.y.len() == plan.dims.k * plan.dims.n;
    geo::visit_matmul(plan.dims, shared, |o, i, j| out.accumulate(o, product(x.at(i), y.at(j))));
    out
}

fn conv(conv: &Conv, x: &[Rc<Real>], x_dims: &[usize], w_dims: &[usize], shape: &Shape) -> Real {
    let g = geo::conv_geometry(conv, x_dims, w_dims, shape.dims());
    let (input, plane, output) = (g.c * g.input.0 * g.input.1, g.output.0 * g.output.1, g.o * g.output.0 * g.output.1);
    let mut out = Real::filled(shape.len(), 0.0, 0.0);
    for n in 0..x_dims[0] {
        geo::visit_conv(&g, |o, i, w| out.accumulate(n * output + o, product(x[0].at(n * input + i), x[1].at(w))));
    }
    if let Some(bias) = x.get(2) {
        (0..shape.len()).for_each(|i| out.accumulate(i, bias.at(i / plane % g.o)));
    }
    out
}

/// `alpha * x` below zero: falling where `alpha` is negative.
fn leaky((lo, hi): Span, alpha: f64) -> Span {
    let f = |v: f64| if v > 0.0 { v } else { alpha * v };
    let least = if lo < 0.0 && hi > 0.0 { f(lo).min(f(hi)).min(0.0) } else { f(lo).min(f(hi)) };
    (least, f(lo).max(f(hi)))
}

fn prelu(x: Span, slope: Span) -> Span {
    let (a, b) = (leaky(x, slope.0), leaky(x, slope.1));
    (a.0.min(b.0), a.1.max(b.1))
}

/// `|x|` where the interval keeps its sign.
fn power_one(lo: f64, hi: f64) -> Span {
    (lo.abs().min(hi.abs()), lo.abs().max(hi.abs()))
}

fn gelu((lo, hi): Span, tanh: bool) -> Span {
    /// Where `x * Phi(x)` is least, for both formulas within 2e-3, and a value below both
    /// minima (-0.16997, -0.17004).
    const LEAST: (f64, f64) = (-0.752, -0.1701);
    let (a, b) = (special::gelu(lo, tanh), special::gelu(hi, tanh));
    let straddles = lo <= LEAST.0 + 0.01 && hi >= LEAST.0 - 0.01 && lo < hi;
    (if straddles { LEAST.1 } else { a.min(b) }, a.max(b))
}

fn max_pool(node: &Node, window: &Window, x: &Real, dims: &[usize]) -> Result<Real, Error> {
    let windows = geo::windows(window, dims, node.shape.dims());
    if windows.iter().any(|taps| taps.iter().all(Option::is_none)) {
        return Err(Error::Domain {
            node: node.name.clone(),
            why: "a window lies entirely in the padding".to_owned(),
            remedy: "use less padding than the window is large".to_owned(),
        });
    }
    let max = |from: &[f64], taps: &Vec<Option<u32>>| {
        taps.iter().flatten().map(|&at| from[at as usize]).fold(f64::NEG_INFINITY, f64::max)
    };
    let over = |from: &[f64]| windows.iter().map(|taps| max(from, taps)).collect();
    Ok(Real { lo: over(&x.lo), hi: over(&x.hi) })
}

fn average_pool(window: &Window, include_pad: bool, x: &Real, dims: &[usize], out: &[usize]) -> Real {
    let by = geo::divisors(window, dims, out, include_pad);
    let windows = geo::windows(window, dims, out);
    let sum = |from: &[f64], taps: &Vec<Option<u32>>| taps.iter().flatten().map(|&at| from[at as usize]).sum::<f64>();
    let over = |from: &[f64]| {
        windows.iter().enumerate().map(|(i, taps)| sum(from, taps) / by[i % by.len()].max(1) as f64).collect()
    };
    Real { lo: over(&x.lo), hi: over(&x.hi) }
}

/// `e^x / (e^x + the others)`, largest where it is high and the others are low.
fn softmax(x: &Real, dims: &[usize], axis: usize) -> Real {
    let (taps, map) = geo::axes_first(dims, &[axis]);
    let rest = map.len() / taps.max(1);
    let mut out = x.clone();
    for r in 0..rest {
        let line: Vec<usize> = (0..taps).map(|t| map[t * rest + r] as usize).collect();
        for &i in &line {
            let others =
                |of: &[f64], own: f64| -> f64 { line.iter().filter(|&&j| j != i).map(|&j| (of[j] - own).exp()).sum() };
            out.lo[i] = 1.0 / (1.0 + others(&x.hi, x.lo[i]));
            out.hi[i] = 1.0 / (1.0 + others(&x.lo, x.hi[i]));
        }
    }
    out
}

fn square_root(node: &Node, x: &Real) -> Result<Real, Error> {
    let least = x.lo.iter().copied().fold(f64::INFINITY, f64::min);
    if least < 0.0 {
        return Err(Error::Domain {
            node: node.name.clone(),
            why: format!("the square root's input may be as low as {least:.3e}"),
            remedy: super::scale::NARROWER.to_owned(),
        });
    }
    Ok(x.rising(f64::sqrt))
}

fn reciprocal(node: &Node, x: &Real) -> Result<Real, Error> {
    match x.pairs().find(|&(lo, hi)| lo <= 0.0 && hi >= 0.0) {
        Some((lo, hi)) => Err(Error::Domain {
            node: node.name.clone(),
            why: format!("the divisor may be zero (it lies in [{lo:.3e}, {hi:.3e}])"),
            remedy: super::scale::NARROWER.to_owned(),
        }),
        None => Ok(x.map(|lo, hi| (1.0 / hi, 1.0 / lo))),
    }
}

fn reduce(kind: Reduction, axes: &[usize], x: &Real, dims: &[usize]) -> Real {
    let (taps, map) = geo::axes_first(dims, axes);
    let rest = map.len().checked_div(taps).unwrap_or(0);
    let column = |from: &[f64], r: usize| (0..taps).map(|t| from[map[t * rest + r] as usize]).collect::<Vec<_>>();
    let fold = |values: Vec<f64>| match kind {
        Reduction::Sum => values.iter().sum(),
        Reduction::Mean => values.iter().sum::<f64>() / taps as f64,
        Reduction::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    };
    let over = |from: &[f64]| (0..rest).map(|r| fold(column(from, r))).collect();
    Real { lo: over(&x.lo), hi: over(&x.hi) }
}

/// The indices whose interval reaches the largest lower end.
fn arg_max(x: &Real, dims: &[usize], axis: usize) -> Real {
    let (taps, map) = geo::axes_first(dims, &[axis]);
    let rest = map.len() / taps.max(1);
    let winners = |r: usize| {
        let at = |t: usize| map[t * rest + r] as usize;
        let sure = (0..taps).map(|t| x.lo[at(t)]).fold(f64::NEG_INFINITY, f64::max);
        let mut can = (0..taps).filter(|&t| x.hi[at(t)] >= sure);
        let first = can.next().unwrap_or(0);
        (first as f64, can.next_back().unwrap_or(first) as f64)
    };
    let (lo, hi) = (0..rest).map(winners).unzip();
    Real { lo, hi }
}

fn concat(graph: &Graph, node: &Node, x: &[Rc<Real>], axis: usize) -> Real {
    let dims: Vec<&[usize]> = node.inputs.iter().map(|&i| graph.nodes[i].shape.dims()).collect();
    let joined = |of: fn(&Real) -> &Vec<f64>| x.iter().flat_map(|r| of(r).iter().copied()).collect();
    Real { lo: joined(|r| &r.lo), hi: joined(|r| &r.hi) }.gather(&geo::interleave(&dims, axis))
}

fn pad(x: &Real, dims: &[usize], pads: &[(usize, usize)], value: f64) -> Real {
    let pick =
        |from: &[f64]| geo::padded(dims, pads).iter().map(|at| at.map_or(value, |at| from[at as usize])).collect();
    Real { lo: pick(&x.lo), hi: pick(&x.hi) }
}
