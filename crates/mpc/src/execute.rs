//! Runs a [`Program`] on any [`Evaluator`]: one body for planning and for the real thing.
//!
//! A value is public, a share, or a product that was not reshared yet: linear operations
//! keep a product a product (so a bias or a pooling sum costs nothing), truncation and
//! opening take it as it is, and everything else reshares it once.

use crate::Error;
use crate::protocol::{Evaluator, Linear, Source, WordOf};
use subrosa_core::geometry::{ConvGeometry, MatDims};
use subrosa_graph::program::Id;
use subrosa_graph::{FixedOp, Program};
use subrosa_ring::{Word, conv2d, matmul};

/// The model owner's tensors as a party has them.
pub enum Weights<P: Evaluator> {
    /// Secret: one share a tensor.
    Shares(Vec<P::Share>),
    /// Known to the servers: the tensors themselves.
    Public(Vec<Vec<WordOf<P>>>),
}

/// Evaluates `program` on `batch` samples and returns its outputs, to be opened.
///
/// `inputs` are shares of `batch` samples each. `after` is called after each instruction
/// with its index.
///
/// **Errors:** whatever the protocol's primitives return; [`Error::Misuse`] for a program
/// that does not fit the inputs or that lowering would not produce.
pub fn execute<P: Evaluator>(
    party: &mut P,
    program: &Program,
    weights: &Weights<P>,
    inputs: Vec<P::Share>,
    batch: usize,
    mut after: impl FnMut(&P, usize),
) -> Result<Vec<P::Product>, Error> {
    let mut run = Run::new(party, program, weights, inputs, batch);
    for id in 0..program.insts.len() {
        let value = run.eval(id)?;
        run.store(id, value);
        after(run.party, id);
    }
    program.outputs.iter().map(|&id| run.output(id)).collect()
}

enum Value<P: Evaluator> {
    Public(Vec<WordOf<P>>),
    Share(P::Share),
    Product(P::Product),
}

impl<P: Evaluator> Clone for Value<P> {
    fn clone(&self) -> Self {
        match self {
            Self::Public(v) => Self::Public(v.clone()),
            Self::Share(x) => Self::Share(x.clone()),
            Self::Product(z) => Self::Product(z.clone()),
        }
    }
}

impl<P: Evaluator> Value<P> {
    /// Applies a linear map.
    fn map(&self, out_len: usize, f: impl Fn(&[WordOf<P>]) -> Vec<WordOf<P>>) -> Self {
        match self {
            Self::Public(v) => Self::Public(f(v)),
            Self::Share(x) => Self::Share(x.map(out_len, f)),
            Self::Product(z) => Self::Product(z.map(out_len, f)),
        }
    }
}

struct Run<'a, P: Evaluator> {
    party: &'a mut P,
    program: &'a Program,
    weights: &'a Weights<P>,
    inputs: Vec<Option<P::Share>>,
    batch: usize,
    /// Whether each value has the batch axis.
    batched: Vec<bool>,
    /// The last instruction that reads each value; outputs are read at the end.
    last_use: Vec<usize>,
    values: Vec<Option<Value<P>>>,
}

impl<'a, P: Evaluator> Run<'a, P> {
    fn new(
        party: &'a mut P,
        program: &'a Program,
        weights: &'a Weights<P>,
        inputs: Vec<P::Share>,
        batch: usize,
    ) -> Self {
        let count = program.insts.len();
        let (mut batched, mut last_use) = (Vec::with_capacity(count), vec![0; count]);
        for (id, inst) in program.insts.iter().enumerate() {
            let operands = inst.op.operands();
            let inherits = operands.iter().any(|&x| batched.get(x).copied().unwrap_or(false));
            batched.push(matches!(inst.op, FixedOp::Input { .. }) || inherits);
            operands.iter().for_each(|&x| last_use[x] = id);
        }
        program.outputs.iter().for_each(|&id| last_use[id] = count);
        let values = (0..count).map(|_| None).collect();
        Self {
            party,
            program,
            weights,
            inputs: inputs.into_iter().map(Some).collect(),
            batch,
            batched,
            last_use,
            values,
        }
    }

    fn store(&mut self, id: Id, value: Value<P>) {
        self.values[id] = Some(value);
        for x in self.program.insts[id].op.operands() {
            if self.last_use[x] == id {
                self.values[x] = None;
            }
        }
    }

