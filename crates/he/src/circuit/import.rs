//! From the graph's operations to a circuit.

use super::sparse::Sparse;
use super::symbol::Symbol;
use super::{Circuit, Function, Kind, Step, StepId};
use crate::Error;
use subrosa_graph::op::{Conv, Reduction, Window};
use subrosa_graph::{Graph, Node, Op};

/// Most entries that all matrices of a circuit may have together: 2 GiB of them.
const MAX_ENTRIES: usize = 1 << 27;

/// Largest shift that completes a square: beyond, precision would go into cancelling.
const MAX_SHIFT: f64 = 64.0;

pub(super) fn import(graph: &Graph) -> Result<Circuit, Error> {
    let mut importer = Importer { graph, steps: Vec::new(), inputs: Vec::new(), values: Vec::new() };
    for node in &graph.nodes {
        let value = importer.value(node)?;
        importer.values.push(value);
        importer.check_size(node)?;
    }
    let outputs = graph.outputs.iter().map(|&id| importer.materialise(id)).collect::<Vec<_>>();
    let Importer { steps, inputs, .. } = importer;
    Ok(needed(Circuit { steps, inputs, outputs }))
}

struct Importer<'a> {
    graph: &'a Graph,
    steps: Vec<Step>,
    inputs: Vec<StepId>,
    /// One a graph node.
    values: Vec<Symbol>,
}

fn refuse<T>(node: &Node, why: &str, hint: &str) -> Result<T, Error> {
    Err(Error::Unsupported {
        node: node.name.clone(),
        op: op_name(&node.op),
        why: why.to_owned(),
        hint: hint.to_owned(),
    })
}

fn op_name(op: &Op) -> String {
    if let Op::Weight(_) = op {
        return "Weight".to_owned();
    }
    let text = format!("{op:?}");
    text.chars().take_while(char::is_ascii_alphanumeric).collect()
}

