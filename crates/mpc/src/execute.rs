//! Runs a [`Program`] on any [`Evaluator`]: one body for planning and for the real thing.
//!
//! A value is public, a share, or a product that was not reshared yet: linear operations
//! keep a product a product (so a bias or a pooling sum costs nothing), truncation and
//! opening take it as it is, and everything else reshares it once.

mod check;
mod values;

use crate::Error;
use crate::protocol::{Evaluator, Linear, Source, WordOf};
use subrosa_core::geometry::{ConvGeometry, MatDims};
use subrosa_graph::program::Id;
use subrosa_graph::{FixedOp, Program};
use subrosa_ring::{Word, conv2d, matmul};
use values::{Value, Values};

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
/// with its index. With `exact`, truncations give the floor and nothing else.
///
/// **Errors:** whatever the protocol's primitives return; [`Error::Misuse`] for a program
/// that does not fit the inputs or that lowering would not produce.
pub fn execute<P: Evaluator>(
    party: &mut P,
    program: &Program,
    weights: &Weights<P>,
    inputs: Vec<P::Share>,
    batch: usize,
    exact: bool,
    mut after: impl FnMut(&P, usize),
) -> Result<Vec<P::Product>, Error> {
    check::check(program)?;
    let values = Values::new(program, batch);
    let mut run = Run { party, program, weights, exact, inputs: inputs.into_iter().map(Some).collect(), values };
    for id in 0..program.insts.len() {
        let value = run.eval(id)?;
        run.values.store(id, value);
        after(run.party, id);
    }
    program.outputs.iter().map(|&id| run.output(id)).collect()
}

struct Run<'a, P: Evaluator> {
    party: &'a mut P,
    program: &'a Program,
    weights: &'a Weights<P>,
    exact: bool,
    inputs: Vec<Option<P::Share>>,
    values: Values<'a, P>,
}