    fn eval(&mut self, id: Id) -> Result<Value<P>, Error> {
        let inst = &self.program.insts[id];
        match &inst.op {
            FixedOp::Input { index } => self.input(*index, inst.shape.len()),
            FixedOp::Weight { index } => self.weight(*index),
            FixedOp::Public { values } => Ok(Value::Public(values.iter().map(|&v| Word::from_i64(v)).collect())),
            FixedOp::MatMul { x, y, dims } => self.matmul(*x, *y, *dims),
            FixedOp::Conv { x, w, geometry } => self.conv(*x, *w, geometry),
            FixedOp::Mul { x, y } => self.mul(*x, *y),
            FixedOp::Add { x, y } => self.sum(*x, *y, false),
            FixedOp::Sub { x, y } => self.sum(*x, *y, true),
            FixedOp::MulPublic { x, by } => self.mul_public(*x, *by),
            FixedOp::Scale { x, by } => self.scale(*x, by),
            FixedOp::Trunc { x, shift } => self.trunc(*x, *shift),
            FixedOp::Relu { x } => self.relu(*x),
            FixedOp::TruncRelu { x, shift, bits_truncated } => self.trunc_relu(*x, *shift, *bits_truncated),
            FixedOp::Ltz { x } => self.ltz(*x),
            FixedOp::Layout { x, map } => self.layout(*x, map),
            FixedOp::Concat { xs } => self.concat(xs),
            FixedOp::Sum { x, len, inner } => self.sum_runs(*x, *len, *inner),
        }
    }

    fn output(&mut self, id: Id) -> Result<P::Product, Error> {
        let value = self.batch_up(id)?;
        Ok(self.as_product(value))
    }

    fn input(&mut self, index: usize, sample: usize) -> Result<Value<P>, Error> {
        let share = self.inputs.get_mut(index).and_then(Option::take);
        let share = share.ok_or_else(|| Error::Misuse(format!("input {index} is missing or read twice")))?;
        if share.len() != sample * self.batch {
            let (got, want) = (share.len(), sample * self.batch);
            return Err(Error::Misuse(format!("input {index} has {got} elements where the plan has {want}")));
        }
        Ok(Value::Share(share))
    }

    fn weight(&self, index: usize) -> Result<Value<P>, Error> {
        let missing = || Error::Misuse(format!("the model owner shared no tensor {index}"));
        match self.weights {
            Weights::Shares(shares) => shares.get(index).cloned().map(Value::Share).ok_or_else(missing),
            Weights::Public(words) => words.get(index).cloned().map(Value::Public).ok_or_else(missing),
        }
    }

    fn matmul(&mut self, x: Id, y: Id, dims: MatDims) -> Result<Value<P>, Error> {
        let batch = self.repeats(x);
        let share = self.share(x)?;
        if let Value::Public(w) = self.value(y)? {
            let one = dims.k * dims.n;
            let folded = match w.len() == one {
                true => MatDims { groups: 1, m: batch * dims.groups * dims.m, ..dims },
                false => MatDims { groups: batch * dims.groups, ..dims },
            };
            let w = w.repeat((folded.groups * one).checked_div(w.len()).unwrap_or(1));
            let out = folded.groups * folded.m * folded.n;
            return Ok(Value::Share(share.map(out, |x| matmul(folded, x, &w))));
        }
        let y = self.share(y)?;
        Ok(Value::Product(self.party.matmul(batch, dims, &share, &y)?))
    }

    fn conv(&mut self, x: Id, w: Id, geometry: &ConvGeometry) -> Result<Value<P>, Error> {
        let batch = self.repeats(x);
        let share = self.share(x)?;
        if let Value::Public(w) = self.value(w)? {
            let out = batch * geometry.o * geometry.output.0 * geometry.output.1;
            return Ok(Value::Share(share.map(out, |x| conv2d(geometry, batch, x, w))));
        }
        let w = self.share(w)?;
        Ok(Value::Product(self.party.conv(batch, geometry, &share, &w)?))
    }

    fn mul(&mut self, x: Id, y: Id) -> Result<Value<P>, Error> {
        if matches!((self.value(x)?, self.value(y)?), (Value::Public(_), _) | (_, Value::Public(_))) {
            let (x, y) = self.aligned(x, y)?;
            return self.mul_by_public(x, y);
        }
        // Reshare in place first, so that a product used twice is reshared once.
        self.share(x)?;
        self.share(y)?;
        match self.aligned(x, y)? {
            (Value::Share(x), Value::Share(y)) => Ok(Value::Product(self.party.mul(&x, &y)?)),
            (_, _) => Err(Error::Misuse("a factor was not reshared".into())),
        }
    }

