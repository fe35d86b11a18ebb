//! Runs a model in the clear through tract: the reference that protection is compared
//! with.

use crate::Error;
use crate::guard::guarded;
use crate::import::{needed, proto::malformed, text};
use crate::model::{Model, Port};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use subrosa_core::Shape;
use tract_onnx::pb::{self, tensor_shape_proto::dimension, type_proto};
use tract_onnx::prelude::*;

/// The model compiled by tract for one batch size. Runs on the calling thread.
#[derive(Debug)]
pub struct PlainRunner {
    plan: Arc<TypedRunnableModel>,
    batch: usize,
    /// Samples in one run of the plan: `batch`, or 1 where the model has no batch axis.
    per_run: usize,
    inputs: Vec<PlainInput>,
    outputs: Vec<Shape>,
}

#[derive(Debug)]
struct PlainInput {
    name: String,
    /// Elements of one sample.
    len: usize,
    /// Dimensions of one run.
    dims: Vec<usize>,
    dtype: DatumType,
}

impl PlainRunner {
    /// Compiles a model for `batch` samples at a time.
    ///
    /// **Errors:** [`Error::Malformed`] where tract cannot run it.
    pub(crate) fn new(model: &Model, batch: usize) -> Result<Self, Error> {
        let per_run = if model.is_batched() { batch.max(1) } else { 1 };
        let pinned = pinned(model.proto(), model.inputs(), per_run);
        let plan = guarded(|| compile(&pinned)).or_else(cannot_run)?;
        let inputs = model.inputs().iter().enumerate().map(|(i, port)| {
            let dtype = plan.model().input_fact(i).map_or(DatumType::F32, |fact| fact.datum_type);
            PlainInput { name: port.name.clone(), len: port.shape.len(), dims: run_dims(port, per_run), dtype }
        });
        let inputs = inputs.collect();
        let outputs = model.outputs().iter().map(|port| port.shape.clone()).collect();
        Ok(Self { plan, batch, per_run, inputs, outputs })
    }

    /// Runs the model on `batch` samples, flat and row-major, one slice an input; gives
    /// one flat vector an output.
    ///
    /// **Errors:** [`Error::Input`] when a length is not `batch` samples;
    /// [`Error::Malformed`] where tract fails, or where an output does not have one
    /// sample's elements for each sample.
    pub fn run(&self, inputs: &[&[f32]]) -> Result<Vec<Vec<f32>>, Error> {
        self.check(inputs)?;
        let mut outputs = vec![Vec::new(); self.outputs.len()];
        for first in (0..self.batch).step_by(self.per_run) {
            let results = self.run_once(inputs, first)?;
            outputs.iter_mut().zip(results).for_each(|(all, result)| all.extend(result));
        }
        Ok(outputs)
    }

    fn check(&self, inputs: &[&[f32]]) -> Result<(), Error> {
        if inputs.len() != self.inputs.len() {
            return Err(Error::Input(format!("the model takes {} inputs, not {}", self.inputs.len(), inputs.len())));
        }
        for (given, input) in inputs.iter().zip(&self.inputs) {
            if given.len() != self.batch * input.len {
                return Err(Error::Input(format!(
                    "the input '{}' takes {} numbers ({} samples of {}), not {}",
                    input.name,
                    self.batch * input.len,
                    self.batch,
                    input.len,
                    given.len()
                )));
            }
        }
        Ok(())
    }

    /// Runs the plan on the samples from `first` on.
    fn run_once(&self, inputs: &[&[f32]], first: usize) -> Result<Vec<Vec<f32>>, Error> {
        guarded(|| {
            let mut values = tvec!();
            for (given, input) in inputs.iter().zip(&self.inputs) {
                let samples = &given[first * input.len..(first + self.per_run) * input.len];
                let tensor = Tensor::from_shape(&input.dims, samples)?.cast_to_dt(input.dtype)?.into_owned();
                values.push(tensor.into_tvalue());
            }
            self.plan.run(values)?.iter().map(|v| floats(v)).collect()
        })
        .or_else(cannot_run)
        .and_then(|results| self.checked(results))
    }

    fn checked(&self, results: Vec<Vec<f32>>) -> Result<Vec<Vec<f32>>, Error> {
        match results.iter().zip(&self.outputs).all(|(r, shape)| r.len() == shape.len() * self.per_run) {
            true => Ok(results),
            false => mixes_samples(),
        }
    }
}

