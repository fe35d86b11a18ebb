//! Models in the clear.

use crate::error::Result;
use crate::worker::{Unanswered, Worker};
use std::collections::BTreeMap;
use std::sync::Weak;
use subrosa::{Model, PlanOptions, Session, Via};

/// One flat array an output.
pub(crate) type Values = Vec<Vec<f32>>;

/// The model compiled for powers of two, by size: a batch is cut into these, so that no client's
/// choice of sizes makes it grow.
pub(crate) struct Sessions {
    model: Model,
    by_size: BTreeMap<usize, Session>,
    largest: usize,
}

/// What is asked of a model.
pub(crate) struct Inputs {
    /// One flat array an input.
    pub(crate) values: Values,
    pub(crate) samples: usize,
    /// Until whoever asked is gone, or was told that it took too long.
    pub(crate) waited_for: Weak<()>,
}

impl Worker for Sessions {
    type Task = Inputs;
    type Done = Values;

    fn compute(&mut self, task: Inputs) -> std::result::Result<Values, Unanswered> {
        let Inputs { values: inputs, samples, waited_for } = task;
        let mut outputs = vec![Vec::new(); self.model.outputs().len()];
        let mut first = 0;
        while first < samples {
            if waited_for.strong_count() == 0 {
                return Err(Unanswered::Failed);
            }
            let left = samples - first;
            let size = self.largest.min(1 << left.ilog2());
            let part = self.part(&inputs, first, size);
            let output = self.of(size).and_then(|session| session.run(&part)).map_err(Unanswered::Refused)?;
            outputs.iter_mut().zip(output.values).for_each(|(all, new)| all.extend(new));
            first += size;
        }
        Ok(outputs)
    }

    fn recover(&mut self) {
        self.by_size.clear();
    }
}

impl Sessions {
    /// Of up to `samples` at a time. The model is compiled once, so that one that cannot run is
    /// known now.
    ///
    /// **Errors:** [`crate::Error::Library`] if the model cannot run.
    pub(crate) fn new(model: &Model, samples: usize) -> Result<Self> {
        let largest = samples.clamp(1, LARGEST);
        let largest = 1 << largest.ilog2();
        let mut sessions = Self { model: model.clone(), by_size: BTreeMap::new(), largest };
        sessions.of(1)?;
        Ok(sessions)
    }

    fn of(&mut self, size: usize) -> subrosa::Result<&mut Session> {
        use std::collections::btree_map::Entry;
        match self.by_size.entry(size) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let options = PlanOptions { via: Via::Plain, batch: size, ..PlanOptions::default() };
                Ok(entry.insert(self.model.plan(&options)?.open()?))
            }
        }
    }

    fn part(&self, inputs: &[Vec<f32>], first: usize, size: usize) -> Values {
        let cut = |(values, port): (&Vec<f32>, &subrosa::Port)| {
            let len = port.sample_len();
            values.get(first * len..(first + size) * len).unwrap_or_default().to_vec()
        };
        inputs.iter().zip(self.model.inputs()).map(cut).collect()
    }
}

/// Larger batches are no faster a sample.
const LARGEST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn what_nobody_waits_for_is_not_computed_on() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/mlp.onnx");
        let mut sessions = Sessions::new(&Model::open(path).unwrap(), 2).unwrap();
        let waiting = Arc::new(());
        let task = || Inputs { values: vec![vec![0.5; 5 * 784]], samples: 5, waited_for: Arc::downgrade(&waiting) };
        assert_eq!(sessions.compute(task()).unwrap()[0].len(), 50);
        let left = task();
        drop(waiting);
        assert!(matches!(sessions.compute(left), Err(Unanswered::Failed)));
    }
}