    fn mul_by_public(&self, x: Value<P>, y: Value<P>) -> Result<Value<P>, Error> {
        let times = |w: &[WordOf<P>], v: &[WordOf<P>]| w.iter().zip(v).map(|(&w, &v)| w.mul(v)).collect();
        match (x, y) {
            (Value::Public(w), v) | (v, Value::Public(w)) => Ok(v.map(w.len(), |v| times(&w, v))),
            (_, _) => Err(Error::Misuse("neither factor is public".into())),
        }
    }

    /// Both values, with the batch axis if either has it.
    fn aligned(&self, x: Id, y: Id) -> Result<(Value<P>, Value<P>), Error> {
        match self.batched[x] || self.batched[y] {
            true => Ok((self.batch_up(x)?, self.batch_up(y)?)),
            false => Ok((self.value(x)?.clone(), self.value(y)?.clone())),
        }
    }

    fn sum(&mut self, x: Id, y: Id, negate: bool) -> Result<Value<P>, Error> {
        let (x, y) = self.aligned(x, y)?;
        Ok(self.add(x, y, negate))
    }

    /// `x + y` or `x - y` of equal lengths, in the cheapest form that holds both.
    fn add(&self, x: Value<P>, y: Value<P>, negate: bool) -> Value<P> {
        let words = if negate { Word::sub } else { Word::add };
        let shares = |x: &P::Share, y: &P::Share| Value::Share(if negate { x.sub(y) } else { x.add(y) });
        match (x, y) {
            (Value::Public(x), Value::Public(y)) => {
                Value::Public(x.iter().zip(&y).map(|(&x, &y)| words(x, y)).collect())
            }
            (Value::Public(x), Value::Share(y)) => shares(&self.party.public(&x), &y),
            (Value::Share(x), Value::Public(y)) => shares(&x, &self.party.public(&y)),
            (Value::Share(x), Value::Share(y)) => shares(&x, &y),
            (x @ Value::Product(_), y) | (x, y @ Value::Product(_)) => {
                let (x, y) = (self.as_product(x), self.as_product(y));
                Value::Product(if negate { x.sub(&y) } else { x.add(&y) })
            }
        }
    }

    fn mul_public(&mut self, x: Id, by: i64) -> Result<Value<P>, Error> {
        let by: WordOf<P> = Word::from_i64(by);
        let len = self.len(x);
        Ok(self.value(x)?.map(len, |v| v.iter().map(|&v| v.mul(by)).collect()))
    }

    fn scale(&mut self, x: Id, by: &[i64]) -> Result<Value<P>, Error> {
        let by: Vec<WordOf<P>> = by.iter().map(|&v| Word::from_i64(v)).collect();
        let len = self.len(x);
        Ok(self.value(x)?.map(len, |v| v.iter().zip(by.iter().cycle()).map(|(&v, &by)| v.mul(by)).collect()))
    }

    fn trunc(&mut self, x: Id, shift: u32) -> Result<Value<P>, Error> {
        let source = match self.values[x].as_ref() {
            Some(Value::Share(x)) => Source::Share(x),
            Some(Value::Product(z)) => Source::Product(z),
            Some(Value::Public(_)) | None => return Err(no_truncation_of_public()),
        };
        Ok(Value::Share(self.party.trunc(source, shift)?))
    }

    fn trunc_relu(&mut self, x: Id, shift: u32, width: u32) -> Result<Value<P>, Error> {
        let source = match self.values[x].as_ref() {
            Some(Value::Share(x)) => Source::Share(x),
            Some(Value::Product(z)) => Source::Product(z),
            Some(Value::Public(_)) | None => return Err(no_truncation_of_public()),
        };
        Ok(Value::Share(self.party.trunc_relu(source, shift, width)?))
    }

    fn relu(&mut self, x: Id) -> Result<Value<P>, Error> {
        let (share, width) = (self.share(x)?, self.program.insts[x].bits);
        Ok(Value::Share(self.party.relu(&share, width)?))
    }

    fn ltz(&mut self, x: Id) -> Result<Value<P>, Error> {
        let (share, width) = (self.share(x)?, self.program.insts[x].bits);
        Ok(Value::Share(self.party.ltz(&share, width)?))
    }

