//! A circuit without branches: what the latency packing computes.

use crate::Error;
use crate::circuit::{Circuit, Function, Kind, Sparse, Step};

/// Steps that each read the one before.
#[derive(Clone, Debug)]
pub struct Chain<'a> {
    /// Elements of the input.
    pub input_len: usize,
    /// Elements of the output.
    pub output_len: usize,
    /// The steps.
    pub steps: Vec<ChainStep<'a>>,
}

/// One step.
#[derive(Clone, Copy, Debug)]
pub enum ChainStep<'a> {
    /// `A x + b`.
    Affine(&'a Sparse, &'a [f64]),
    /// The square of each element.
    Square,
    /// A function of each element.
    Function(Function),
}

impl<'a> Chain<'a> {
    /// **Errors:** [`Error::Plan`] for a model with branches, or with several inputs or
    /// outputs.
    pub fn of(circuit: &'a Circuit) -> Result<Self, Error> {
        let branches = || {
            Error::Plan("the model branches or has several inputs or outputs, and the latency packing takes a single chain of layers".to_owned())
        };
        let (&[input], &[output]) = (circuit.inputs.as_slice(), circuit.outputs.as_slice()) else {
            return Err(branches());
        };
        if input != 0 || output + 1 != circuit.steps.len() {
            return Err(branches());
        }
        let steps = circuit.steps.iter().enumerate().skip(1);
        let steps = steps.map(|(i, s)| step(i - 1, s).ok_or_else(branches)).collect::<Result<_, _>>()?;
        Ok(Self { input_len: circuit.steps[0].len, output_len: circuit.steps[output].len, steps })
    }

    /// How many matrices there are.
    pub fn affine_steps(&self) -> usize {
        self.steps.iter().filter(|s| matches!(s, ChainStep::Affine(..))).count()
    }
}

fn step(before: usize, step: &Step) -> Option<ChainStep<'_>> {
    match &step.kind {
        Kind::Affine { terms, bias } => match terms.as_slice() {
            [(x, matrix)] if *x == before => Some(ChainStep::Affine(matrix, bias)),
            _ => None,
        },
        Kind::Square(x) => (*x == before).then_some(ChainStep::Square),
        Kind::Function(x, f) => (*x == before).then_some(ChainStep::Function(*f)),
        Kind::Input | Kind::Product(..) => None,
    }
}
