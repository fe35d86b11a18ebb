//! Grows a [`Graph`](crate::Graph) one node at a time, within limits.

use super::constant::Constant;
use super::text;
use crate::op::{Node, Op, ValueId};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use subrosa_core::{Shape, Tensor};

/// Most elements of all activations of one sample together: 1 GiB of floats.
const MAX_ACTIVATIONS: usize = 1 << 28;
/// Most elements that the index maps of all [`Op::Layout`] together may have.
const MAX_MAPS: usize = 1 << 25;

/// Most numbers that the windows of a pool, or the operands of one matrix product, are gathered into.
const MAX_GATHERED: usize = 1 << 25;

/// Highest rank, far above any model's: some work grows with its square.
pub(crate) const MAX_RANK: usize = 32;

/// Why one ONNX node cannot be imported.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    /// It asks for something that is not supported; import goes on to find others.
    Unsupported { why: String, hint: Option<String> },
    /// It contradicts the ONNX standard or exceeds a limit.
    Malformed(String),
}

impl Fault {
    /// The reason alone.
    pub(crate) fn why(&self) -> &str {
        match self {
            Self::Unsupported { why, .. } | Self::Malformed(why) => why,
        }
    }
}

/// Shorthand for [`Fault::Unsupported`] without a hint.
pub(crate) fn unsupported<T>(why: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Unsupported { why: why.into(), hint: None })
}

/// [`Fault::Unsupported`] with a way out.
pub(crate) fn unsupported_hint<T>(why: impl Into<String>, hint: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Unsupported { why: why.into(), hint: Some(hint.into()) })
}

/// Shorthand for [`Fault::Malformed`].
pub(crate) fn malformed<T>(why: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Malformed(why.into()))
}

/// What an ONNX value name stands for.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Known without running the model.
    Const(Constant),
    /// Computed from the model's inputs.
    Node(ValueId),
    /// The result of an unsupported node.
    Unknown,
}

/// The graph so far.
#[derive(Default)]
pub(crate) struct Builder {
    pub(crate) nodes: Vec<Node>,
    /// Whether axis 0 of the model's inputs is a batch.
    pub(crate) batched: bool,
    /// ONNX name of the node being imported.
    name: String,
    weights: HashMap<(Arc<str>, Vec<usize>), ValueId>,
    /// Elements that weights may still have.
    grant: usize,
    indices: HashSet<ValueId>,
    activations: usize,
    maps: usize,
}

impl Builder {
    /// For a file of so many bytes, whose inputs have a batch axis or not.
    pub(crate) fn new(bytes: usize, batched: bool) -> Self {
        // Weights are copied where they are transposed or scaled: a few times at most.
        Self { batched, grant: bytes.saturating_mul(2).saturating_add(1 << 24), ..Self::default() }
    }

    /// Names the nodes emitted from here on.
    pub(crate) fn enter(&mut self, onnx_name: &str) {
        self.name = text::name(onnx_name);
    }

    /// Shape of a value.
    pub(crate) fn dims(&self, x: ValueId) -> &[usize] {
        self.nodes[x].shape.dims()
    }

    /// Number of elements of a value.
    pub(crate) fn len(&self, x: ValueId) -> usize {
        self.nodes[x].shape.len()
    }

    /// Whether a value is an index found by an ArgMax, perhaps rearranged.
    pub(crate) fn is_index(&self, x: ValueId) -> bool {
        self.indices.contains(&x)
    }

    /// Appends a node of the given output shape.
    pub(crate) fn emit(&mut self, op: Op, inputs: Vec<ValueId>, dims: Vec<usize>) -> Result<ValueId, Fault> {
        let shape = self.claim(dims)?;
        let moved = matches!(op, Op::Reshape | Op::Transpose { .. } | Op::Layout { .. });
        if matches!(op, Op::ArgMax { .. }) || moved && inputs.first().is_some_and(|&x| self.is_index(x)) {
            self.indices.insert(self.nodes.len());
        }
        self.nodes.push(Node { name: self.name.clone(), op, inputs, shape });
        Ok(self.nodes.len() - 1)
    }

    /// Appends a node with the shape of its (first) input.
    pub(crate) fn unary(&mut self, op: Op, x: ValueId) -> Result<ValueId, Fault> {
        let dims = self.dims(x).to_vec();
        self.emit(op, vec![x], dims)
    }

