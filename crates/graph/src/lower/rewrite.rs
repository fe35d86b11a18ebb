//! What is changed in the graph before it is lowered.

use super::arity;
use crate::{Error, Graph, Node, Op, Reveal};

/// The graph to lower: checked, with an argmax appended where only the label is revealed,
/// and with each max-pool before the ReLU that feeds it.
///
/// **Errors:** [`Error::Malformed`] for an inconsistent graph, and where a label is asked
/// of a model that has not exactly one output.
pub(super) fn prepare(graph: &Graph, reveal: Reveal) -> Result<Graph, Error> {
    check(graph)?;
    let mut graph = graph.clone();
    if reveal == Reveal::Label {
        append_argmax(&mut graph)?;
    }
    pool_first(&mut graph);
    Ok(graph)
}

/// `max` commutes with the rising ReLU, and a window has fewer results than elements: the
/// two exchange their operations.
fn pool_first(graph: &mut Graph) {
    let uses = graph.uses();
    for pool in 0..graph.nodes.len() {
        let Op::MaxPool(window) = graph.nodes[pool].op else { continue };
        let relu = graph.nodes[pool].inputs[0];
        if uses[relu] == 1 && matches!(graph.nodes[relu].op, Op::Relu) {
            graph.nodes[relu].op = Op::MaxPool(window);
            graph.nodes[relu].shape = graph.nodes[pool].shape.clone();
            graph.nodes[pool].op = Op::Relu;
            let (a, b) = (graph.nodes[relu].name.clone(), graph.nodes[pool].name.clone());
            (graph.nodes[relu].name, graph.nodes[pool].name) = (b, a);
        }
    }
}

fn append_argmax(graph: &mut Graph) -> Result<(), Error> {
    let &[output] = graph.outputs.as_slice() else {
        let n = graph.outputs.len();
        return Err(Error::Malformed(format!(
            "only the label of a model with one output can be revealed, this has {n}"
        )));
    };
    let mut dims = graph.nodes[output].shape.dims().to_vec();
    let Some(last) = dims.last_mut() else {
        return Err(Error::Malformed("a single number has no label; reveal the output itself".to_owned()));
    };
    *last = 1;
    let axis = dims.len() - 1;
    let shape = super::geometry::shape(dims)?;
    graph.nodes.push(Node { name: "label".to_owned(), op: Op::ArgMax { axis }, inputs: vec![output], shape });
    graph.outputs = vec![graph.nodes.len() - 1];
    Ok(())
}

/// What the passes rely on: operands come earlier and in the right number, tensors and
/// maps have the sizes they claim.
fn check(graph: &Graph) -> Result<(), Error> {
    let wrong = |node: &Node, what: &str| Err(Error::Malformed(format!("node '{}': {what}", node.name)));
    for (id, node) in graph.nodes.iter().enumerate() {
        if node.inputs.iter().any(|&input| input >= id) {
            return wrong(node, "reads a value that is made later");
        }
        if !arity(&node.op).contains(&node.inputs.len()) {
            return wrong(node, "has the wrong number of inputs");
        }
        if !sizes_agree(graph, node) {
            return wrong(node, "has a shape that does not follow from its inputs'");
        }
    }
    let known = |id: &usize| *id < graph.nodes.len();
    let inputs = graph.inputs.iter().all(|id| known(id) && matches!(graph.nodes[*id].op, Op::Input));
    if !inputs || !graph.outputs.iter().all(known) {
        return Err(Error::Malformed("the model's inputs or outputs are not among its values".to_owned()));
    }
    Ok(())
}

fn sizes_agree(graph: &Graph, node: &Node) -> bool {
    let input = |i: usize| &graph.nodes[node.inputs[i]].shape;
    match &node.op {
        Op::Weight(tensor) => tensor.shape() == &node.shape,
        Op::Layout { map } => map.len() == node.shape.len() && map.iter().all(|&at| (at as usize) < input(0).len()),
        Op::Reshape => input(0).len() == node.shape.len(),
        Op::Transpose { perm } => is_permutation(perm, input(0).rank()) && input(0).len() == node.shape.len(),
        Op::Pad { pads, .. } => pads.len() == input(0).rank(),
        Op::Softmax { axis } | Op::ArgMax { axis } => *axis < input(0).rank(),
        Op::Concat { axis } => (0..node.inputs.len()).all(|i| *axis < input(i).rank()),
        Op::Reduce { axes, .. } => axes.iter().all(|&axis| axis < input(0).rank()),
        Op::MaxPool(_) | Op::AveragePool { .. } => input(0).rank() == 4 && node.shape.rank() == 4,
        Op::Conv(conv) => conv.groups > 0 && input(0).rank() == 4 && input(1).rank() == 4 && node.shape.rank() == 4,
        Op::MatMul => input(0).rank() > 0 && input(1).rank() > 0,
        Op::Add | Op::Sub | Op::Mul | Op::Div | Op::PRelu | Op::Max | Op::Min => {
            (0..2).all(|i| broadcasts(input(i).dims(), node.shape.dims()))
        }
        Op::Input => true,
        Op::Relu
        | Op::LeakyRelu { .. }
        | Op::Clip { .. }
        | Op::Abs
        | Op::Sigmoid
        | Op::Tanh
        | Op::Erf
        | Op::Gelu { .. }
        | Op::Exp
        | Op::Sqrt
        | Op::Reciprocal
        | Op::Pow { .. } => input(0).len() == node.shape.len(),
    }
}

fn broadcasts(from: &[usize], to: &[usize]) -> bool {
    from.len() <= to.len() && from.iter().rev().zip(to.iter().rev()).all(|(&f, &t)| f == t || f == 1)
}

fn is_permutation(perm: &[usize], rank: usize) -> bool {
    let mut seen = vec![false; rank];
    perm.iter().for_each(|&axis| seen.get_mut(axis).into_iter().for_each(|s| *s = true));
    perm.len() == rank && seen.into_iter().all(|s| s)
}
