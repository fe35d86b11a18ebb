//! A plan at work.

use crate::attest;
use crate::backends::Via;
use crate::ckks;
use crate::model::{Model, Port};
use crate::output::{Batch, Output, Phase, labels_of};
use crate::plan::{Fixed, Plan};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use subrosa_graph::{InputRange, PlainRunner, Reveal};
use subrosa_mpc::LocalCluster;
use subrosa_mpc::cluster::endpoint_names;
use subrosa_net::Network;

/// Parties that hold the model and wait for inputs. The third state.
pub struct Session {
    plan: Plan,
    engine: Engine,
    setup: Phase,
}

enum Engine {
    Plain(PlainEngine),
    Simulated,
    Cluster(Box<LocalCluster>),
    Ckks(Box<ckks::Engine>),
    Tee(Box<attest::Engine>, PlainEngine),
}

/// What one batch gave: one flat array an output, and its cost.
type BatchResult = (Vec<Vec<f32>>, Batch);

impl Session {
    pub(crate) fn open(plan: &Plan) -> Result<Self> {
        let start = Instant::now();
        let (engine, setup) = match (&plan.inner.fixed, &plan.inner.ckks) {
            (None, Some(ckks)) => {
                let (engine, setup) = ckks::Engine::start(ckks, plan.inner.options.threads)?;
                (Engine::Ckks(Box::new(engine)), setup)
            }
            (None, None) if plan.inner.options.via == Via::Tee => {
                let local = plan.inner.options.tee.as_ref().ok_or_else(attest::not_given)?;
                let (channel, setup) = attest::Engine::start(local, &plan.inner.model)?;
                let mut engine = PlainEngine { model: plan.inner.model.clone(), runners: BTreeMap::new() };
                engine.runner(plan.inner.options.batch)?;
                (Engine::Tee(Box::new(channel), engine), setup)
            }
            (None, None) => {
                let mut engine = PlainEngine { model: plan.inner.model.clone(), runners: BTreeMap::new() };
                engine.runner(plan.inner.options.batch)?;
                (Engine::Plain(engine), Phase::local(start.elapsed()))
            }
            (Some(fixed), _) => {
                let cluster = start_cluster(fixed, plan.inner.options.network)?;
                let setup = cluster.setup().into();
                (Engine::Cluster(Box::new(cluster)), setup)
            }
        };
        Ok(Self { plan: plan.clone(), engine, setup })
    }

    pub(crate) fn simulate(plan: &Plan) -> Result<Self> {
        if plan.inner.fixed.is_none() {
            let message = format!("'{}' has nothing to simulate", plan.inner.options.via);
            return Err(Error::misuse(message, "choose another backend (--via rep3)"));
        }
        Ok(Self { plan: plan.clone(), engine: Engine::Simulated, setup: Phase::default() })
    }

    /// The plan at work.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What starting took.
    pub fn setup(&self) -> Phase {
        self.setup
    }

    /// Computes all samples, in batches of the plan's size; a remainder is a smaller batch.
    /// `inputs` holds one flat array an input of the model.
    ///
    /// **Errors:** [`Error::Input`] for wrong lengths, NaN, infinities and values outside
    /// the plan's range, naming the position and the remedy; [`Error::Peer`].
    pub fn run(&mut self, inputs: &[Vec<f32>]) -> Result<Output> {
        self.run_watched(inputs, &mut |_, _| ())
    }

    /// As [`Session::run`]; after each batch `watch` is told how many samples are done, of
    /// how many.
    ///
    /// **Errors:** as [`Session::run`].
    pub fn run_watched(&mut self, inputs: &[Vec<f32>], watch: &mut dyn FnMut(usize, usize)) -> Result<Output> {
        let ports = self.plan.inner.model.inputs().to_vec();
        let samples = sample_count(&ports, inputs)?;
        let mut output = self.empty_output();
        let batch = self.plan.inner.options.batch;
        for start in (0..samples).step_by(batch) {
            let count = batch.min(samples - start);
            let part: Vec<&[f32]> = inputs.iter().zip(&ports).map(|(v, p)| slice(v, p, start, count)).collect();
            let (values, record) = self.run_batch(&part, start, count)?;
            output.values.iter_mut().zip(values).for_each(|(all, new)| all.extend(new));
            output.batches.push(record);
            output.samples += count;
            watch(output.samples, samples);
        }
        Ok(output)
    }