impl Importer<'_> {
    /// The value of `graph.nodes[self.values.len()]`.
    fn value(&mut self, node: &Node) -> Result<Symbol, Error> {
        let shape = node.shape.dims().to_vec();
        match &node.op {
            Op::Input => Ok(self.input(node)),
            Op::Weight(t) => Ok(Symbol::constant(t.data().iter().map(|&v| f64::from(v)).collect())),
            Op::MatMul => self.matmul(node),
            Op::Conv(conv) => self.conv(node, conv),
            Op::Add => {
                Ok(self.broadcast(node, 0).plus(&self.broadcast(node, 1))).map(|s| self.completed(s, &node.name))
            }
            Op::Sub => {
                let minus = self.broadcast(node, 1).times(&vec![-1.0; node.shape.len()]);
                let sum = self.broadcast(node, 0).plus(&minus);
                Ok(self.completed(sum, &node.name))
            }
            Op::Mul => self.mul(node),
            Op::Reshape => Ok(self.operand(node, 0).clone()),
            Op::Layout { map } => {
                let map: Vec<usize> = map.iter().map(|&i| i as usize).collect();
                Ok(self.operand(node, 0).gather(&map))
            }
            Op::Transpose { perm } => Ok(self.operand(node, 0).gather(&transposed(self.dims(node, 0), perm))),
            Op::Pad { pads, value } => Ok(self.pad(node, pads, f64::from(*value))),
            Op::Concat { axis } => Ok(self.concat(node, *axis)),
            Op::AveragePool { window, count_include_pad } => {
                let matrix = pool(self.dims(node, 0), &shape, window, *count_include_pad);
                Ok(self.operand(node, 0).map(&matrix))
            }
            Op::Reduce { kind: Reduction::Sum, axes } => Ok(self.reduce(node, axes, false)),
            Op::Reduce { kind: Reduction::Mean, axes } => Ok(self.reduce(node, axes, true)),
            Op::Pow { exponent: 1 } => Ok(self.operand(node, 0).clone()),
            Op::Pow { exponent: 2 } => Ok(self.square(node.inputs[0], &node.name)),
            Op::Pow { exponent } => Ok(self.power(node, *exponent)),
            Op::Relu => Ok(self.function(node, Function::Relu { alpha: 0.0 })),
            Op::LeakyRelu { alpha } => Ok(self.function(node, Function::Relu { alpha: f64::from(*alpha) })),
            Op::Abs => Ok(self.function(node, Function::Abs)),
            Op::Clip { min, max } => {
                Ok(self.function(node, Function::Clip { min: f64::from(*min), max: f64::from(*max) }))
            }
            Op::Sigmoid => Ok(self.function(node, Function::Sigmoid)),
            Op::Tanh => Ok(self.function(node, Function::Tanh)),
            Op::Erf => Ok(self.function(node, Function::Erf)),
            Op::Gelu { .. } => Ok(self.function(node, Function::Gelu)),
            Op::Exp => Ok(self.function(node, Function::Exp)),
            Op::MaxPool(_) => refuse(
                node,
                "a maximum is no polynomial of low degree",
                "retrain with average pooling, or choose another protection (--via rep3)",
            ),
            Op::Softmax { .. } => refuse(
                node,
                "it divides by a secret",
                "export the model without it: whoever gets the logits can apply it, and the order is the same",
            ),
            Op::PRelu
            | Op::Div
            | Op::Max
            | Op::Min
            | Op::Sqrt
            | Op::Reciprocal
            | Op::ArgMax { .. }
            | Op::Reduce { kind: Reduction::Max, .. } => refuse(
                node,
                "it is neither affine nor approximated by a polynomial here",
                "choose another protection (--via rep3)",
            ),
        }
    }

    fn operand(&self, node: &Node, i: usize) -> &Symbol {
        &self.values[node.inputs[i]]
    }

    fn dims(&self, node: &Node, i: usize) -> &[usize] {
        self.graph.nodes[node.inputs[i]].shape.dims()
    }

    fn push(&mut self, name: &str, shape: &[usize], kind: Kind) -> StepId {
        let len = shape.iter().product();
        self.steps.push(Step { name: name.to_owned(), len, shape: shape.to_vec(), kind });
        self.steps.len() - 1
    }

    /// A step with the shape of another.
    fn push_like(&mut self, name: &str, x: StepId, kind: Kind) -> StepId {
        let shape = self.steps[x].shape.clone();
        self.push(name, &shape, kind)
    }

    fn input(&mut self, node: &Node) -> Symbol {
        let id = self.push(&node.name, node.shape.dims(), Kind::Input);
        self.inputs.push(id);
        Symbol::step(id, node.shape.len())
    }

    /// A step that is the value of a graph node; whoever reads the node later reads it.
    fn materialise(&mut self, id: usize) -> StepId {
        let (value, node) = (self.values[id].clone(), &self.graph.nodes[id]);
        let step = self.step_of(&value, node);
        self.values[id] = Symbol::step(step, self.steps[step].len);
        step
    }

    /// A step of this value, which has the node's shape.
    fn step_of(&mut self, value: &Symbol, node: &Node) -> StepId {
        if let Some(step) = value.as_step() {
            return step;
        }
        let terms = value.terms.iter().map(|(&id, a)| (id, a.clone())).collect();
        self.push(&node.name, node.shape.dims(), Kind::Affine { terms, bias: value.bias.clone() })
    }

    fn square(&mut self, of: usize, name: &str) -> Symbol {
        let x = self.materialise(of);
        self.square_of(x, name)
    }

    fn square_of(&mut self, x: StepId, name: &str) -> Symbol {
        Symbol::step(self.push_like(name, x, Kind::Square(x, 0.0)), self.steps[x].len)
    }

    /// `x^e` by squaring and multiplying from the top bit down.
    fn power(&mut self, node: &Node, exponent: u32) -> Symbol {
        let x = self.materialise(node.inputs[0]);
        let len = self.steps[x].len;
        let mut power = x;
        for bit in (0..u32::BITS - 1 - exponent.leading_zeros()).rev() {
            power = self.push_like(&node.name, x, Kind::Square(power, 0.0));
            if exponent >> bit & 1 == 1 {
                power = self.push_like(&node.name, x, Kind::Product(power, x));
            }
        }
        Symbol::step(power, len)
    }

    fn function(&mut self, node: &Node, function: Function) -> Symbol {
        let x = self.materialise(node.inputs[0]);
        Symbol::step(self.push_like(&node.name, x, Kind::Function(x, function)), self.steps[x].len)
    }

    /// Operand `i` repeated as numpy's broadcast asks.
    fn broadcast(&self, node: &Node, i: usize) -> Symbol {
        let (from, to) = (self.dims(node, i), node.shape.dims());
        let value = self.operand(node, i);
        if from.iter().product::<usize>() == node.shape.len() {
            value.clone()
        } else {
            value.gather(&broadcast_map(from, to))
        }
    }

    fn mul(&mut self, node: &Node) -> Result<Symbol, Error> {
        if node.inputs[0] == node.inputs[1] {
            return Ok(self.square(node.inputs[0], &node.name));
        }
        for (constant, other) in [(0, 1), (1, 0)] {
            if self.operand(node, constant).as_constant().is_some() {
                let product = self.broadcast(node, other).times(&self.broadcast(node, constant).bias);
                return Ok(self.completed(product, &node.name));
            }
        }
        let (a, b) = (self.broadcast(node, 0), self.broadcast(node, 1));
        let (a, b) = (self.step_of(&a, node), self.step_of(&b, node));
        let kind = if a == b { Kind::Square(a, 0.0) } else { Kind::Product(a, b) };
        Ok(Symbol::step(self.push(&node.name, node.shape.dims(), kind), node.shape.len()))
    }

    /// `a x^2 + b x + c` with constants as `a (x + b/2a)^2 + (c - b^2/4a)`: the shift joins
    /// the affine step that `x` is.
    fn completed(&mut self, value: Symbol, name: &str) -> Symbol {
        let Some((x, a, b)) = self.quadratic(&value) else { return value };
        let Kind::Affine { terms, bias } = &self.steps[x].kind else { return value };
        let shift: Vec<f64> = a.iter().zip(&b).map(|(a, b)| b / (2.0 * a)).collect();
        if shift.iter().any(|s| s.abs() > MAX_SHIFT) {
            return value;
        }
        let bias = bias.iter().zip(&shift).map(|(bias, s)| bias + s).collect();
        let kind = Kind::Affine { terms: terms.clone(), bias };
        let step_name = self.steps[x].name.clone();
        let shifted = self.push_like(&step_name, x, kind);
        let square = self.square_of(shifted, name);
        let rest = value.bias.iter().zip(a.iter().zip(&shift)).map(|(c, (a, s))| c - a * s * s).collect();
        square.times(&a).plus(&Symbol::constant(rest))
    }

    /// `(x, a, b)` where the value is `a x^2 + b x + c` by elements.
    fn quadratic(&self, value: &Symbol) -> Option<(StepId, Vec<f64>, Vec<f64>)> {
        let [(&x, linear), (&square, quadratic)] = value.terms.iter().collect::<Vec<_>>().try_into().ok()?;
        let squared = matches!(self.steps[square].kind, Kind::Square(of, shift) if of == x && shift == 0.0);
        if !squared {
            return None;
        }
        Some((x, quadratic.diagonal()?, linear.diagonal()?))
    }

    fn matmul(&mut self, node: &Node) -> Result<Symbol, Error> {
        let indices = matmul_indices(self.dims(node, 0), self.dims(node, 1), node.shape.len());
        let (x, w) = (self.operand(node, 0), self.operand(node, 1));
        let (value, matrix) = if let Some(w) = w.as_constant() {
            (x, indices.matrix(x.bias.len(), |(x, y)| (x, w[y])))
        } else if let Some(c) = x.as_constant() {
            (w, indices.matrix(w.bias.len(), |(x, y)| (y, c[x])))
        } else {
            return refuse(node, "it multiplies two secret matrices", "choose another protection (--via rep3)");
        };
        Ok(value.map(&matrix))
    }

    fn conv(&mut self, node: &Node, conv: &Conv) -> Result<Symbol, Error> {
        let constant = |i: usize| self.operand(node, i).as_constant().map(<[f64]>::to_vec);
        let Some(w) = constant(1) else {
            return refuse(node, "its weights are not constant", "choose another protection (--via rep3)");
        };
        let bias = match node.inputs.get(2) {
            Some(_) => constant(2).unwrap_or_default(),
            None => vec![0.0; self.dims(node, 1)[0]],
        };
        let matrix = conv_matrix(self.dims(node, 0), self.dims(node, 1), node.shape.dims(), conv, &w);
        let mut out = self.operand(node, 0).map(&matrix);
        let (channels, area) = (bias.len(), node.shape.dims()[2..].iter().product::<usize>());
        out.bias.iter_mut().enumerate().for_each(|(i, b)| *b += bias[i / area % channels]);
        Ok(out)
    }

    fn pad(&self, node: &Node, pads: &[(usize, usize)], value: f64) -> Symbol {
        let (from, to) = (self.dims(node, 0), node.shape.dims());
        let strides = strides(from);
        let source = |i: usize| {
            let index = unravel(i, to);
            let at = |axis: usize| index[axis].checked_sub(pads[axis].0).filter(|&p| p < from[axis]);
            (0..from.len()).map(|axis| at(axis).map(|p| p * strides[axis])).sum::<Option<usize>>()
        };
        let sources: Vec<Option<usize>> = (0..node.shape.len()).map(source).collect();
        let x = self.operand(node, 0);
        let matrix =
            Sparse::from_rows(x.bias.len(), sources.iter().map(|s| s.iter().map(|&i| (i as u32, 1.0)).collect()));
        let mut out = x.map(&matrix);
        out.bias.iter_mut().zip(&sources).filter(|(_, s)| s.is_none()).for_each(|(b, _)| *b = value);
        out
    }

    fn concat(&self, node: &Node, axis: usize) -> Symbol {
        let to = node.shape.dims();
        let mut sum = Symbol::constant(vec![0.0; node.shape.len()]);
        let mut offset = 0;
        for i in 0..node.inputs.len() {
            let from = self.dims(node, i).to_vec();
            let strides = strides(&from);
            let source = |at: usize| {
                let mut index = unravel(at, to);
                index[axis] = index[axis].checked_sub(offset).filter(|&p| p < from[axis])?;
                Some(index.iter().zip(&strides).map(|(i, s)| i * s).sum::<usize>())
            };
            let rows = (0..node.shape.len()).map(|at| source(at).map(|i| (i as u32, 1.0)).into_iter().collect());
            let x = self.operand(node, i);
            sum = sum.plus(&x.map(&Sparse::from_rows(x.bias.len(), rows)));
            offset += from[axis];
        }
        sum
    }

    fn reduce(&self, node: &Node, axes: &[usize], mean: bool) -> Symbol {
        let (from, to) = (self.dims(node, 0).to_vec(), strides(node.shape.dims()));
        let count: usize = axes.iter().map(|&a| from[a]).product();
        let weight = if mean { 1.0 / count as f64 } else { 1.0 };
        let mut rows = vec![Vec::new(); node.shape.len()];
        for i in 0..from.iter().product() {
            let index = unravel(i, &from);
            let at: usize = (0..from.len()).filter(|a| !axes.contains(a)).map(|a| index[a] * to[a]).sum();
            rows[at].push((i as u32, weight));
        }
        let x = self.operand(node, 0);
        x.map(&Sparse::from_rows(x.bias.len(), rows.into_iter()))
    }

    fn check_size(&self, node: &Node) -> Result<(), Error> {
        let symbol = |s: &Symbol| s.terms.values().map(Sparse::entries).sum::<usize>();
        let last = self.values.last().map_or(0, symbol);
        if last <= MAX_ENTRIES {
            return Ok(());
        }
        refuse(node, "multiplied out, its matrix is too large", "choose another protection (--via rep3)")
    }
}