    fn layout(&mut self, x: Id, map: &[u32]) -> Result<Value<P>, Error> {
        let (sample, repeats) = (self.program.insts[x].shape.len(), self.repeats(x));
        let pick = |v: &[WordOf<P>]| -> Vec<WordOf<P>> {
            let samples = v.chunks(sample.max(1)).take(repeats);
            samples.flat_map(|s| map.iter().map(|&i| s.get(i as usize).copied().unwrap_or_default())).collect()
        };
        Ok(self.value(x)?.map(map.len() * repeats, pick))
    }

    /// The sum of the operands, each placed into an otherwise zero vector.
    fn concat(&mut self, xs: &[Id]) -> Result<Value<P>, Error> {
        let batched = xs.iter().any(|&x| self.batched[x]);
        let lens: Vec<usize> = xs.iter().map(|&x| self.program.insts[x].shape.len()).collect();
        let (total, repeats) = (lens.iter().sum::<usize>(), if batched { self.batch } else { 1 });
        let (mut sum, mut offset) = (Value::Public(vec![WordOf::<P>::default(); total * repeats]), 0);
        for (&x, &len) in xs.iter().zip(&lens) {
            let part = if batched { self.batch_up(x)? } else { self.value(x)?.clone() };
            let place = |v: &[WordOf<P>]| {
                let mut out = vec![WordOf::<P>::default(); total * repeats];
                for (to, from) in out.chunks_mut(total.max(1)).zip(v.chunks(len.max(1))) {
                    to[offset..offset + len].copy_from_slice(from);
                }
                out
            };
            sum = self.add(sum, part.map(total * repeats, place), false);
            offset += len;
        }
        Ok(sum)
    }

    fn sum_runs(&mut self, x: Id, len: usize, inner: usize) -> Result<Value<P>, Error> {
        let (run, all) = ((len * inner).max(1), self.len(x));
        let add_up = |v: &[WordOf<P>]| -> Vec<WordOf<P>> {
            let mut out = Vec::with_capacity(v.len() / len.max(1));
            for block in v.chunks(run) {
                let mut sum = vec![WordOf::<P>::default(); inner];
                for row in block.chunks(inner.max(1)) {
                    sum.iter_mut().zip(row).for_each(|(s, &v)| *s = s.add(v));
                }
                out.extend(sum);
            }
            out
        };
        Ok(self.value(x)?.map(all / len.max(1), add_up))
    }

    /// Samples in this value: the batch, or one for a constant.
    fn repeats(&self, x: Id) -> usize {
        if self.batched[x] { self.batch } else { 1 }
    }

    fn len(&self, x: Id) -> usize {
        self.program.insts[x].shape.len() * self.repeats(x)
    }

    fn value(&self, x: Id) -> Result<&Value<P>, Error> {
        let gone = || Error::Misuse(format!("instruction {x} is read before it is computed"));
        self.values.get(x).and_then(Option::as_ref).ok_or_else(gone)
    }

    /// The value with the batch axis, constants repeated.
    fn batch_up(&self, x: Id) -> Result<Value<P>, Error> {
        let (value, batch) = (self.value(x)?, self.batch);
        match self.batched[x] {
            true => Ok(value.clone()),
            false => Ok(value.map(self.len(x) * batch, |v| v.repeat(batch))),
        }
    }

    /// The value as a share; a product is reshared and stays so.
    fn share(&mut self, x: Id) -> Result<P::Share, Error> {
        let share = match self.value(x)? {
            Value::Share(share) => return Ok(share.clone()),
            Value::Public(words) => self.party.public(words),
            Value::Product(_) => {
                let Some(Value::Product(z)) = self.values[x].as_ref() else {
                    return Err(Error::Misuse(format!("instruction {x} is no product")));
                };
                self.party.reshare(z)?
            }
        };
        self.values[x] = Some(Value::Share(share.clone()));
        Ok(share)
    }

    fn as_product(&self, value: Value<P>) -> P::Product {
        match value {
            Value::Public(words) => self.party.to_product(&self.party.public(&words)),
            Value::Share(share) => self.party.to_product(&share),
            Value::Product(z) => z,
        }
    }
}

fn no_truncation_of_public() -> Error {
    Error::Misuse("a program truncates a public constant; lowering folds those".into())
}
