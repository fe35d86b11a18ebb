//! Models in the clear.

use crate::error::Error;
use crate::worker::{Unanswered, Worker};
use std::sync::Weak;
use subrosa::{Model, PlanOptions, Port, Session, Via};

/// One flat array an output.
pub(crate) type Values = Vec<Vec<f32>>;

/// The model compiled for powers of two: a batch is cut into these, so that no client's choice of
/// sizes makes it grow.
pub(crate) struct Sessions {
    model: Model,
    /// None after a panic.
    session: Option<Session>,
    /// Samples that tract gets at a time.
    largest: usize,
    /// Samples of several requests that are computed at once.
    together: usize,
}

/// What is asked of a model.
pub(crate) struct Inputs {
    /// One flat array an input, of finite values.
    pub(crate) values: Values,
    pub(crate) samples: usize,
    /// Until whoever asked is gone, or was told that it took too long.
    pub(crate) waited_for: Weak<()>,
}

impl Worker for Sessions {
    type Task = Inputs;
    type Done = Values;

    fn most(&self) -> usize {
        self.together
    }

    fn weight(&self, task: &Inputs) -> usize {
        task.samples
    }

    fn compute(&mut self, tasks: &[Inputs]) -> Result<Vec<Values>, Unanswered> {
        let gone = || tasks.iter().all(|task| task.waited_for.strong_count() == 0);
        if let [task] = tasks {
            return Ok(vec![self.run(&task.values, task.samples, &gone)?]);
        }
        let joined = |input: usize| tasks.iter().filter_map(|task| task.values.get(input)).flatten().copied().collect();
        let inputs: Values = (0..self.model.inputs().len()).map(joined).collect();
        let samples = tasks.iter().map(|task| task.samples).sum();
        let outputs = self.run(&inputs, samples, &gone)?;
        let mut first = 0;
        let split = |task: &Inputs| {
            let own = part(&outputs, self.model.outputs(), first, task.samples);
            first += task.samples;
            own
        };
        Ok(tasks.iter().map(split).collect())
    }

    fn recover(&mut self) {
        self.session = None;
    }
}

impl Sessions {
    /// Of up to `samples` at a time, of which up to `together` may be of several requests. The
    /// model is compiled now for all sizes that these make: one that cannot run is known, and no
    /// request waits for it.
    ///
    /// **Errors:** [`crate::Error::Library`] if the model cannot run.
    pub(crate) fn new(model: &Model, samples: usize, together: usize) -> Result<Self, Error> {
        let largest = 1 << samples.clamp(1, LARGEST).ilog2();
        let mut sessions = Self { model: model.clone(), session: None, largest, together: 1 };
        sessions.session = match sessions.open() {
            Ok(session) => Some(session),
            // It mixes the samples of a batch, or has none: one at a time.
            Err(_) if sessions.largest > 1 => {
                sessions.largest = 1;
                Some(sessions.open()?)
            }
            Err(error) => return Err(error.into()),
        };
        if sessions.largest > 1 && model.inputs().iter().all(|port| port.batched) {
            sessions.together = together.max(1);
        }
        let most = sessions.together.min(sessions.largest);
        for size in (0..usize::BITS).map(|bit| 1 << bit).take_while(|size| *size <= most) {
            let nothing: Values = model.inputs().iter().map(|port| vec![0.0; size * port.sample_len()]).collect();
            if let Some(session) = &mut sessions.session {
                session.run(&nothing)?;
            }
        }
        Ok(sessions)
    }

    fn open(&self) -> subrosa::Result<Session> {
        let options = PlanOptions { via: Via::Plain, batch: self.largest, ..PlanOptions::default() };
        self.model.plan(&options)?.open()
    }

