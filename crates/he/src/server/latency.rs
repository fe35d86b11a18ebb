//! One sample: linear stages by diagonals, squares.

use crate::Error;
use crate::encoder::Encoder;
use crate::plan::{LinearStage, Stage};
use std::collections::BTreeMap;
use subrosa_lattice::{Ciphertext, Digits, EvaluationKeys, Extended, Params, Poly};

/// A stage with its weights as polynomials.
pub(super) enum Encoded {
    Linear(EncodedLinear),
    Square,
}

pub(super) struct EncodedLinear {
    giants: Vec<EncodedGiant>,
    extended: bool,
    /// Galois elements of each sum.
    sums: Vec<Vec<usize>>,
    bias: Poly,
}

struct EncodedGiant {
    /// Galois element; none for no rotation.
    element: Option<usize>,
    /// `(operand, Galois element of the baby step, factors)`.
    terms: Vec<(usize, Option<usize>, Poly)>,
}

impl Encoded {
    pub(super) fn new(encoder: &Encoder, params: &Params, stage: &Stage) -> Result<Self, Error> {
        match stage {
            Stage::Linear(linear) => encode_linear(encoder, params, linear).map(Self::Linear),
            Stage::Square => Ok(Self::Square),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Linear(l) => l.giants.iter().flat_map(|g| &g.terms).map(|t| t.2.bytes()).sum(),
            Self::Square => 0,
        }
    }
}

pub(super) fn evaluate(
    params: &Params,
    stages: &[Encoded],
    mut values: Vec<Ciphertext>,
    keys: &EvaluationKeys,
) -> Result<Vec<Ciphertext>, Error> {
    for stage in stages {
        values = vec![match stage {
            Encoded::Linear(stage) => linear(params, stage, &values, keys)?,
            Encoded::Square => square(params, &values[0], keys)?,
        }];
    }
    Ok(values)
}

fn square(params: &Params, x: &Ciphertext, keys: &EvaluationKeys) -> Result<Ciphertext, Error> {
    let mut y = params.relinearise(params.tensor_square(x), keys)?;
    params.rescale(&mut y)?;
    Ok(y)
}

fn linear(
    params: &Params,
    stage: &EncodedLinear,
    x: &[Ciphertext],
    keys: &EvaluationKeys,
) -> Result<Ciphertext, Error> {
    let mut y =
        if stage.extended { products_extended(params, stage, x, keys)? } else { products(params, stage, x, keys)? };
    params.rescale(&mut y)?;
    for rotations in &stage.sums {
        y = sum(params, y, rotations, keys)?;
    }
    params.add(&mut y.c0, &stage.bias);
    Ok(y)
}

/// Without baby steps: products modulo `q`, giant steps with one division in the end.
fn products(
    params: &Params,
    stage: &EncodedLinear,
    x: &[Ciphertext],
    keys: &EvaluationKeys,
) -> Result<Ciphertext, Error> {
    let level = x[0].level();
    let mut plain: Option<Ciphertext> = None;
    let mut rotated: Option<Extended> = None;
    for giant in &stage.giants {
        let part = |pick: fn(&Ciphertext) -> &Poly| {
            let pairs: Vec<_> = giant.terms.iter().map(|(operand, _, factors)| (pick(&x[*operand]), factors)).collect();
            params.dot(level, false, &pairs)
        };
        let sum = Ciphertext { c0: part(|c| &c.c0), c1: part(|c| &c.c1) };
        match giant.element {
            None => plain = Some(sum),
            Some(g) => {
                let key = keys.galois(g, level)?;
                add_extended(params, &mut rotated, params.automorphism_extended(&sum, &params.decompose(&sum.c1), key));
            }
        }
    }
    let divided = rotated.map(|r| params.mod_down_pair(r));
    match (plain, divided) {
        (Some(mut a), Some(b)) => {
            params.add(&mut a.c0, &b.c0);
            params.add(&mut a.c1, &b.c1);
            Ok(a)
        }
        (Some(a), None) | (None, Some(a)) => Ok(a),
        (None, None) => Ok(Ciphertext { c0: params.zero(level, false), c1: params.zero(level, false) }),
    }
}