/// For each output of a matrix product, its pairs of flat operand indices.
struct Products {
    pairs: Vec<Vec<(usize, usize)>>,
}

impl Products {
    fn matrix(&self, cols: usize, entry: impl Fn((usize, usize)) -> (usize, f64)) -> Sparse {
        let row = |pairs: &Vec<(usize, usize)>| pairs.iter().map(|&p| entry(p)).map(|(c, v)| (c as u32, v)).collect();
        Sparse::from_rows(cols, self.pairs.iter().map(row))
    }
}

/// numpy's `matmul`: vectors promoted, leading axes broadcast.
fn matmul_indices(a: &[usize], b: &[usize], len: usize) -> Products {
    let a2: Vec<usize> = if a.len() == 1 { vec![1, a[0]] } else { a.to_vec() };
    let b2: Vec<usize> = if b.len() == 1 { vec![b[0], 1] } else { b.to_vec() };
    let (m, k, n) = (a2[a2.len() - 2], a2[a2.len() - 1], b2[b2.len() - 1]);
    let (lead_a, lead_b) = (&a2[..a2.len() - 2], &b2[..b2.len() - 2]);
    let rank = lead_a.len().max(lead_b.len());
    let dim = |s: &[usize], i: usize| (i + s.len()).checked_sub(rank).map_or(1, |j| s[j]);
    let lead: Vec<usize> = (0..rank).map(|i| dim(lead_a, i).max(dim(lead_b, i))).collect();
    let (map_a, map_b) = (broadcast_map(lead_a, &lead), broadcast_map(lead_b, &lead));
    let output = |i: usize| {
        let (batch, row, col) = (i / (m * n), i / n % m, i % n);
        let (start_a, start_b) = (map_a[batch] * m * k + row * k, map_b[batch] * k * n + col);
        (0..k).map(|j| (start_a + j, start_b + j * n)).collect()
    };
    Products { pairs: (0..len).map(output).collect() }
}