    /// An output without samples yet.
    pub(crate) fn empty_output(&self) -> Output {
        let inner = &self.plan.inner;
        Output {
            model: inner.model.name().to_owned(),
            via: inner.options.via,
            labels_only: inner.options.reveal == Reveal::Label,
            samples: 0,
            ports: inner.opened.clone(),
            values: vec![Vec::new(); inner.opened.len()],
            setup: self.setup,
            batches: Vec::new(),
        }
    }

    /// One inference of `count` samples; `first` is the number of the first, for messages.
    pub(crate) fn run_batch(&mut self, inputs: &[&[f32]], first: usize, count: usize) -> Result<BatchResult> {
        let inner = Arc::clone(&self.plan.inner);
        let only = inner.ckks.as_ref().map(|c| c.range);
        let ranges = inner.fixed.as_ref().map_or(only.as_slice(), |f| f.lowered.inputs.as_slice());
        for (i, (values, port)) in inputs.iter().zip(inner.model.inputs()).enumerate() {
            check_values(values, port, ranges.get(i), first)?;
        }
        let start = Instant::now();
        match (&mut self.engine, &inner.fixed) {
            (Engine::Plain(engine), _) => {
                let values = engine.run(inputs, count)?;
                let record = Batch { samples: count, offline: Phase::default(), online: Phase::local(start.elapsed()) };
                Ok((reveal_plain(values, &inner.model, inner.options.reveal), record))
            }
            (Engine::Tee(channel, engine), _) => channel.run(inputs, count, |inputs| {
                Ok(reveal_plain(engine.run(inputs, count)?, &inner.model, inner.options.reveal))
            }),
            (Engine::Ckks(engine), _) => match &inner.ckks {
                Some(ckks) => engine.run(ckks, inputs, count),
                None => Err(Error::misuse("the plan is not one via ckks", "")),
            },
            (Engine::Simulated, Some(fixed)) => simulated(fixed, inputs, count),
            (Engine::Cluster(cluster), Some(fixed)) => protected(cluster, fixed, inputs, count),
            (Engine::Simulated | Engine::Cluster(_), None) => Err(Error::misuse("the plan has no integers", "")),
        }
    }
}

/// tract, compiled once for each batch size met.
struct PlainEngine {
    model: Model,
    runners: BTreeMap<usize, PlainRunner>,
}

impl PlainEngine {
    fn runner(&mut self, batch: usize) -> Result<&PlainRunner> {
        use std::collections::btree_map::Entry;
        match self.runners.entry(batch) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => Ok(entry.insert(self.model.graph().plain(batch)?)),
        }
    }

    fn run(&mut self, inputs: &[&[f32]], count: usize) -> Result<Vec<Vec<f32>>> {
        Ok(self.runner(count)?.run(inputs)?)
    }
}

fn start_cluster(fixed: &Fixed, network: Option<Network>) -> Result<LocalCluster> {
    let program = Arc::new(fixed.lowered.program.clone());
    let names = endpoint_names(fixed.protocol, &fixed.options);
    let sessions = subrosa_net::local(&names.iter().map(String::as_str).collect::<Vec<_>>()).into_iter();
    let sessions = sessions.map(|s| match network {
        Some(network) => s.shaped(network),
        None => s,
    });
    Ok(LocalCluster::over(sessions.collect(), fixed.protocol, program, &fixed.lowered.weights, &fixed.options)?)
}

fn simulated(fixed: &Fixed, inputs: &[&[f32]], count: usize) -> Result<BatchResult> {
    let start = Instant::now();
    let encoded = encode(fixed, inputs)?;
    let lowered = &fixed.lowered;
    let outputs = subrosa_graph::oracle::run(&lowered.program, &lowered.weights, &encoded, count)?;
    let record = Batch { samples: count, offline: Phase::default(), online: Phase::local(start.elapsed()) };
    Ok((decode(fixed, &outputs), record))
}

fn protected(cluster: &mut LocalCluster, fixed: &Fixed, inputs: &[&[f32]], count: usize) -> Result<BatchResult> {
    let inference = cluster.infer(&encode(fixed, inputs)?, count)?;
    let record = Batch { samples: count, offline: inference.offline.into(), online: inference.online.into() };
    Ok((decode(fixed, &inference.outputs), record))
}

fn encode(fixed: &Fixed, inputs: &[&[f32]]) -> Result<Vec<Vec<i64>>> {
    inputs.iter().enumerate().map(|(i, values)| Ok(fixed.lowered.encode(i, values)?)).collect()
}