fn floats(tensor: &Tensor) -> TractResult<Vec<f32>> {
    let cast = tensor.cast_to::<f32>()?;
    Ok(cast.to_plain_array_view::<f32>()?.iter().copied().collect())
}

/// Dimensions of an input holding `batch` samples.
fn run_dims(port: &Port, batch: usize) -> Vec<usize> {
    let mut dims = port.shape.dims().to_vec();
    if port.batched
        && let Some(first) = dims.first_mut()
    {
        *first = batch;
    }
    dims
}

/// The model with every input's shape fixed, and without what no output needs.
fn pinned(proto: &pb::ModelProto, inputs: &[Port], batch: usize) -> pb::ModelProto {
    let mut proto = proto.clone();
    let Some(graph) = &mut proto.graph else { return proto };
    let needed: HashSet<String> = needed(graph).into_iter().map(str::to_owned).collect();
    graph.node.retain(|n| n.output.iter().any(|o| needed.contains(o)));
    graph.initializer.retain(|t| needed.contains(&t.name));
    let ports: HashMap<&str, &Port> = inputs.iter().map(|p| (p.name.as_str(), p)).collect();
    for info in &mut graph.input {
        if let Some(port) = ports.get(info.name.as_str()) {
            pin(info, &run_dims(port, batch));
        }
    }
    // Declared shapes may mention the batch by name, which is a number now.
    graph.value_info.clear();
    proto
}

fn pin(info: &mut pb::ValueInfoProto, dims: &[usize]) {
    let fixed = |&d: &usize| pb::tensor_shape_proto::Dimension {
        value: Some(dimension::Value::DimValue(d as i64)),
        ..Default::default()
    };
    if let Some(type_proto::Value::TensorType(t)) = info.r#type.as_mut().and_then(|t| t.value.as_mut()) {
        t.shape = Some(pb::TensorShapeProto { dim: dims.iter().map(fixed).collect() });
    }
}

fn compile(proto: &pb::ModelProto) -> TractResult<Arc<TypedRunnableModel>> {
    tract_onnx::onnx().with_ignore_value_info(true).model_for_proto_model(proto)?.into_optimized()?.into_runnable()
}

fn cannot_run<T>(why: String) -> Result<T, Error> {
    malformed(format!("the plain engine (tract) cannot run the model: {why}")).map_err(text::error)
}

fn mixes_samples<T>() -> Result<T, Error> {
    malformed(
        "the model mixes the samples of a batch: its result for two samples together is not that for each alone; \
         export it with a fixed batch of 1",
    )
}

/// How far a batch of two may be from two batches of one, relative to the largest output:
/// float32 sums in another order.
const BATCH_TOLERANCE: f32 = 1e-3;

/// See [`Model::check_batching`].
pub(crate) fn check_batching(model: &Model) -> Result<(), Error> {
    let samples: Vec<Vec<f32>> = model.inputs().iter().map(|p| spread(2 * p.shape.len())).collect();
    let part = |which: usize| -> Vec<&[f32]> {
        samples.iter().map(|s| &s[which * s.len() / 2..(which + 1) * s.len() / 2]).collect()
    };
    let alone = PlainRunner::new(model, 1)?;
    let (first, second) = (alone.run(&part(0))?, alone.run(&part(1))?);
    // What runs for one sample and not for two has its batch written into a shape.
    let Ok(runner) = PlainRunner::new(model, 2) else { return mixes_samples() };
    let Ok(together) = runner.run(&samples.iter().map(Vec::as_slice).collect::<Vec<_>>()) else {
        return mixes_samples();
    };
    let same = first.iter().zip(&second).zip(&together).all(|((a, b), ab)| agree(&[a.as_slice(), b].concat(), ab));
    if same { Ok(()) } else { mixes_samples() }
}

/// Numbers spread over `[-1, 1]` without pattern (multiples of the golden ratio).
fn spread(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i as f64 * 0.618_033_988_749_895).fract() * 2.0 - 1.0) as f32).collect()
}

fn agree(a: &[f32], b: &[f32]) -> bool {
    let largest = a.iter().fold(1e-6f32, |m, x| m.max(x.abs()));
    let close = |(x, y): (&f32, &f32)| (x - y).abs() <= BATCH_TOLERANCE * largest || x.is_nan() && y.is_nan();
    a.len() == b.len() && a.iter().zip(b).all(close)
}
