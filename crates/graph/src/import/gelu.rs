//! Recognises GELU in the multiplications, sums and Erf or Tanh that exporters write for
//! it.
//!
//! There are many ways to write `x * 0.5 * (1 + erf(x / sqrt 2))`. Rather than list them,
//! the candidate is evaluated as a function of one number and compared with GELU.

use crate::op::{Node, Op, ValueId};

/// Nodes a written-out GELU has at most (constants not counted), and some.
const MAX_STEPS: usize = 24;
/// Points of comparison: the function is told apart by its shape near zero.
const POINTS: [f64; 9] = [-3.1, -1.7, -0.9, -0.3, 0.1, 0.6, 1.2, 2.3, 3.6];
/// Constants in files are rounded to about 1e-7 (PyTorch writes 1.4142135).
const TOLERANCE: f64 = 1e-5;

/// The argument of the GELU that `root` computes, and whether it is the tanh formula.
pub(crate) fn recognise(nodes: &[Node], root: &Node) -> Option<(ValueId, bool)> {
    let gate = find_gate(nodes, root)?;
    let tanh = matches!(nodes[gate].op, Op::Tanh);
    let candidates = arguments(nodes, nodes[gate].inputs[0]);
    let same = |x: ValueId| {
        nodes[x].shape == root.shape
            && POINTS.iter().all(|&p| {
                let value = Evaluation { nodes, argument: x, at: p, steps: 0 }.node(root);
                value.is_some_and(|v| (v - gelu(p, tanh)).abs() < TOLERANCE)
            })
    };
    candidates.into_iter().find(|&x| same(x)).map(|x| (x, tanh))
}

fn gelu(x: f64, tanh: bool) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
    0.5 * x * (1.0 + if tanh { inner.tanh() } else { erf(x / 2f64.sqrt()) })
}

/// The Erf or Tanh next to the root: behind products and sums.
fn find_gate(nodes: &[Node], root: &Node) -> Option<ValueId> {
    let mut open: Vec<ValueId> = root.inputs.clone();
    for _ in 0..MAX_STEPS {
        let id = open.pop()?;
        if matches!(nodes[id].op, Op::Erf | Op::Tanh) {
            return Some(id);
        }
        if matches!(nodes[id].op, Op::Mul | Op::Add) {
            open.extend(&nodes[id].inputs);
        }
    }
    None
}

/// Values that the gate's input may be a function of: what its products and sums read.
fn arguments(nodes: &[Node], gate: ValueId) -> Vec<ValueId> {
    let mut found = Vec::new();
    let mut open = vec![gate];
    while let Some(id) = open.pop() {
        if found.len() < MAX_STEPS && !matches!(nodes[id].op, Op::Weight(_)) && !found.contains(&id) {
            found.push(id);
            if matches!(nodes[id].op, Op::Mul | Op::Add | Op::Pow { .. }) {
                open.extend(&nodes[id].inputs);
            }
        }
    }
    found
}

/// A graph's value as a function of one number.
struct Evaluation<'a> {
    nodes: &'a [Node],
    argument: ValueId,
    at: f64,
    steps: usize,
}

impl Evaluation<'_> {
    fn value(&mut self, id: ValueId) -> Option<f64> {
        if id == self.argument {
            return Some(self.at);
        }
        self.node(&self.nodes[id])
    }

    fn node(&mut self, node: &Node) -> Option<f64> {
        self.steps += 1;
        if self.steps > 2 * MAX_STEPS {
            return None;
        }
        if let Op::Weight(t) = &node.op {
            return (t.data().len() == 1).then(|| f64::from(t.data()[0]));
        }
        let x = self.value(*node.inputs.first()?)?;
        let second = node.inputs.get(1).copied();
        if matches!(node.op, Op::Mul) {
            Some(x * self.value(second?)?)
        } else if matches!(node.op, Op::Add) {
            Some(x + self.value(second?)?)
        } else if let Op::Pow { exponent } = node.op {
            Some(x.powi(exponent as i32))
        } else if matches!(node.op, Op::Erf) {
            Some(erf(x))
        } else {
            matches!(node.op, Op::Tanh).then(|| x.tanh())
        }
    }
}

/// Maclaurin series of the error function, exact to 1e-13 for |x| < 4.
fn erf(x: f64) -> f64 {
    let mut term = x;
    let mut sum = x;
    for n in 1..120 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}