/// Flat index of the operand for each flat index of the result.
fn broadcast_map(from: &[usize], to: &[usize]) -> Vec<usize> {
    let steps = strides(from);
    let skip = to.len() - from.len();
    let source = |i: usize| {
        let index = unravel(i, to);
        (0..from.len()).map(|a| if from[a] == 1 { 0 } else { index[a + skip] * steps[a] }).sum()
    };
    (0..to.iter().product()).map(source).collect()
}

fn transposed(from: &[usize], perm: &[usize]) -> Vec<usize> {
    let steps = strides(from);
    let to: Vec<usize> = perm.iter().map(|&p| from[p]).collect();
    let source = |i: usize| unravel(i, &to).iter().zip(perm).map(|(x, &p)| x * steps[p]).sum();
    (0..from.iter().product()).map(source).collect()
}

fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for i in (1..dims.len()).rev() {
        strides[i - 1] = strides[i] * dims[i];
    }
    strides
}

fn unravel(mut i: usize, dims: &[usize]) -> Vec<usize> {
    let mut index = vec![0; dims.len()];
    for (at, &d) in index.iter_mut().zip(dims).rev() {
        *at = i % d;
        i /= d;
    }
    index
}

fn pool(from: &[usize], to: &[usize], window: &Window, count_include_pad: bool) -> Sparse {
    let (h, w) = (from[2], from[3]);
    let (oh, ow) = (to[2], to[3]);
    let row = |i: usize| {
        let (plane, y, x) = (i / (oh * ow), i / ow % oh, i % ow);
        let taps: Vec<Option<usize>> = window.taps((h, w), (y, x)).collect();
        let inside = taps.iter().flatten().count();
        let count = if count_include_pad { padded_taps(window, (h, w), (y, x)) } else { inside };
        let weight = 1.0 / count.max(1) as f64;
        taps.into_iter().flatten().map(|t| ((plane * h * w + t) as u32, weight)).collect()
    };
    Sparse::from_rows(from.iter().product(), (0..to.iter().product()).map(row))
}

