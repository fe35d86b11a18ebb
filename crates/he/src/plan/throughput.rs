//! One slot a sample: every element of a value is a ciphertext of its own, matrices have
//! integer entries, and nothing is ever rotated.

use super::choose::{Choice, Demand, choices, too_deep};
use super::{Plan, PlanOptions, Work, largest_value, not_polynomial};
use crate::Error;
use crate::circuit::{Circuit, Kind, Step};
use crate::public::{Mark, Packing, PublicPlan};

/// The circuit with level and scale of each step.
#[derive(Clone, Debug)]
pub struct Throughput {
    /// What is computed.
    pub circuit: Circuit,
    /// Level and scale of each step's value.
    pub marks: Vec<Mark>,
}

pub(super) fn plan(circuit: &Circuit, options: &PlanOptions) -> Result<Plan, Error> {
    check(circuit)?;
    let largest = largest_value(circuit, options);
    let depth = depths(circuit).into_iter().max().unwrap_or(0);
    let demand = Demand { depth, largest, slots: 1, attacker: options.attacker };
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

fn check(circuit: &Circuit) -> Result<(), Error> {
    if circuit.inputs.len() != 1 || circuit.outputs.len() != 1 {
        return Err(Error::Plan("a model of several inputs or outputs is not supported via ckks yet".to_owned()));
    }
    match circuit.steps.iter().find(|s| matches!(s.kind, Kind::Function(..))) {
        Some(step) => Err(not_polynomial(&step.name)),
        None => Ok(()),
    }
}

fn operands(step: &Step) -> Vec<usize> {
    match &step.kind {
        Kind::Input => Vec::new(),
        Kind::Affine { terms, .. } => terms.iter().map(|t| t.0).collect(),
        Kind::Square(x) | Kind::Function(x, _) => vec![*x],
        Kind::Product(x, y) => vec![*x, *y],
    }
}

/// Rescalings before each step's value.
fn depths(circuit: &Circuit) -> Vec<usize> {
    let mut depths: Vec<usize> = Vec::new();
    for step in &circuit.steps {
        let deepest = operands(step).into_iter().map(|x| depths[x] + 1).max().unwrap_or(0);
        depths.push(deepest);
    }
    depths
}

fn build(circuit: &Circuit, choice: &Choice, options: &PlanOptions, largest: f64) -> Plan {
    let params = &choice.params;
    let target = f64::from(choice.scale_bits).exp2();
    let fresh = Mark { level: params.levels(), scale: target };
    let mut marks: Vec<Mark> = Vec::new();
    let mut relinearise = None;
    for step in &circuit.steps {
        let level = operands(step).into_iter().map(|x| marks[x].level).min().unwrap_or(fresh.level);
        let dropped = params.modulus(level - 1).value() as f64;
        let after = |scale: f64| Mark { level: level - 1, scale };
        marks.push(match &step.kind {
            Kind::Input | Kind::Function(..) => fresh,
            Kind::Affine { .. } => after(target),
            Kind::Square(x) => after(marks[*x].scale * marks[*x].scale / dropped),
            Kind::Product(x, y) => after(marks[*x].scale * marks[*y].scale / dropped),
        });
        if matches!(step.kind, Kind::Square(_) | Kind::Product(..)) {
            relinearise = relinearise.max(Some(level));
        }
    }
    let output = circuit.outputs[0];
    let public = PublicPlan {
        params: params.clone(),
        model: options.model.clone(),
        input_len: circuit.steps[circuit.inputs[0]].len,
        input_range: options.input_range,
        output_len: circuit.steps[output].len,
        packing: Packing::Throughput,
        fresh,
        answer: marks[output],
        relinearise,
        rotations: Vec::new(),
    };
    Plan { public, work: Work::Throughput(Throughput { circuit: circuit.clone(), marks }), largest }
}
