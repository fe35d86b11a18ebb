//! One slot a sample: every element of a value is a ciphertext of its own, matrices have
//! integer entries, and nothing is ever rotated.

use super::choose::{Choice, Demand, choices, droppable, too_deep};
use super::{Plan, PlanOptions, Work, largest_value};
use crate::Error;
use crate::circuit::{Circuit, Kind, Step};
use crate::public::{Mark, Packing, PublicPlan};
use std::collections::BTreeMap;

/// The circuit with level and scale of each step.
#[derive(Clone, Debug)]
pub struct Throughput {
    /// What is computed.
    pub circuit: Circuit,
    /// Level and scale of each step's value.
    pub marks: Vec<Mark>,
    /// Whether squares may keep their third part until after the next matrix: faster, and
    /// half as much again in memory.
    pub defer: bool,
}

/// Memory (bytes) that the values of a circuit may take before squares are relinearised at
/// once.
const DEFER_BYTES: u64 = 6_000_000_000;

impl Throughput {
    fn new(circuit: &Circuit, marks: Vec<Mark>, n: usize) -> Self {
        let mut work = Self { circuit: circuit.clone(), marks, defer: true };
        work.defer = work.value_bytes(n) <= DEFER_BYTES;
        work
    }

    /// For each step, the last step that reads it; the output is read at the end.
    pub(crate) fn last_readers(&self) -> Vec<usize> {
        let mut last = vec![0; self.circuit.steps.len()];
        for (id, step) in self.circuit.steps.iter().enumerate() {
            step.operands().into_iter().for_each(|x| last[x] = id);
        }
        self.circuit.outputs.iter().for_each(|&o| last[o] = usize::MAX);
        last
    }

    /// The shift of the next step, if it squares this affine one and nobody else reads it.
    pub(crate) fn squared_by(&self, last: &[usize], id: usize) -> Option<f64> {
        let Kind::Square(x, shift) = self.circuit.steps.get(id + 1)?.kind else { return None };
        let alone = x == id && last[id] == id + 1;
        (alone && matches!(self.circuit.steps[id].kind, Kind::Affine { .. })).then_some(shift)
    }

    /// Whether a square is best relinearised after its only reader, a matrix of fewer rows.
    pub(crate) fn is_deferred(&self, last: &[usize], id: usize) -> bool {
        let step = &self.circuit.steps[id];
        let Some(reader) = self.circuit.steps.get(last[id]) else { return false };
        let reads = |s: &Step| matches!(&s.kind, Kind::Affine { terms, .. } if terms.iter().any(|t| t.0 == id));
        let readers = self.circuit.steps.iter().filter(|s| reads(s)).count();
        let is_square = matches!(step.kind, Kind::Square(..));
        self.defer && is_square && readers == 1 && reads(reader) && reader.len < step.len
    }

    /// The most bytes that values take at a time, for a ring of degree `n`: what is read,
    /// and what is computed from it.
    pub fn value_bytes(&self, n: usize) -> u64 {
        let last = self.last_readers();
        let size = |id: usize| {
            let parts = if self.is_deferred(&last, id) { 3 } else { 2 };
            (self.circuit.steps[id].len * parts * self.marks[id].level * n * size_of::<u64>()) as u64
        };
        let mut alive: BTreeMap<usize, u64> = BTreeMap::new();
        let mut most = 0;
        for id in 0..self.circuit.steps.len() {
            // Never whole in memory.
            if self.squared_by(&last, id).is_some() {
                continue;
            }
            alive.insert(id, size(id));
            most = most.max(alive.values().sum());
            alive.retain(|&x, _| last[x] > id);
        }
        most
    }
}

pub(super) fn plan(circuit: &Circuit, options: &PlanOptions) -> Result<Plan, Error> {
    check(circuit)?;
    let largest = largest_value(circuit, options);
    let depth = depths(circuit).into_iter().max().unwrap_or(0);
    let demand = Demand { depth, largest, slots: 1, attacker: options.attacker, least_scale: options.least_scale };
    match choices(demand).next() {
        Some(choice) => Ok(build(circuit, &choice?, options, largest)),
        None => Err(too_deep(demand)),
    }
}