/// Window positions inside the padded image: with `ceil`, a window may reach beyond it.
fn padded_taps(window: &Window, (h, w): (usize, usize), (y, x): (usize, usize)) -> usize {
    let axis =
        |out: usize, k: usize, s: usize, d: usize, size: usize| (0..k).filter(|i| out * s + i * d < size).count();
    let padded = (h + window.pads_begin.0 + window.pads_end.0, w + window.pads_begin.1 + window.pads_end.1);
    axis(y, window.kernel.0, window.strides.0, window.dilations.0, padded.0)
        * axis(x, window.kernel.1, window.strides.1, window.dilations.1, padded.1)
}

fn conv_matrix(from: &[usize], weights: &[usize], to: &[usize], conv: &Conv, w: &[f64]) -> Sparse {
    let (channels, h, width) = (from[1], from[2], from[3]);
    let (out, per_group, taps) = (weights[0], weights[1], weights[2] * weights[3]);
    let (oh, ow) = (to[2], to[3]);
    let out_per_group = out / conv.groups.max(1);
    let row = |i: usize| {
        let (image, o) = (i / (out * oh * ow), i / (oh * ow) % out);
        let (y, x) = (i / ow % oh, i % ow);
        let group = o / out_per_group.max(1);
        let covered: Vec<Option<usize>> = conv.window.taps((h, width), (y, x)).collect();
        let covered = &covered;
        (0..per_group)
            .flat_map(|c| {
                let plane = (image * channels + group * per_group + c) * h * width;
                let start = (o * per_group + c) * taps;
                covered.iter().enumerate().filter_map(move |(t, p)| p.map(|p| ((plane + p) as u32, w[start + t])))
            })
            .collect()
    };
    Sparse::from_rows(from.iter().product(), (0..to.iter().product()).map(row))
}