impl<P: Evaluator> Run<'_, P> {
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
            FixedOp::MulPublic { x, by } => self.scale(*x, &[*by]),
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
        let value = self.values.batched(id)?;
        Ok(self.as_product(&value))
    }

    fn input(&mut self, index: usize, sample: usize) -> Result<Value<P>, Error> {
        let share = self.inputs.get_mut(index).and_then(Option::take);
        let share = share.ok_or_else(|| Error::Misuse(format!("input {index} is missing or read twice")))?;
        let (got, want) = (share.len(), sample * self.values.batch());
        match got == want {
            true => Ok(Value::Share(share)),
            false => Err(Error::Misuse(format!("input {index} has {got} elements where the plan has {want}"))),
        }
    }

    fn weight(&self, index: usize) -> Result<Value<P>, Error> {
        let missing = || Error::Misuse(format!("the model owner shared no tensor {index}"));
        match self.weights {
            Weights::Shares(shares) => shares.get(index).cloned().map(Value::Share).ok_or_else(missing),
            Weights::Public(words) => words.get(index).cloned().map(Value::Public).ok_or_else(missing),
        }
    }

    fn matmul(&mut self, x: Id, y: Id, dims: MatDims) -> Result<Value<P>, Error> {
        let batch = self.values.samples(x);
        self.reshared(x)?;
        if let Value::Public(w) = self.values.get(y)? {
            let one = dims.k * dims.n;
            let folded = match w.len() == one {
                true => MatDims { groups: 1, m: batch * dims.groups * dims.m, ..dims },
                false => MatDims { groups: batch * dims.groups, ..dims },
            };
            // The same matrices for each sample: sample by sample, without copies of them.
            let repeats = (folded.groups * one).checked_div(w.len()).unwrap_or(1).max(1);
            let each = MatDims { groups: folded.groups / repeats, ..folded };
            let (left, out) = ((each.groups * each.m * each.k).max(1), folded.groups * folded.m * folded.n);
            let product = |x: &[WordOf<P>]| x.chunks(left).flat_map(|x| matmul(each, x, w)).collect();
            return Ok(Value::Share(self.values.share(x)?.map(out, product)));
        }
        self.reshared(y)?;
        Ok(Value::Product(self.party.matmul(batch, dims, self.values.share(x)?, self.values.share(y)?)?))
    }

    fn conv(&mut self, x: Id, w: Id, geometry: &ConvGeometry) -> Result<Value<P>, Error> {
        let batch = self.values.samples(x);
        self.reshared(x)?;
        if let Value::Public(w) = self.values.get(w)? {
            let out = batch * geometry.o * geometry.output.0 * geometry.output.1;
            return Ok(Value::Share(self.values.share(x)?.map(out, |x| conv2d(geometry, batch, x, w))));
        }
        self.reshared(w)?;
        Ok(Value::Product(self.party.conv(batch, geometry, self.values.share(x)?, self.values.share(w)?)?))
    }

    fn mul(&mut self, x: Id, y: Id) -> Result<Value<P>, Error> {
        let public = |v: &Value<P>| matches!(v, Value::Public(_));
        if public(self.values.get(x)?) || public(self.values.get(y)?) {
            let (x, y) = self.values.aligned(x, y)?;
            return mul_by_public(&x, &y);
        }
        // Reshare in place first, so that a product used twice is reshared once.
        self.reshared(x)?;
        self.reshared(y)?;
        let (x, y) = self.values.aligned(x, y)?;
        match (x.as_ref(), y.as_ref()) {
            (Value::Share(x), Value::Share(y)) => Ok(Value::Product(self.party.mul(x, y)?)),
            (_, _) => Err(Error::Misuse("a factor was not reshared".into())),
        }
    }

    fn sum(&mut self, x: Id, y: Id, negate: bool) -> Result<Value<P>, Error> {
        let (x, y) = self.values.aligned(x, y)?;
        Ok(self.add(&x, &y, negate))
    }

    /// `x + y` or `x - y` of equal lengths, in the cheapest form that holds both.
    fn add(&self, x: &Value<P>, y: &Value<P>, negate: bool) -> Value<P> {
        let words = if negate { Word::sub } else { Word::add };
        let shares = |x: &P::Share, y: &P::Share| Value::Share(if negate { x.sub(y) } else { x.add(y) });
        match (x, y) {
            (Value::Public(x), Value::Public(y)) => {
                Value::Public(x.iter().zip(y).map(|(&x, &y)| words(x, y)).collect())
            }
            (Value::Public(x), Value::Share(y)) => shares(&self.party.public(x), y),
            (Value::Share(x), Value::Public(y)) => shares(x, &self.party.public(y)),
            (Value::Share(x), Value::Share(y)) => shares(x, y),
            (x @ Value::Product(_), y) | (x, y @ Value::Product(_)) => {
                let (x, y) = (self.as_product(x), self.as_product(y));
                Value::Product(if negate { x.sub(&y) } else { x.add(&y) })
            }
        }
    }

    /// Elementwise product with `by`, repeated over the samples.
    fn scale(&mut self, x: Id, by: &[i64]) -> Result<Value<P>, Error> {
        let by: Vec<WordOf<P>> = by.iter().map(|&v| Word::from_i64(v)).collect();
        let times = |v: &[WordOf<P>]| -> Vec<WordOf<P>> {
            let mut out = Vec::with_capacity(v.len());
            match by.as_slice() {
                [by] => out.extend(v.iter().map(|v| v.mul(*by))),
                by => v.chunks(by.len().max(1)).for_each(|v| out.extend(v.iter().zip(by).map(|(v, by)| v.mul(*by)))),
            }
            out
        };
        Ok(self.values.get(x)?.map(self.values.len(x), times))
    }

    fn trunc(&mut self, x: Id, shift: u32) -> Result<Value<P>, Error> {
        Ok(Value::Share(match self.exact {
            true => self.floor(x, shift)?,
            false => self.party.trunc(self.values.source(x)?, shift)?,
        }))
    }

    fn trunc_relu(&mut self, x: Id, shift: u32, width: u32) -> Result<Value<P>, Error> {
        if self.exact {
            let floor = self.floor(x, shift)?;
            return Ok(Value::Share(self.party.relu(&floor, width)?));
        }
        let source = self.values.source(x)?;
        Ok(Value::Share(self.party.trunc_relu(source, shift, width)?))
    }

    /// `floor(x / 2^shift)`: a truncation `y` is that or one more, and it is one more exactly
    /// where `x - y 2^shift`, which is at least `-2^shift` and less than `2^shift`, is negative.
    fn floor(&mut self, x: Id, shift: u32) -> Result<P::Share, Error> {
        self.reshared(x)?;
        let x = self.values.share(x)?;
        let y = self.party.trunc(Source::Share(x), shift)?;
        let unit = Word::from_i64(1 << shift);
        let rest = x.sub(&y.map(y.len(), |y| y.iter().map(|y: &WordOf<P>| y.mul(unit)).collect()));
        let over = self.party.ltz(&rest, shift + 1)?;
        Ok(y.sub(&over))
    }

    fn relu(&mut self, x: Id) -> Result<Value<P>, Error> {
        self.reshared(x)?;
        Ok(Value::Share(self.party.relu(self.values.share(x)?, self.program.insts[x].bits)?))
    }

    fn ltz(&mut self, x: Id) -> Result<Value<P>, Error> {
        self.reshared(x)?;
        Ok(Value::Share(self.party.ltz(self.values.share(x)?, self.program.insts[x].bits)?))
    }

    fn layout(&mut self, x: Id, map: &[u32]) -> Result<Value<P>, Error> {
        let (sample, samples) = (self.program.insts[x].shape.len(), self.values.samples(x));
        // A product that is cut up or repeated would be reshared in pieces, one after
        // another, or more than once.
        let is_product = matches!(self.values.get(x)?, Value::Product(_));
        if is_product && (self.values.is_shared(x) || map.len() > sample) {
            self.reshared(x)?;
        }
        let start = map.first().map_or(0, |&i| i as usize);
        let is_run = map.iter().zip(start..).all(|(&i, at)| i as usize == at);
        let pick = |v: &[WordOf<P>]| -> Vec<WordOf<P>> {
            let mut out = Vec::with_capacity(map.len() * samples);
            for s in v.chunks(sample.max(1)).take(samples) {
                match s.get(start..start + map.len()) {
                    Some(run) if is_run => out.extend_from_slice(run),
                    Some(_) | None => out.extend(map.iter().map(|&i| s.get(i as usize).copied().unwrap_or_default())),
                }
            }
            out
        };
        Ok(self.values.get(x)?.map(map.len() * samples, pick))
    }

    /// The sum of the operands, each placed into an otherwise zero vector.
    fn concat(&mut self, xs: &[Id]) -> Result<Value<P>, Error> {
        let any_batched = xs.iter().any(|&x| self.values.is_batched(x));
        let lens: Vec<usize> = xs.iter().map(|&x| self.program.insts[x].shape.len()).collect();
        let (total, samples) = (lens.iter().sum::<usize>(), if any_batched { self.values.batch() } else { 1 });
        let (mut sum, mut offset) = (Value::Public(vec![WordOf::<P>::default(); total * samples]), 0);
        for (&x, &len) in xs.iter().zip(&lens) {
            let part =
                if any_batched { self.values.batched(x)? } else { std::borrow::Cow::Borrowed(self.values.get(x)?) };
            let place = |v: &[WordOf<P>]| {
                let mut out = vec![WordOf::<P>::default(); total * samples];
                for (to, from) in out.chunks_mut(total.max(1)).zip(v.chunks(len.max(1))) {
                    to[offset..offset + len].copy_from_slice(from);
                }
                out
            };
            sum = self.add(&sum, &part.map(total * samples, place), false);
            offset += len;
        }
        Ok(sum)
    }

    fn sum_runs(&mut self, x: Id, len: usize, inner: usize) -> Result<Value<P>, Error> {
        let (run, all) = ((len * inner).max(1), self.values.len(x));
        let add_up = |v: &[WordOf<P>]| -> Vec<WordOf<P>> {
            let mut out = Vec::with_capacity(v.len() / len.max(1));
            for block in v.chunks(run) {
                let start = out.len();
                out.resize(start + inner, WordOf::<P>::default());
                for row in block.chunks(inner.max(1)) {
                    out[start..].iter_mut().zip(row).for_each(|(s, &v)| *s = s.add(v));
                }
            }
            out
        };
        Ok(self.values.get(x)?.map(all / len.max(1), add_up))
    }

    /// Makes sure that the value is a share: a product is reshared and stays so.
    fn reshared(&mut self, x: Id) -> Result<(), Error> {
        let share = match self.values.get(x)? {
            Value::Share(_) => return Ok(()),
            Value::Public(words) => self.party.public(words),
            Value::Product(z) => self.party.reshare(z)?,
        };
        self.values.replace(x, Value::Share(share));
        Ok(())
    }

    fn as_product(&self, value: &Value<P>) -> P::Product {
        match value {
            Value::Public(words) => self.party.to_product(&self.party.public(words)),
            Value::Share(share) => self.party.to_product(share),
            Value::Product(z) => z.clone(),
        }
    }
}

fn mul_by_public<P: Evaluator>(x: &Value<P>, y: &Value<P>) -> Result<Value<P>, Error> {
    let times = |w: &[WordOf<P>], v: &[WordOf<P>]| w.iter().zip(v).map(|(&w, &v)| w.mul(v)).collect();
    match (x, y) {
        (Value::Public(w), v) | (v, Value::Public(w)) => Ok(v.map(w.len(), |v| times(w, v))),
        (_, _) => Err(Error::Misuse("neither factor is public".into())),
    }
}
