//! What becomes simpler once the whole graph is known: constants absorbed into the linear
//! operation before them, GELU recognised in the pieces that exporters write, and
//! everything unused left out.
//!
//! Protected arithmetic pays for each product and each nonlinear function, so these are
//! no mere tidiness.

use super::builder::broadcast;
use super::gelu;
use crate::op::{Graph, Node, Op, ValueId};
use subrosa_core::{Shape, Tensor};

/// The graph with all of the above done.
pub(crate) fn fuse(graph: Graph) -> Graph {
    let weights = graph.nodes.iter().filter(|n| matches!(n.op, Op::Weight(_))).map(|n| n.shape.len());
    let grant = weights.sum::<usize>().saturating_mul(2).saturating_add(1 << 20);
    let mut fuser = Fuser { nodes: Vec::new(), uses: Vec::new(), grant };
    let uses = uses(&graph);
    let mut now = Vec::with_capacity(graph.nodes.len());
    for (mut node, uses) in graph.nodes.into_iter().zip(uses) {
        node.inputs.iter_mut().for_each(|i| *i = now[*i]);
        now.push(fuser.add(node, uses));
    }
    let renamed = |ids: &[ValueId]| ids.iter().map(|&i| now[i]).collect();
    prune(Graph { inputs: renamed(&graph.inputs), outputs: renamed(&graph.outputs), nodes: fuser.nodes })
}

/// How often each value is read.
fn uses(graph: &Graph) -> Vec<usize> {
    let mut uses = vec![0; graph.nodes.len()];
    graph.nodes.iter().flat_map(|n| &n.inputs).chain(&graph.outputs).for_each(|&i| uses[i] += 1);
    uses
}

/// Leaves out what no output depends on; inputs stay.
fn prune(graph: Graph) -> Graph {
    let mut live = vec![false; graph.nodes.len()];
    graph.inputs.iter().chain(&graph.outputs).for_each(|&i| live[i] = true);
    for id in (0..graph.nodes.len()).rev().filter(|&id| !matches!(graph.nodes[id].op, Op::Input)) {
        if live[id] {
            graph.nodes[id].inputs.iter().for_each(|&i| live[i] = true);
        }
    }
    let mut now = vec![0; live.len()];
    let mut nodes: Vec<Node> = Vec::new();
    for (id, mut node) in graph.nodes.into_iter().enumerate().filter(|(id, _)| live[*id]) {
        node.inputs.iter_mut().for_each(|i| *i = now[*i]);
        now[id] = nodes.len();
        nodes.push(node);
    }
    let renamed = |ids: Vec<ValueId>| ids.into_iter().map(|i| now[i]).collect();
    Graph { inputs: renamed(graph.inputs), outputs: renamed(graph.outputs), nodes }
}

/// A factor passes through so many sums at most: whoever makes the file chooses how many there are.
const MOST_SUMS: usize = 64;

/// Rebuilds the graph node by node. What a rule replaces stays behind unused.
struct Fuser {
    nodes: Vec<Node>,
    uses: Vec<usize>,
    /// Elements that rewritten weights may still have: a chain of factors behind large
    /// weights would rewrite them again and again.
    grant: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Affine {
    Mul,
    Add,
}

impl Fuser {
    /// Adds a node that is read `uses` times, or what replaces it.
    fn add(&mut self, node: Node, uses: usize) -> ValueId {
        let id = self.replacement(&node).unwrap_or_else(|| self.push(node));
        self.uses[id] = uses;
        id
    }

    fn replacement(&mut self, node: &Node) -> Option<ValueId> {
        let &[a, b] = node.inputs.as_slice() else { return None };
        let (x, c) = if self.is_weight(b) { (a, b) } else { (b, a) };
        if matches!(node.op, Op::Mul) {
            self.absorb(x, c, Affine::Mul, &node.shape).or_else(|| self.gelu(node))
        } else if matches!(node.op, Op::Add) {
            self.absorb(x, c, Affine::Add, &node.shape)
        } else if matches!(node.op, Op::Sub) && self.is_weight(b) {
            let negated = self.constant(b)?.map(|v| -v)?;
            self.absorb_linear(a, &negated, Affine::Add, &node.shape, 0)
        } else {
            None
        }
    }

    fn push(&mut self, node: Node) -> ValueId {
        self.nodes.push(node);
        self.uses.push(1);
        self.nodes.len() - 1
    }

