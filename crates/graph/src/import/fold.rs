//! Evaluates nodes whose inputs are all constants, through tract.
//!
//! Exporters write shape arithmetic into the graph (Shape, Gather, Concat, Reshape and the
//! like); none of it is left after import. What may be evaluated is a list, with a bound
//! on the size of the result that is checked *before* tract is called: a file of 100
//! bytes can ask for 2^60 zeros.

use super::builder::{Fault, broadcast, malformed};
use super::constant::{Constant, Data};
use super::linear::matmul_dims;
use super::node::axis_of;
use crate::guard::guarded;
use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb;
use tract_onnx::prelude::*;

/// Elements of all folded constants together that are always granted.
const GRANT: usize = 1 << 24;
/// Most multiplications in a folded product.
const MAX_PRODUCT: usize = 1 << 28;

/// How large a node's result may be, from its inputs.
#[derive(Clone, Copy)]
enum Growth {
    /// No larger than all inputs together.
    None,
    /// numpy's broadcast of the inputs.
    Broadcast,
    /// The shape that input 0 spells out.
    Filled,
    /// Input 0 broadcast to the shape that input 1 spells out.
    Expanded,
    /// From input 0 to input 1 in steps of input 2.
    Range,
    /// Input 0 with one axis replaced by input 1.
    Gathered,
    /// Input 0 repeated by input 1.
    Tiled,
    /// A matrix product.
    Product,
}

const FOLDABLE: &[(&str, Growth)] = &[
    ("Abs", Growth::None),
    ("Add", Growth::Broadcast),
    ("And", Growth::Broadcast),
    ("Cast", Growth::None),
    ("Ceil", Growth::None),
    ("Clip", Growth::None),
    ("Concat", Growth::None),
    ("ConstantOfShape", Growth::Filled),
    ("Cos", Growth::None),
    ("Div", Growth::Broadcast),
    ("Equal", Growth::Broadcast),
    ("Erf", Growth::None),
    ("Exp", Growth::None),
    ("Expand", Growth::Expanded),
    ("Flatten", Growth::None),
    ("Floor", Growth::None),
    ("Gather", Growth::Gathered),
    ("Greater", Growth::Broadcast),
    ("GreaterOrEqual", Growth::Broadcast),
    ("LeakyRelu", Growth::None),
    ("Less", Growth::Broadcast),
    ("LessOrEqual", Growth::Broadcast),
    ("Log", Growth::None),
    ("MatMul", Growth::Product),
    ("Max", Growth::Broadcast),
    ("Min", Growth::Broadcast),
    ("Mod", Growth::Broadcast),
    ("Mul", Growth::Broadcast),
    ("Neg", Growth::None),
    ("Not", Growth::None),
    ("Or", Growth::Broadcast),
    ("Pow", Growth::Broadcast),
    ("Range", Growth::Range),
    ("Reciprocal", Growth::None),
    ("ReduceMax", Growth::None),
    ("ReduceMean", Growth::None),
    ("ReduceMin", Growth::None),
    ("ReduceProd", Growth::None),
    ("ReduceSum", Growth::None),
    ("Relu", Growth::None),
    ("Reshape", Growth::None),
    ("Sigmoid", Growth::None),
    ("Sign", Growth::None),
    ("Sin", Growth::None),
    ("Slice", Growth::None),
    ("Softmax", Growth::None),
    ("Split", Growth::None),
    ("Sqrt", Growth::None),
    ("Squeeze", Growth::None),
    ("Sub", Growth::Broadcast),
    ("Sum", Growth::Broadcast),
    ("Tanh", Growth::None),
    ("Tile", Growth::Tiled),
    ("Transpose", Growth::None),
    ("Unsqueeze", Growth::None),
    ("Where", Growth::Broadcast),
];

/// Whether a node of this operator is evaluated when its inputs are constants.
pub(crate) fn is_foldable(op: &str) -> bool {
    growth(op).is_some()
}

fn growth(op: &str) -> Option<Growth> {
    FOLDABLE.iter().find(|(name, _)| *name == op).map(|(_, growth)| *growth)
}

