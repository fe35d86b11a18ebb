//! One slot a sample: every element of a value is a ciphertext of its own, matrices have
//! integer entries, and nothing is ever rotated.

use super::choose::{Choice, Demand, choices, too_deep};
use super::{Plan, PlanOptions, Work, largest_value};
use crate::Error;
use crate::circuit::{Circuit, Kind};
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

pub(super) fn check(circuit: &Circuit) -> Result<(), Error> {
    if circuit.inputs.len() != 1 || circuit.outputs.len() != 1 {
        return Err(Error::Plan("a model of several inputs or outputs is not supported via ckks yet".to_owned()));
    }
    Ok(())
}

/// Rescalings before each step's value.
pub(super) fn depths(circuit: &Circuit) -> Vec<usize> {
    let mut depths: Vec<usize> = Vec::new();
    for step in &circuit.steps {
        let deepest = step.operands().into_iter().map(|x| depths[x] + 1).max().unwrap_or(0);
        depths.push(deepest);
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
        relinearise,
        rotations: Vec::new(),
    };
    let work = Work::Throughput(Throughput { circuit: circuit.clone(), marks });
    Plan { public, work, largest, approximations: Vec::new() }
}