    fn gelu(&mut self, node: &Node) -> Option<ValueId> {
        let (x, tanh) = gelu::recognise(&self.nodes, node)?;
        Some(self.push(Node { op: Op::Gelu { tanh }, inputs: vec![x], ..node.clone() }))
    }

    fn absorb(&mut self, x: ValueId, c: ValueId, affine: Affine, shape: &Shape) -> Option<ValueId> {
        if !self.can_absorb(x, shape) {
            return None;
        }
        let constant = self.constant(c)?;
        self.absorb_linear(x, &constant, affine, shape, 0)
    }

    /// Whether the shape stays and nothing else reads `x`.
    fn can_absorb(&self, x: ValueId, shape: &Shape) -> bool {
        let linear = matches!(self.nodes[x].op, Op::Conv(_) | Op::MatMul | Op::Add | Op::Reshape);
        linear && self.uses[x] == 1 && self.nodes[x].shape == *shape
    }

    /// `x * c` or `x + c`, done in the constants of the linear operation at `x`, which `depth` sums lie above.
    fn absorb_linear(
        &mut self,
        x: ValueId,
        c: &Constant,
        affine: Affine,
        shape: &Shape,
        depth: usize,
    ) -> Option<ValueId> {
        if depth > MOST_SUMS || !self.can_absorb(x, shape) {
            return None;
        }
        let node = self.nodes[x].clone();
        if matches!(node.op, Op::Conv(_)) {
            self.absorb_conv(&node, c, affine)
        } else if matches!(node.op, Op::MatMul) && affine == Affine::Mul {
            self.absorb_columns(&node, c)
        } else if matches!(node.op, Op::Add) {
            self.absorb_sum(&node, c, affine, depth)
        } else if matches!(node.op, Op::Reshape) {
            self.through_height(&node, c, affine)
        } else {
            None
        }
    }

    /// A factor or summand for each output channel.
    fn absorb_conv(&mut self, conv: &Node, c: &Constant, affine: Affine) -> Option<ValueId> {
        let channels = *conv.shape.dims().get(1)?;
        let c = c.along(conv.shape.rank(), 1, channels)?;
        let bias = match conv.inputs.get(2) {
            Some(&bias) => self.constant(bias)?,
            None => Constant { data: vec![0.0; channels], ..c.clone() },
        };
        let mut inputs = conv.inputs[..2].to_vec();
        if affine == Affine::Mul {
            let kernel = self.constant(inputs[1])?;
            let run = kernel.data.len() / channels;
            let scaled = kernel.combine(|i| c.data[i / run], |w, f| w * f)?;
            inputs[1] = self.weight(scaled)?;
        }
        let bias = bias.combine(|i| c.data[i], affine.function())?;
        inputs.push(self.weight(bias)?);
        Some(self.push(Node { inputs, ..conv.clone() }))
    }

    /// A factor for each column of a matrix of weights.
    fn absorb_columns(&mut self, product: &Node, c: &Constant) -> Option<ValueId> {
        let weights = self.constant(product.inputs[1])?;
        let &[_, columns] = weights.shape.dims() else { return None };
        let rank = product.shape.rank();
        let c = c.along(rank, rank.checked_sub(1)?, columns)?;
        let scaled = weights.combine(|i| c.data[i % columns], |w, f| w * f)?;
        let weights = self.weight(scaled)?;
        Some(self.push(Node { inputs: vec![product.inputs[0], weights], ..product.clone() }))
    }

    /// `(y + d) + c = y + (d + c)`, and `(y + d) * c = y * c + d * c` where `y` is linear.
    fn absorb_sum(&mut self, sum: &Node, c: &Constant, affine: Affine, depth: usize) -> Option<ValueId> {
        let &[a, b] = sum.inputs.as_slice() else { return None };
        let (mut y, d) = if self.is_weight(b) { (a, b) } else { (b, a) };
        let d = self.constant(d)?.broadcast_with(c, affine.function())?;
        if affine == Affine::Mul {
            y = self.absorb_linear(y, c, affine, &sum.shape, depth + 1)?;
        }
        let d = self.weight(d)?;
        Some(self.push(Node { inputs: vec![y, d], ..sum.clone() }))
    }