/// Evaluates constant nodes, up to a total size.
pub(crate) struct Folder {
    onnx: Onnx,
    model: pb::ModelProto,
    opset: i64,
    /// Elements that results may still have.
    grant: usize,
}

impl Folder {
    /// For a file of so many bytes.
    pub(crate) fn new(opset: i64, bytes: usize) -> Self {
        let grant = bytes.saturating_add(GRANT);
        Self { onnx: tract_onnx::onnx(), model: pb::ModelProto::default(), opset, grant }
    }

    /// The outputs of a foldable node.
    pub(crate) fn fold(&mut self, node: &pb::NodeProto, inputs: &[&Constant]) -> Result<Vec<Constant>, Fault> {
        let size = growth(&node.op_type).map_or(Ok(None), |g| result_size(g, node, inputs))?;
        match size {
            Some(size) if size <= self.grant => self.grant -= size,
            _ => return malformed("its constant result has far more elements than the file"),
        }
        if node.op_type.starts_with("Reduce") && inputs.first().is_none_or(|c| c.len() == 0) {
            return malformed("it reduces a tensor without elements");
        }
        let results = match guarded(|| self.run(node, inputs)) {
            Ok(results) => results,
            Err(why) => return malformed(format!("it cannot be computed from its constants: {why}")),
        };
        results.iter().zip(&node.output).map(|(t, name)| from_tract(name, t)).collect()
    }

    /// A model of this one node, run by tract.
    fn run(&self, node: &pb::NodeProto, inputs: &[&Constant]) -> TractResult<TVec<TValue>> {
        let context = ParsingContext {
            onnx_operator_set_version: self.opset,
            framework: &self.onnx,
            model: &self.model,
            parent_graphs: Vec::new(),
            model_dir: None,
            template: InferenceModel::default(),
        };
        let Some(build) = self.onnx.op_register.0.get(&node.op_type) else {
            return Err(TractError::msg("unknown operator"));
        };
        let (op, _) = build(&context, node)?;
        let mut model = InferenceModel::default();
        let constants = inputs.iter().enumerate();
        let inlets: Vec<OutletId> =
            constants.map(|(i, c)| model.add_const(format!("c{i}"), to_tract(c)?)).collect::<TractResult<_>>()?;
        let outlets = model.wire_node("folded", op, &inlets)?;
        model.select_output_outlets(&outlets)?;
        model.into_typed()?.into_runnable()?.run(tvec!())
    }
}

fn to_tract(c: &Constant) -> TractResult<Tensor> {
    match &c.data {
        Data::Float(v) => Tensor::from_shape(&c.dims, v),
        Data::Int(v) => Tensor::from_shape(&c.dims, v),
        Data::Bool(v) => Tensor::from_shape(&c.dims, v),
    }
}

fn from_tract(name: &str, tensor: &Tensor) -> Result<Constant, Fault> {
    let dims = tensor.shape().to_vec();
    let read = || -> TractResult<Constant> {
        let dtype = tensor.datum_type();
        if dtype == DatumType::Bool {
            Ok(Constant::bool(name, dims, values(tensor)?))
        } else if dtype.is_float() {
            Ok(Constant::float(name, dims, values(tensor)?))
        } else {
            Ok(Constant::int(name, dims, values(tensor)?))
        }
    };
    read().map_err(|e| Fault::Malformed(e.to_string()))
}

fn values<T: Datum + Copy>(tensor: &Tensor) -> TractResult<Vec<T>> {
    Ok(tensor.cast_to::<T>()?.to_plain_array_view::<T>()?.iter().copied().collect())
}