    /// Appends an elementwise node of two inputs under numpy's broadcast.
    pub(crate) fn binary(&mut self, op: Op, x: ValueId, y: ValueId) -> Result<ValueId, Fault> {
        let dims = broadcast(self.dims(x), self.dims(y))?;
        self.emit(op, vec![x, y], dims)
    }

    /// The same elements under other dimensions; nothing is emitted if they are equal.
    pub(crate) fn reshape(&mut self, x: ValueId, dims: Vec<usize>) -> Result<ValueId, Fault> {
        if self.dims(x) == dims {
            return Ok(x);
        }
        let (from, to) = (self.len(x), checked(dims.clone())?.len());
        if from != to {
            return malformed(format!("cannot reshape {} to {dims:?}", self.nodes[x].shape));
        }
        self.emit(Op::Reshape, vec![x], dims)
    }

    /// Axes permuted; nothing is emitted for the identity.
    pub(crate) fn transpose(&mut self, x: ValueId, perm: Vec<usize>) -> Result<ValueId, Fault> {
        if perm.iter().enumerate().all(|(i, &p)| i == p) {
            return Ok(x);
        }
        let dims = perm.iter().map(|&p| self.dims(x)[p]).collect();
        self.emit(Op::Transpose { perm }, vec![x], dims)
    }

    /// Output axis `i` is the input's axis `i` at the positions `picks[i]`, in their
    /// order; `None` keeps an axis. Nothing is emitted for the identity.
    pub(crate) fn pick(&mut self, x: ValueId, picks: &[Option<Vec<usize>>]) -> Result<ValueId, Fault> {
        let view = self.dims(x).to_vec();
        let dims = view.iter().zip(picks).map(|(&d, p)| p.as_ref().map_or(d, Vec::len)).collect();
        self.layout(x, &view, picks, dims)
    }

    /// As [`Self::pick`] on the input seen under the dimensions `view`, with a result of
    /// other dimensions but as many elements.
    pub(crate) fn layout(
        &mut self,
        x: ValueId,
        view: &[usize],
        picks: &[Option<Vec<usize>>],
        dims: Vec<usize>,
    ) -> Result<ValueId, Fault> {
        if view.iter().zip(picks).all(|(&d, pick)| pick.as_ref().is_none_or(|p| p.iter().copied().eq(0..d))) {
            return self.reshape(x, dims);
        }
        self.claim_map(&dims)?;
        let view = checked(view.to_vec())?;
        let whole: Vec<Vec<usize>> =
            view.dims().iter().zip(picks).map(|(&d, p)| p.clone().unwrap_or_else(|| (0..d).collect())).collect();
        let map = flat_picks(&whole, &view.strides());
        self.emit(Op::Layout { map }, vec![x], dims)
    }

    /// The node that holds a constant of the file.
    pub(crate) fn weight(&mut self, constant: &Constant) -> Result<ValueId, Fault> {
        let key = (Arc::clone(&constant.name), constant.dims.clone());
        if let Some(&id) = self.weights.get(&key) {
            return Ok(id);
        }
        self.check_grant(&constant.name, constant.len())?;
        let values = constant.floats().as_ref().clone();
        let id = self.tensor(&constant.name, constant.dims.clone(), values)?;
        self.weights.insert(key, id);
        Ok(id)
    }

    /// Refuses to copy weights over and over. Asked before a copy is made.
    pub(crate) fn check_grant(&self, name: &str, len: usize) -> Result<(), Fault> {
        match len <= self.grant {
            true => Ok(()),
            false => malformed(format!("the weights are used so often ('{name}') that they outgrow the file by far")),
        }
    }

    /// A weight made here: folded, transposed or negated. `name` is the constant it came
    /// from.
    pub(crate) fn tensor(&mut self, name: &str, dims: Vec<usize>, values: Vec<f32>) -> Result<ValueId, Fault> {
        if let Some(bad) = values.iter().find(|x| !x.is_finite()) {
            return malformed(format!("the weight '{name}' contains {bad}; every weight must be a finite number"));
        }
        if values.is_empty() {
            return malformed(format!("the weight '{name}' has no elements"));
        }
        self.check_grant(name, values.len())?;
        self.grant -= values.len();
        let shape = checked(dims)?;
        let tensor = Tensor::new(shape.clone(), values).map_err(|e| Fault::Malformed(e.to_string()))?;
        self.nodes.push(Node { name: text::name(name), op: Op::Weight(tensor), inputs: Vec::new(), shape });
        Ok(self.nodes.len() - 1)
    }