fn decode(fixed: &Fixed, outputs: &[Vec<i64>]) -> Vec<Vec<f32>> {
    outputs.iter().enumerate().map(|(i, values)| fixed.lowered.decode(i, values)).collect()
}

fn reveal_plain(values: Vec<Vec<f32>>, model: &Model, reveal: Reveal) -> Vec<Vec<f32>> {
    match reveal {
        Reveal::Logits => values,
        Reveal::Label => values.iter().zip(model.outputs()).map(|(v, port)| labels_of(v, port)).collect(),
    }
}

pub(crate) fn slice<'a>(values: &'a [f32], port: &Port, start: usize, count: usize) -> &'a [f32] {
    let len = port.sample_len();
    &values[start * len..(start + count) * len]
}

/// How many samples `inputs` holds: whole ones, and equally many of each input.
pub(crate) fn sample_count(ports: &[Port], inputs: &[Vec<f32>]) -> Result<usize> {
    if inputs.len() != ports.len() {
        let message = format!("{} inputs were given to a model of {}", inputs.len(), ports.len());
        return Err(Error::input(message, "give one array for each input"));
    }
    let mut count = None;
    for (values, port) in inputs.iter().zip(ports) {
        let len = port.sample_len().max(1);
        let n = values.len() / len;
        if values.is_empty() || !values.len().is_multiple_of(len) || count.is_some_and(|c| c != n) {
            let message =
                format!("input '{}' takes {}, but {} values were given", port.name, port.dims_text(), values.len());
            return Err(Error::input(message, &format!("give whole samples of {len} values, as many for every input")));
        }
        count = Some(n);
    }
    count.ok_or_else(|| Error::input("the model has no input", ""))
}

/// Every value finite and in range. The message names the position, and the value itself
/// only for whoever holds it anyway.
pub(crate) fn check_values(values: &[f32], port: &Port, range: Option<&InputRange>, first: usize) -> Result<()> {
    let bad = |v: &f32| !v.is_finite() || range.is_some_and(|r| f64::from(*v) < r.lo || f64::from(*v) > r.hi);
    let Some(at) = values.iter().position(bad) else { return Ok(()) };
    let len = port.sample_len().max(1);
    let place =
        format!("input '{}', sample {}, value {} is {}", port.name, first + at / len + 1, at % len + 1, values[at]);
    match range.filter(|_| values[at].is_finite()) {
        Some(r) => Err(Error::input(
            format!("{place}, outside the range [{}, {}] that the plan was proven for", r.lo, r.hi),
            "plan for wider inputs (--calibrate FILE with data like this, or --input-range LO,HI)",
        )),
        None => Err(Error::input(place, "replace NaN and infinities first")),
    }
}

impl Session {
    /// Who computes; `simulate` sessions name the backend they stand for.
    pub fn via(&self) -> Via {
        self.plan.inner.options.via
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port() -> Port {
        Port { name: "x".into(), shape: vec![1, 3], batched: true }
    }

    #[test]
    fn lengths_are_checked_before_anything_runs() {
        let ports = [port()];
        assert_eq!(sample_count(&ports, &[vec![0.0; 6]]).unwrap(), 2);
        assert!(sample_count(&ports, &[vec![0.0; 7]]).is_err());
        assert!(sample_count(&ports, &[vec![]]).is_err());
        assert!(sample_count(&ports, &[]).is_err());
        let two = [port(), port()];
        assert!(sample_count(&two, &[vec![0.0; 3], vec![0.0; 6]]).is_err());
    }

    #[test]
    fn a_bad_value_is_named_by_its_place() {
        let range = InputRange { lo: 0.0, hi: 1.0 };
        let check = |v: &[f32]| check_values(v, &port(), Some(&range), 128).unwrap_err().to_string();
        let text = check(&[0.0, 0.5, 1.0, 0.0, 7.5, 0.0]);
        assert!(text.starts_with("input 'x', sample 130, value 2 is 7.5, outside the range [0, 1]"), "{text}");
        assert!(text.contains("--calibrate") && text.contains("--input-range"), "{text}");
        assert!(check(&[f32::NAN, 0.0, 0.0]).contains("is NaN; replace"), "NaN has its own words");
        assert!(check_values(&[f32::INFINITY], &port(), None, 0).is_err());
        assert!(check_values(&[0.0, 1.0], &port(), Some(&range), 0).is_ok());
    }
}