    /// A 1-d convolution is one of height 1, reshaped from `[n, c, 1, w]` to `[n, c, w]`.
    fn through_height(&mut self, reshape: &Node, c: &Constant, affine: Affine) -> Option<ValueId> {
        let below = *reshape.inputs.first()?;
        let conv = self.nodes[below].clone();
        let &[n, o, 1, w] = conv.shape.dims() else { return None };
        let lifted = matches!(conv.op, Op::Conv(_)) && reshape.shape.dims() == [n, o, w];
        if !lifted || self.uses[below] != 1 {
            return None;
        }
        let mut c = c.along(3, 1, o)?;
        c.shape = Shape::new([o, 1, 1]).ok()?;
        let conv = self.absorb_conv(&conv, &c, affine)?;
        Some(self.push(Node { inputs: vec![conv], ..reshape.clone() }))
    }

    fn is_weight(&self, id: ValueId) -> bool {
        matches!(self.nodes[id].op, Op::Weight(_))
    }

    fn constant(&self, id: ValueId) -> Option<Constant> {
        let node = &self.nodes[id];
        let Op::Weight(t) = &node.op else { return None };
        Some(Constant { name: node.name.clone(), shape: node.shape.clone(), data: t.data().to_vec() })
    }

    fn weight(&mut self, c: Constant) -> Option<ValueId> {
        self.grant = self.grant.checked_sub(c.data.len())?;
        let tensor = Tensor::new(c.shape.clone(), c.data).ok()?;
        Some(self.push(Node { name: c.name, op: Op::Weight(tensor), inputs: Vec::new(), shape: c.shape }))
    }
}

impl Affine {
    fn function(self) -> fn(f64, f64) -> f64 {
        match self {
            Self::Mul => |a, b| a * b,
            Self::Add => |a, b| a + b,
        }
    }
}

/// A weight of the graph, being worked on.
#[derive(Clone)]
struct Constant {
    name: String,
    shape: Shape,
    data: Vec<f32>,
}

impl Constant {
    fn map(self, f: impl Fn(f64) -> f64) -> Option<Self> {
        self.combine(|_| 0.0, |a, _| f(a))
    }

    /// Each element combined with another number; none if a result is not finite.
    fn combine(mut self, other: impl Fn(usize) -> f32, f: impl Fn(f64, f64) -> f64) -> Option<Self> {
        for (i, v) in self.data.iter_mut().enumerate() {
            *v = f(f64::from(*v), f64::from(other(i))) as f32;
        }
        self.data.iter().all(|v| v.is_finite()).then_some(self)
    }

    /// The vector of `n` that this is when broadcast into a tensor of `rank`, if it
    /// differs along `axis` only.
    fn along(&self, rank: usize, axis: usize, n: usize) -> Option<Self> {
        let lead = rank.checked_sub(self.shape.rank())?;
        let elsewhere = self.shape.dims().iter().enumerate().filter(|(i, _)| i + lead != axis);
        if elsewhere.into_iter().any(|(_, &d)| d != 1) {
            return None;
        }
        let data = match self.data.len() {
            1 => vec![self.data[0]; n],
            len if len == n => self.data.clone(),
            _ => return None,
        };
        Some(Self { name: self.name.clone(), shape: Shape::vector(n), data })
    }

    /// numpy's broadcast of two constants of which one has the result's shape.
    fn broadcast_with(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Option<Self> {
        let shape = Shape::new(broadcast(self.shape.dims(), other.shape.dims()).ok()?).ok()?;
        if shape.len() != self.data.len().max(other.data.len()) {
            return None;
        }
        let (a, b) = (positions(&self.shape, &shape), positions(&other.shape, &shape));
        let data = a.iter().map(|&i| self.data[i]).collect();
        Self { name: self.name.clone(), shape, data }.combine(|i| other.data[b[i]], f)
    }
}

/// For each element of `to`, the element of `from` that broadcast puts there.
fn positions(from: &Shape, to: &Shape) -> Vec<usize> {
    let lead = to.rank() - from.rank();
    let mut positions = vec![0];
    for (axis, &d) in to.dims().iter().enumerate() {
        let (size, stride) = match axis.checked_sub(lead) {
            Some(a) => (from.dims()[a], from.strides()[a]),
            None => (1, 0),
        };
        let step = |i: usize| if size == 1 { 0 } else { i * stride };
        positions = positions.iter().flat_map(|&base| (0..d).map(move |i| base + step(i))).collect();
    }
    positions
}
