//! The values of a run: in which form each is held, and for how long.

use crate::Error;
use crate::protocol::{Evaluator, Linear, Source, WordOf};
use std::borrow::Cow;
use subrosa_graph::Program;
use subrosa_graph::program::Id;

/// One value of a program, as this party has it.
pub(super) enum Value<P: Evaluator> {
    /// Known to all.
    Public(Vec<WordOf<P>>),
    /// A share.
    Share(P::Share),
    /// A product that was not reshared.
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
    pub(super) fn map(&self, out_len: usize, f: impl Fn(&[WordOf<P>]) -> Vec<WordOf<P>>) -> Self {
        match self {
            Self::Public(v) => Self::Public(f(v)),
            Self::Share(x) => Self::Share(x.map(out_len, f)),
            Self::Product(z) => Self::Product(z.map(out_len, f)),
        }
    }
}

/// Two values, borrowed where they can be.
type Pair<'a, P> = (Cow<'a, Value<P>>, Cow<'a, Value<P>>);

/// All values of a run; each is dropped after its last use.
pub(super) struct Values<'a, P: Evaluator> {
    program: &'a Program,
    batch: usize,
    /// The last instruction that reads each value; outputs are read at the end.
    last_use: Vec<usize>,
    /// Instructions that read each value.
    reads: Vec<usize>,
    values: Vec<Option<Value<P>>>,
}

impl<'a, P: Evaluator> Values<'a, P> {
    pub(super) fn new(program: &'a Program, batch: usize) -> Self {
        let (mut last_use, mut reads) = (vec![0; program.insts.len()], vec![0; program.insts.len()]);
        for (id, inst) in program.insts.iter().enumerate() {
            for x in inst.op.operands() {
                last_use[x] = id;
                reads[x] += 1;
            }
        }
        program.outputs.iter().for_each(|&id| last_use[id] = program.insts.len());
        Self { program, batch, last_use, reads, values: program.insts.iter().map(|_| None).collect() }
    }

    /// Keeps the value of instruction `id` and drops what is not read again.
    pub(super) fn store(&mut self, id: Id, value: Value<P>) {
        self.values[id] = Some(value);
        for x in self.program.insts[id].op.operands() {
            if self.last_use[x] == id {
                self.values[x] = None;
            }
        }
    }

    /// The same value in another form.
    pub(super) fn replace(&mut self, x: Id, value: Value<P>) {
        self.values[x] = Some(value);
    }

    pub(super) fn batch(&self) -> usize {
        self.batch
    }

    /// Whether the value has the batch axis.
    pub(super) fn is_batched(&self, x: Id) -> bool {
        !self.program.is_constant(x)
    }

    /// Whether several instructions read the value.
    pub(super) fn is_shared(&self, x: Id) -> bool {
        self.reads[x] > 1
    }

    /// Samples in this value: the batch, or one for a constant.
    pub(super) fn samples(&self, x: Id) -> usize {
        if self.is_batched(x) { self.batch } else { 1 }
    }

    /// Elements of the whole value.
    pub(super) fn len(&self, x: Id) -> usize {
        self.program.insts[x].shape.len() * self.samples(x)
    }

    pub(super) fn get(&self, x: Id) -> Result<&Value<P>, Error> {
        let gone = || Error::Misuse(format!("instruction {x} is read before it is computed"));
        self.values.get(x).and_then(Option::as_ref).ok_or_else(gone)
    }

    /// The value as the share it is.
    pub(super) fn share(&self, x: Id) -> Result<&P::Share, Error> {
        match self.get(x)? {
            Value::Share(share) => Ok(share),
            Value::Public(_) | Value::Product(_) => Err(Error::Misuse(format!("instruction {x} was not reshared"))),
        }
    }

    /// The value as something to truncate.
    pub(super) fn source(&self, x: Id) -> Result<Source<'_, P>, Error> {
        match self.get(x)? {
            Value::Share(x) => Ok(Source::Share(x)),
            Value::Product(z) => Ok(Source::Product(z)),
            Value::Public(_) => {
                Err(Error::Misuse("a program truncates a public constant; lowering folds those".into()))
            }
        }
    }

    /// The value with the batch axis, constants repeated.
    pub(super) fn batched(&self, x: Id) -> Result<Cow<'_, Value<P>>, Error> {
        let (value, batch) = (self.get(x)?, self.batch);
        match self.is_batched(x) {
            true => Ok(Cow::Borrowed(value)),
            false => Ok(Cow::Owned(value.map(self.len(x) * batch, |v| v.repeat(batch)))),
        }
    }

    /// Both values, with the batch axis if either has it.
    pub(super) fn aligned(&self, x: Id, y: Id) -> Result<Pair<'_, P>, Error> {
        match self.is_batched(x) || self.is_batched(y) {
            true => Ok((self.batched(x)?, self.batched(y)?)),
            false => Ok((Cow::Borrowed(self.get(x)?), Cow::Borrowed(self.get(y)?))),
        }
    }
}