/// With baby steps: everything keeps the special primes until the end.
fn products_extended(
    params: &Params,
    stage: &EncodedLinear,
    x: &[Ciphertext],
    keys: &EvaluationKeys,
) -> Result<Ciphertext, Error> {
    let level = x[0].level();
    let views = views(params, stage, x, keys)?;
    let mut total: Option<Extended> = None;
    for giant in &stage.giants {
        let part = |pick: fn(&Extended) -> &Poly| {
            let pairs: Vec<_> =
                giant.terms.iter().map(|(o, baby, factors)| (pick(&views[&(*o, *baby)]), factors)).collect();
            params.dot(level, true, &pairs)
        };
        let sum = Extended { c0: part(|e| &e.c0), c1: part(|e| &e.c1) };
        let sum = match giant.element {
            None => sum,
            Some(g) => params.rotate_extended(sum, keys.galois(g, level)?),
        };
        add_extended(params, &mut total, sum);
    }
    let zero = || Extended { c0: params.zero(level, true), c1: params.zero(level, true) };
    Ok(params.mod_down_pair(total.unwrap_or_else(zero)))
}

/// `x` plus its rotations.
fn sum(params: &Params, x: Ciphertext, elements: &[usize], keys: &EvaluationKeys) -> Result<Ciphertext, Error> {
    let digits = params.decompose(&x.c1);
    let mut total = None;
    for &g in elements {
        let key = keys.galois(g, x.level())?;
        add_extended(params, &mut total, params.automorphism_extended(&x, &digits, key));
    }
    let Some(total) = total else { return Ok(x) };
    let mut y = params.mod_down_pair(total);
    params.add(&mut y.c0, &x.c0);
    params.add(&mut y.c1, &x.c1);
    Ok(y)
}

/// Every operand under every baby step it is needed in.
fn views(
    params: &Params,
    stage: &EncodedLinear,
    x: &[Ciphertext],
    keys: &EvaluationKeys,
) -> Result<BTreeMap<(usize, Option<usize>), Extended>, Error> {
    let mut digits: BTreeMap<usize, Digits> = BTreeMap::new();
    let mut views = BTreeMap::new();
    for (operand, baby, _) in stage.giants.iter().flat_map(|g| &g.terms) {
        if views.contains_key(&(*operand, *baby)) {
            continue;
        }
        let c = &x[*operand];
        let view = match baby {
            None => params.extend(c),
            Some(g) => {
                let digits = digits.entry(*operand).or_insert_with(|| params.decompose(&c.c1));
                params.automorphism_extended(c, digits, keys.galois(*g, c.level())?)
            }
        };
        views.insert((*operand, *baby), view);
    }
    Ok(views)
}

fn add_extended(params: &Params, total: &mut Option<Extended>, term: Extended) {
    match total {
        None => *total = Some(term),
        Some(total) => {
            params.add(&mut total.c0, &term.c0);
            params.add(&mut total.c1, &term.c1);
        }
    }
}

fn encode_linear(encoder: &Encoder, params: &Params, stage: &LinearStage) -> Result<EncodedLinear, Error> {
    let element = |r: usize| (r != 0).then(|| encoder.rotation(r));
    let extended = stage.has_babies();
    let mut giants = Vec::new();
    for giant in &stage.giants {
        let terms = giant.terms.iter().map(|(operand, baby, factors)| {
            let factors = encoder.encode(params, factors, stage.scale, stage.level, extended)?;
            Ok((*operand, element(*baby), factors))
        });
        giants.push(EncodedGiant { element: element(giant.rotation), terms: terms.collect::<Result<_, Error>>()? });
    }
    let sums = stage.sums.iter().map(|s| s.iter().map(|&r| encoder.rotation(r)).collect()).collect();
    let bias = encoder.encode(params, &stage.bias, stage.result_scale, stage.level - 1, false)?;
    Ok(EncodedLinear { giants, extended, sums, bias })
}