    fn run(&mut self, inputs: &[Vec<f32>], samples: usize, gone: &dyn Fn() -> bool) -> Result<Values, Unanswered> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.open().map_err(Unanswered::Refused)?,
        };
        let outputs = self.run_in(&mut session, inputs, samples, gone);
        // Not where it panicked.
        self.session = Some(session);
        outputs
    }

    /// In parts; given up between two when everybody is `gone`.
    fn run_in(
        &self,
        session: &mut Session,
        inputs: &[Vec<f32>],
        samples: usize,
        gone: &dyn Fn() -> bool,
    ) -> Result<Values, Unanswered> {
        let mut run = |inputs: &[Vec<f32>]| session.run(inputs).map_err(Unanswered::Refused);
        if samples <= self.largest && samples.is_power_of_two() {
            return Ok(run(inputs)?.values);
        }
        let mut outputs = vec![Vec::new(); self.model.outputs().len()];
        let mut first = 0;
        while first < samples {
            if gone() {
                return Err(Unanswered::Failed);
            }
            let left = samples - first;
            let size = self.largest.min(1 << left.ilog2());
            let output = run(&part(inputs, self.model.inputs(), first, size))?;
            outputs.iter_mut().zip(output.values).for_each(|(all, new)| all.extend(new));
            first += size;
        }
        Ok(outputs)
    }
}

/// Some of the samples of each port.
fn part(values: &[Vec<f32>], ports: &[Port], first: usize, count: usize) -> Values {
    let cut = |(values, port): (&Vec<f32>, &Port)| {
        let len = port.sample_len();
        values.get(first * len..(first + count) * len).unwrap_or_default().to_vec()
    };
    values.iter().zip(ports).map(cut).collect()
}

/// Larger batches take longer a sample: what a layer gives no longer fits the cache near a core.
const LARGEST: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;
    use std::sync::{Arc, LazyLock};

    /// Somebody waits for everything.
    static WAITING: LazyLock<Arc<()>> = LazyLock::new(Arc::default);

    fn model(name: &str) -> Model {
        Model::open(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models")).join(name)).unwrap()
    }

    /// Made-up digits, others for another seed.
    fn task(seed: usize, samples: usize) -> Inputs {
        let value = |i: usize| ((seed * 7919 + i) as f64 * 0.618_033_988_749_895).fract() as f32;
        let waited_for = Arc::downgrade(&WAITING);
        Inputs { values: vec![(0..samples * 784).map(value).collect()], samples, waited_for }
    }

    /// float32 sums in another order.
    fn close(a: &Values, b: &Values) -> bool {
        let near = |(a, b): (&Vec<f32>, &Vec<f32>)| {
            let largest = b.iter().fold(1e-6f32, |most, x| most.max(x.abs()));
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-4 * largest)
        };
        a.len() == b.len() && a.iter().zip(b).all(near)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn requests_computed_at_once_are_answered_as_alone(sizes in prop::collection::vec(1usize..9, 1..9)) {
            let mut sessions = Sessions::new(&model("mlp.onnx"), 16, 32).unwrap();
            let tasks: Vec<_> = sizes.iter().enumerate().map(|(seed, size)| task(seed, *size)).collect();
            let together = sessions.compute(&tasks).unwrap();
            prop_assert_eq!(together.len(), tasks.len());
            for (task, own) in tasks.iter().zip(&together) {
                let alone = sessions.compute(std::slice::from_ref(task)).unwrap();
                prop_assert!(close(own, &alone[0]));
            }
        }
    }

    #[test]
    fn what_nobody_waits_for_is_not_computed_on() {
        let mut sessions = Sessions::new(&model("mlp.onnx"), 2, 8).unwrap();
        let left = || Inputs { waited_for: std::sync::Weak::new(), ..task(1, 3) };
        assert!(matches!(sessions.compute(&[left(), left()]), Err(Unanswered::Failed)));
        assert_eq!(sessions.compute(&[left(), task(2, 3)]).unwrap()[1][0].len(), 30, "one does");
    }

    #[test]
    fn after_a_panic_it_is_compiled_again() {
        let mut sessions = Sessions::new(&model("mlp.onnx"), 4, 4).unwrap();
        let before = sessions.compute(&[task(1, 3)]).unwrap();
        sessions.recover();
        assert!(close(&sessions.compute(&[task(1, 3)]).unwrap()[0], &before[0]));
    }
}