/// An upper bound of the elements of the result; `None` if beyond counting.
fn result_size(growth: Growth, node: &pb::NodeProto, inputs: &[&Constant]) -> Result<Option<usize>, Fault> {
    let at = |i: usize| match inputs.get(i) {
        Some(c) => Ok(*c),
        None => malformed(format!("its input {i} is missing")),
    };
    Ok(match growth {
        Growth::None => Some(inputs.iter().map(|c| c.len()).sum()),
        Growth::Broadcast => {
            let dims = inputs.iter().try_fold(Vec::new(), |dims, c| broadcast(&dims, &c.dims))?;
            product(&dims)
        }
        Growth::Filled => product(&spelled(at(0)?)?),
        Growth::Expanded => product(&broadcast(&at(0)?.dims, &spelled(at(1)?)?)?),
        Growth::Range => range_size(at(0)?, at(1)?, at(2)?),
        Growth::Gathered => {
            let (x, axis) = (at(0)?, node.attribute.iter().find(|a| a.name == "axis").map_or(0, |a| a.i));
            let axis = x.dims[axis_of(axis, x.dims.len(), false)?];
            (x.len() / axis.max(1)).checked_mul(at(1)?.len())
        }
        Growth::Tiled => product(&spelled(at(1)?)?).and_then(|n| n.checked_mul(inputs[0].len())),
        Growth::Product => {
            let (x, y) = (at(0)?, at(1)?);
            let size = product(&matmul_dims(&x.dims, &y.dims)?);
            let depth = x.dims.last().copied().unwrap_or(1);
            size.filter(|n| n.checked_mul(depth).is_some_and(|work| work <= MAX_PRODUCT))
        }
    })
}

fn product(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

/// A shape written as a tensor of integers.
fn spelled(c: &Constant) -> Result<Vec<usize>, Fault> {
    let sizes = c.ints().and_then(|v| v.iter().map(|&d| usize::try_from(d).ok()).collect());
    sizes.map_or_else(|| malformed(format!("'{}' is not a shape", c.name)), Ok)
}

fn range_size(start: &Constant, end: &Constant, step: &Constant) -> Option<usize> {
    let (start, end, step) = (start.scalar()?, end.scalar()?, step.scalar()?);
    let count = ((f64::from(end) - f64::from(start)) / f64::from(step)).ceil().max(0.0);
    // f32 rounds large integers: one more in 2^23 covers it.
    (count.is_finite() && count < 1e12).then_some((count * 1.001) as usize + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op: &str) -> pb::NodeProto {
        pb::NodeProto { op_type: op.into(), output: vec!["y".into()], ..Default::default() }
    }

    fn ints(values: &[i64]) -> Constant {
        Constant::int("c", vec![values.len()], values.to_vec())
    }

    #[test]
    fn shape_arithmetic_is_evaluated() {
        let mut folder = Folder::new(17, 0);
        let sum = folder.fold(&node("Add"), &[&ints(&[1, 2]), &ints(&[10])]).unwrap();
        assert_eq!(sum[0].ints().unwrap(), [11, 12]);
        let filled = folder.fold(&node("ConstantOfShape"), &[&ints(&[2, 3])]).unwrap();
        assert_eq!((filled[0].dims.as_slice(), filled[0].len()), (&[2, 3][..], 6));
        let less = folder.fold(&node("Less"), &[&ints(&[1, 5]), &ints(&[3])]).unwrap();
        assert!(matches!(&less[0].data, Data::Bool(v) if v.as_slice() == [true, false]));
    }

    #[test]
    fn explosions_are_refused_before_they_happen() {
        let mut folder = Folder::new(17, 0);
        let scalar = |x| Constant::int("c", vec![], vec![x]);
        let cases: [(&str, Vec<Constant>); 5] = [
            ("ConstantOfShape", vec![ints(&[1 << 20, 1 << 20])]),
            ("ConstantOfShape", vec![ints(&[i64::MAX, i64::MAX])]),
            ("Expand", vec![ints(&[1]), ints(&[1 << 40])]),
            ("Range", vec![scalar(0), scalar(i64::MAX), scalar(1)]),
            ("Tile", vec![ints(&[1]), ints(&[1 << 40])]),
        ];
        for (op, inputs) in cases {
            let refs: Vec<&Constant> = inputs.iter().collect();
            assert!(matches!(folder.fold(&node(op), &refs), Err(Fault::Malformed(_))), "{op}");
        }
        assert!(folder.fold(&node("ConstantOfShape"), &[&ints(&[-1])]).is_err());
    }
}