/// The plan that these parameters give.
pub(super) fn rebuild(circuit: &Circuit, choice: &Choice, options: &PlanOptions) -> Result<Option<Plan>, Error> {
    check(circuit)?;
    let depth = depths(circuit).into_iter().max().unwrap_or(0);
    Ok((depth < choice.params.levels()).then(|| build(circuit, choice, options, 0.0)))
}

pub(super) fn check(circuit: &Circuit) -> Result<(), Error> {
    if circuit.inputs.len() != 1 || circuit.outputs.len() != 1 {
        return Err(Error::Plan("a model of several inputs or outputs is not supported via ckks yet".to_owned()));
    }
    let output = &circuit.steps[circuit.outputs[0]];
    if matches!(output.kind, Kind::Affine { .. }) && output.operands().is_empty() {
        return Err(Error::Plan("the output does not depend on the input: there is nothing to encrypt".to_owned()));
    }
    Ok(())
}

/// Rescalings before each step's value.
pub(super) fn depths(circuit: &Circuit) -> Vec<usize> {
    let mut depths: Vec<usize> = Vec::new();
    for step in &circuit.steps {
        let deepest = |ids: Vec<usize>| ids.into_iter().map(|x| depths[x] + 1).max().unwrap_or(0);
        let depth = match &step.kind {
            Kind::Combine { base, terms, .. } => depths[*base].max(deepest(terms.iter().map(|t| t.0).collect())),
            Kind::Input | Kind::Affine { .. } | Kind::Square(..) | Kind::Product(..) | Kind::Function(..) => {
                deepest(step.operands())
            }
        };
        depths.push(depth);
    }
    depths
}

/// Level and scale of every step's value, and the highest level at which products occur.
pub(super) fn marks(circuit: &Circuit, choice: &Choice) -> (Vec<Mark>, Option<usize>) {
    let params = &choice.params;
    let target = f64::from(choice.scale_bits).exp2();
    let fresh = Mark { level: params.levels(), scale: target };
    let mut marks: Vec<Mark> = Vec::new();
    let mut relinearise = None;
    for step in &circuit.steps {
        let level = step.operands().into_iter().map(|x| marks[x].level).min().unwrap_or(fresh.level);
        let dropped = params.modulus(level - 1).value() as f64;
        let after = |scale: f64| Mark { level: level - 1, scale };
        marks.push(match &step.kind {
            Kind::Combine { base, terms, .. } => {
                let terms = terms.iter().map(|t| marks[t.0].level - 1);
                Mark { level: terms.fold(marks[*base].level, usize::min), scale: marks[*base].scale }
            }
            Kind::Input | Kind::Function(..) => fresh,
            Kind::Affine { .. } => after(target),
            Kind::Square(x, _) => after(marks[*x].scale * marks[*x].scale / dropped),
            Kind::Product(x, y) => after(marks[*x].scale * marks[*y].scale / dropped),
        });
        if matches!(step.kind, Kind::Square(..) | Kind::Product(..)) {
            relinearise = relinearise.max(Some(level));
        }
    }
    (marks, relinearise)
}

fn build(circuit: &Circuit, choice: &Choice, options: &PlanOptions, largest: f64) -> Plan {
    let (marks, relinearise) = marks(circuit, choice);
    let (input, output) = (circuit.inputs[0], circuit.outputs[0]);
    let public = PublicPlan {
        params: choice.params.clone(),
        model: options.model.clone(),
        input_len: circuit.steps[input].len,
        input_range: options.input_range,
        output_len: circuit.steps[output].len,
        packing: Packing::Throughput,
        fresh: marks[input],
        answer: marks[output],
        answer_drop: droppable(&choice.params, marks[output]),
        publish: None,
        relinearise,
        rotations: Vec::new(),
    };
    let work = Work::Throughput(Throughput::new(circuit, marks, choice.params.n()));
    Plan { public, work, largest }
}