    /// A scalar weight that belongs to the current node.
    pub(crate) fn scalar(&mut self, value: f32) -> Result<ValueId, Fault> {
        let name = self.name.clone();
        self.tensor(&name, Vec::new(), vec![value])
    }

    /// Accounts for an activation.
    fn claim(&mut self, dims: Vec<usize>) -> Result<Shape, Fault> {
        let shape = checked(dims)?;
        if shape.len() == 0 {
            return malformed(format!("its result of shape {shape} has no elements"));
        }
        self.activations = self.activations.saturating_add(shape.len());
        if self.activations > MAX_ACTIVATIONS {
            return malformed(format!(
                "with its result of shape {shape}, one sample takes more than {MAX_ACTIVATIONS} numbers"
            ));
        }
        Ok(shape)
    }

    /// Accounts for an index map before it is made.
    fn claim_map(&mut self, dims: &[usize]) -> Result<(), Fault> {
        let shape = checked(dims.to_vec())?;
        self.maps = self.maps.saturating_add(shape.len());
        if self.maps > MAX_MAPS {
            return malformed(format!("it rearranges {} numbers; all such nodes together may have {MAX_MAPS}", shape));
        }
        Ok(())
    }

    /// Refuses a node that gathers more numbers at once than a sample may have: `each` for every one of
    /// `results`.
    pub(crate) fn check_gathered(&self, results: usize, each: usize) -> Result<(), Fault> {
        match results.checked_mul(each).is_some_and(|n| n <= MAX_GATHERED) {
            true => Ok(()),
            false => {
                malformed(format!("it gathers {each} numbers for each of {results}, beyond {MAX_GATHERED} in all"))
            }
        }
    }
}

/// A shape within limits of size and rank.
fn checked(dims: Vec<usize>) -> Result<Shape, Fault> {
    if dims.len() > MAX_RANK {
        return malformed(format!("a tensor of rank {} is not supported", dims.len()));
    }
    Shape::new(dims).map_err(|e| Fault::Malformed(e.to_string()))
}

/// Flat input positions of every combination of picks, row-major.
fn flat_picks(picks: &[Vec<usize>], strides: &[usize]) -> Vec<u32> {
    let mut map = vec![0u32];
    for (pick, stride) in picks.iter().zip(strides) {
        map = map.iter().flat_map(|&base| pick.iter().map(move |&p| base + (p * stride) as u32)).collect();
    }
    map
}

/// numpy's broadcast of two shapes.
pub(crate) fn broadcast(x: &[usize], y: &[usize]) -> Result<Vec<usize>, Fault> {
    let rank = x.len().max(y.len());
    let dim = |s: &[usize], i: usize| (i + s.len()).checked_sub(rank).map_or(1, |j| s[j]);
    (0..rank)
        .map(|i| match (dim(x, i), dim(y, i)) {
            (a, b) if a == b => Ok(a),
            (1, b) => Ok(b),
            (a, 1) => Ok(a),
            _ => malformed(format!("shapes {x:?} and {y:?} do not fit together")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcast_is_numpys() {
        assert_eq!(broadcast(&[2, 1, 3], &[4, 1]).unwrap(), [2, 4, 3]);
        assert_eq!(broadcast(&[], &[5]).unwrap(), [5]);
        assert!(broadcast(&[2], &[3]).is_err());
    }

    #[test]
    fn picks_are_row_major() {
        assert_eq!(flat_picks(&[vec![1, 0], vec![0, 2]], &[3, 1]), [3, 5, 0, 2]);
        assert_eq!(flat_picks(&[], &[]), [0]);
    }

    #[test]
    fn growth_is_bounded() {
        let mut b = Builder::new(0, false);
        let x = b.emit(Op::Input, vec![], vec![1 << 27]).unwrap();
        b.unary(Op::Relu, x).unwrap();
        assert!(matches!(b.unary(Op::Relu, x), Err(Fault::Malformed(_))));
        assert!(matches!(b.pick(x, &[Some(vec![0; 1 << 26])]), Err(Fault::Malformed(_))));
        assert!(matches!(b.emit(Op::Input, vec![], vec![0]), Err(Fault::Malformed(_))));
    }
}