/// The steps that the outputs need, and the inputs.
pub(super) fn needed(circuit: Circuit) -> Circuit {
    let Circuit { steps, inputs, outputs } = circuit;
    let mut keep = vec![false; steps.len()];
    outputs.iter().chain(&inputs).for_each(|&id| keep[id] = true);
    for &id in &outputs {
        mark(&steps, id, &mut keep);
    }
    let mut renamed = vec![0; steps.len()];
    let mut kept = Vec::new();
    for (id, mut step) in steps.into_iter().enumerate().filter(|(id, _)| keep[*id]) {
        step.kind = match step.kind {
            Kind::Input => Kind::Input,
            Kind::Affine { terms, bias } => {
                Kind::Affine { terms: terms.into_iter().map(|(x, a)| (renamed[x], a)).collect(), bias }
            }
            Kind::Square(x, shift) => Kind::Square(renamed[x], shift),
            Kind::Product(x, y) => Kind::Product(renamed[x], renamed[y]),
            Kind::Combine { base, terms, bias } => Kind::Combine {
                base: renamed[base],
                terms: terms.into_iter().map(|(x, f)| (renamed[x], f)).collect(),
                bias,
            },
            Kind::Function(x, f) => Kind::Function(renamed[x], f),
        };
        renamed[id] = kept.len();
        kept.push(step);
    }
    let rename = |ids: Vec<StepId>| ids.into_iter().map(|id| renamed[id]).collect();
    Circuit { steps: kept, inputs: rename(inputs), outputs: rename(outputs) }
}

fn mark(steps: &[Step], id: StepId, keep: &mut [bool]) {
    let mut open = vec![id];
    while let Some(id) = open.pop() {
        keep[id] = true;
        let mut visit = |x: StepId| {
            if !keep[x] {
                keep[x] = true;
                open.push(x);
            }
        };
        steps[id].operands().into_iter().for_each(&mut visit);
    }
}
