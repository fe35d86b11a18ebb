//! One sample: linear stages by diagonals, squares.

use crate::Error;
use crate::circuit::StepId;
use crate::encoder::Encoder;
use crate::plan::{LinearStage, Stage, StageKind};
use std::collections::BTreeMap;
use subrosa_lattice::{Ciphertext, Digits, EvaluationKeys, Extended, Params, Poly};

/// A stage with its weights as polynomials.
pub(super) struct Encoded {
    result: StepId,
    kind: EncodedKind,
}

enum EncodedKind {
    Linear(EncodedLinear),
    Square { of: StepId, shift: i64 },
    Product(StepId, StepId),
}

struct EncodedLinear {
    steps: Vec<StepId>,
    level: usize,
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
        let kind = match &stage.kind {
            StageKind::Linear(linear) => EncodedKind::Linear(encode_linear(encoder, params, linear)?),
            StageKind::Square { of, shift } => EncodedKind::Square { of: *of, shift: *shift },
            StageKind::Product(x, y) => EncodedKind::Product(*x, *y),
        };
        Ok(Self { result: stage.result, kind })
    }

    pub(super) fn bytes(&self) -> usize {
        match &self.kind {
            EncodedKind::Linear(l) => l.giants.iter().flat_map(|g| &g.terms).map(|t| t.2.bytes()).sum(),
            EncodedKind::Square { .. } | EncodedKind::Product(..) => 0,
        }
    }
}

/// The value of the last stage. The input is step 0.
pub(super) fn evaluate(
    params: &Params,
    stages: &[Encoded],
    input: Vec<Ciphertext>,
    keys: &EvaluationKeys,
) -> Result<Vec<Ciphertext>, Error> {
    let mut values = BTreeMap::from([(0, input)]);
    let mut last = 0;
    for stage in stages {
        let value = match &stage.kind {
            EncodedKind::Linear(linear_stage) => {
                let x: Vec<Ciphertext> = linear_stage
                    .steps
                    .iter()
                    .flat_map(|s| &values[s])
                    .map(|c| at_level(c, linear_stage.level))
                    .collect();
                linear(params, linear_stage, &x, keys)?
            }
            EncodedKind::Square { of, shift } => {
                let mut x = values[of][0].clone();
                params.add_constant(&mut x.c0, *shift);
                product(params, &x, &x, keys)?
            }
            EncodedKind::Product(x, y) => {
                let level = values[x][0].level().min(values[y][0].level());
                product(params, &at_level(&values[x][0], level), &at_level(&values[y][0], level), keys)?
            }
        };
        values.insert(stage.result, vec![value]);
        last = stage.result;
    }
    Ok(values.remove(&last).unwrap_or_default())
}

fn at_level(c: &Ciphertext, level: usize) -> Ciphertext {
    let mut c = c.clone();
    c.truncate(level);
    c
}

fn product(params: &Params, x: &Ciphertext, y: &Ciphertext, keys: &EvaluationKeys) -> Result<Ciphertext, Error> {
    let mut z = params.relinearise(params.tensor(x, y), keys)?;
    params.rescale(&mut z)?;
    Ok(z)
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
            let factors = encoder.encode(params, factors, stage.scales[*operand], stage.level, extended)?;
            Ok((*operand, element(*baby), factors))
        });
        giants.push(EncodedGiant { element: element(giant.rotation), terms: terms.collect::<Result<_, Error>>()? });
    }
    let sums = stage.sums.iter().map(|s| s.iter().map(|&r| encoder.rotation(r)).collect()).collect();
    let bias = encoder.encode(params, &stage.bias, stage.result_scale, stage.level - 1, false)?;
    Ok(EncodedLinear { steps: stage.steps.clone(), level: stage.level, giants, extended, sums, bias })
}
