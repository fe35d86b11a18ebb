//! One sample: linear stages by diagonals, squares.

use crate::Error;
use crate::circuit::StepId;
use crate::encoder::Encoder;
use crate::plan::{CombineStage, LinearStage, Stage, StageKind, VIEWS};
use std::collections::{BTreeMap, BTreeSet};
use subrosa_lattice::{Ciphertext, Digits, EvaluationKeys, Extended, Packed, Params, Poly, parallel};

/// A stage with its weights as polynomials.
pub(super) struct Encoded {
    result: StepId,
    kind: EncodedKind,
}

enum EncodedKind {
    Linear(EncodedLinear),
    Square { of: StepId, shift: i64 },
    Product(StepId, StepId),
    Combine(EncodedCombine),
}

struct EncodedCombine {
    base: StepId,
    level: usize,
    /// Steps with their factors, one level higher.
    terms: Vec<(StepId, Packed)>,
    bias: Poly,
}

struct EncodedLinear {
    steps: Vec<StepId>,
    level: usize,
    /// Galois elements of each sum over the operand's slots, before anything else.
    pools: Vec<Vec<usize>>,
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
    terms: Vec<(usize, Option<usize>, Packed)>,
}

impl Encoded {
    pub(super) fn new(encoder: &Encoder, params: &Params, stage: &Stage) -> Result<Self, Error> {
        let kind = match &stage.kind {
            StageKind::Linear(linear) => EncodedKind::Linear(encode_linear(encoder, params, linear)?),
            StageKind::Square { of, shift } => EncodedKind::Square { of: *of, shift: *shift },
            StageKind::Product(x, y) => EncodedKind::Product(*x, *y),
            StageKind::Combine(combine) => EncodedKind::Combine(encode_combine(encoder, params, combine)?),
        };
        Ok(Self { result: stage.result, kind })
    }

    pub(super) fn bytes(&self) -> usize {
        match &self.kind {
            EncodedKind::Linear(l) => l.giants.iter().flat_map(|g| &g.terms).map(|t| t.2.bytes()).sum(),
            EncodedKind::Combine(c) => c.terms.iter().map(|t| t.1.bytes()).sum(),
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
            EncodedKind::Combine(c) => combine(params, c, &values)?,
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

/// `base + sum of factors x + bias`.
fn combine(
    params: &Params,
    stage: &EncodedCombine,
    values: &BTreeMap<StepId, Vec<Ciphertext>>,
) -> Result<Ciphertext, Error> {
    let mut y = at_level(&values[&stage.base][0], stage.level);
    let operands: Vec<Ciphertext> = stage.terms.iter().map(|(x, _)| at_level(&values[x][0], stage.level + 1)).collect();
    if !operands.is_empty() {
        let terms = operands.iter().zip(&stage.terms).map(|(x, (_, factors))| (&x.c0, &x.c1, factors)).collect();
        for (c0, c1) in params.dot_pairs(stage.level + 1, false, &[terms]) {
            let mut sum = Ciphertext { c0, c1 };
            params.rescale(&mut sum)?;
            params.add(&mut y.c0, &sum.c0);
            params.add(&mut y.c1, &sum.c1);
        }
    }
    params.add(&mut y.c0, &stage.bias);
    Ok(y)
}

fn linear(
    params: &Params,
    stage: &EncodedLinear,
    x: &[Ciphertext],
    keys: &EvaluationKeys,
) -> Result<Ciphertext, Error> {
    let mut pooled = Vec::new();
    for c in x.iter().filter(|_| !stage.pools.is_empty()) {
        let mut c = c.clone();
        for rotations in &stage.pools {
            c = sum(params, c, rotations, keys)?;
        }
        pooled.push(c);
    }
    let x = if pooled.is_empty() { x } else { &pooled };
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
    let groups: Vec<Vec<(&Poly, &Poly, &Packed)>> = stage
        .giants
        .iter()
        .map(|g| g.terms.iter().map(|(operand, _, factors)| (&x[*operand].c0, &x[*operand].c1, factors)).collect())
        .collect();
    let sums = stage.giants.iter().zip(params.dot_pairs(level, false, &groups)).collect();
    let sums = parallel::map(sums, |(giant, (c0, c1))| {
        let sum = Ciphertext { c0, c1 };
        Ok(match giant.element {
            None => Sum::Plain(sum),
            Some(g) => {
                let key = keys.galois(g, level)?;
                Sum::Rotated(params.automorphism_extended(&sum, &params.decompose(&sum.c1), key))
            }
        })
    });
    let (mut plain, mut rotated) = (None, Vec::new());
    for sum in sums.into_iter().collect::<Result<Vec<_>, Error>>()? {
        match sum {
            // There is one giant step that rotates nothing.
            Sum::Plain(sum) => plain = Some(sum),
            Sum::Rotated(sum) => rotated.push(Ok(sum)),
        }
    }
    let divided = total(params, rotated)?.map(|r| params.mod_down_pair(r));
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
    let terms = stage.giants.iter().flat_map(|g| &g.terms);
    let needed: BTreeSet<View> = terms.map(|(operand, baby, _)| (*operand, *baby)).collect();
    let rotated: BTreeSet<usize> = needed.iter().filter(|n| n.1.is_some()).map(|n| n.0).collect();
    let digits = parallel::map(rotated.into_iter().collect(), |o| (o, params.decompose(&x[o].c1)));
    let digits: BTreeMap<usize, Digits> = digits.into_iter().collect();
    let mut sums: Vec<Option<Extended>> = stage.giants.iter().map(|_| None).collect();
    let needed: Vec<View> = needed.into_iter().collect();
    for some in needed.chunks(VIEWS) {
        let views = parallel::map(some.to_vec(), |(operand, baby)| {
            let c = &x[operand];
            let view = match baby {
                None => params.extend(c),
                Some(g) => params.automorphism_extended(c, &digits[&operand], keys.galois(g, c.level())?),
            };
            Ok(((operand, baby), view))
        });
        let views: BTreeMap<View, Extended> = views.into_iter().collect::<Result<_, Error>>()?;
        let groups: Vec<Vec<(&Poly, &Poly, &Packed)>> = stage
            .giants
            .iter()
            .map(|giant| {
                let terms = giant.terms.iter();
                let view = |o: usize, baby: Option<usize>| views.get(&(o, baby));
                terms.filter_map(|(o, baby, y)| view(*o, *baby).map(|v| (&v.c0, &v.c1, y))).collect()
            })
            .collect();
        let parts = params.dot_pairs(level, true, &groups);
        for ((sum, group), (c0, c1)) in sums.iter_mut().zip(&groups).zip(parts) {
            if !group.is_empty() {
                add_extended(params, sum, Extended { c0, c1 });
            }
        }
    }
    let sums = parallel::map(stage.giants.iter().zip(sums).collect(), |(giant, sum)| {
        let sum = sum.unwrap_or_else(|| Extended { c0: params.zero(level, true), c1: params.zero(level, true) });
        Ok(match giant.element {
            None => sum,
            Some(g) => params.rotate_extended(sum, keys.galois(g, level)?),
        })
    });
    let zero = || Extended { c0: params.zero(level, true), c1: params.zero(level, true) };
    Ok(params.mod_down_pair(total(params, sums)?.unwrap_or_else(zero)))
}

/// `x` plus its rotations.
fn sum(params: &Params, x: Ciphertext, elements: &[usize], keys: &EvaluationKeys) -> Result<Ciphertext, Error> {
    let digits = params.decompose(&x.c1);
    let terms =
        parallel::map(elements.to_vec(), |g| Ok(params.automorphism_extended(&x, &digits, keys.galois(g, x.level())?)));
    let Some(total) = total(params, terms)? else { return Ok(x) };
    let mut y = params.mod_down_pair(total);
    params.add(&mut y.c0, &x.c0);
    params.add(&mut y.c1, &x.c1);
    Ok(y)
}

/// An operand under a baby step's Galois element.
type View = (usize, Option<usize>);

/// One giant step's sum of products.
enum Sum {
    Plain(Ciphertext),
    Rotated(Extended),
}

/// The sum of the terms; none of none.
fn total(params: &Params, terms: Vec<Result<Extended, Error>>) -> Result<Option<Extended>, Error> {
    let mut total: Option<Extended> = None;
    for term in terms {
        add_extended(params, &mut total, term?);
    }
    Ok(total)
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
            Ok((*operand, element(*baby), params.pack(&factors)))
        });
        giants.push(EncodedGiant { element: element(giant.rotation), terms: terms.collect::<Result<_, Error>>()? });
    }
    let elements = |stages: &[Vec<usize>]| -> Vec<Vec<usize>> {
        stages.iter().map(|s| s.iter().map(|&r| encoder.rotation(r)).collect()).collect()
    };
    let (pools, sums) = (elements(&stage.pools), elements(&stage.sums));
    let bias = encoder.encode(params, &stage.bias, stage.result_scale, stage.level - 1, false)?;
    Ok(EncodedLinear { steps: stage.steps.clone(), level: stage.level, pools, giants, extended, sums, bias })
}

fn encode_combine(encoder: &Encoder, params: &Params, stage: &CombineStage) -> Result<EncodedCombine, Error> {
    let terms = stage.terms.iter().map(|(x, factors, scale)| {
        let factors = encoder.encode(params, factors, *scale, stage.level + 1, false)?;
        Ok((*x, params.pack(&factors)))
    });
    let terms = terms.collect::<Result<_, Error>>()?;
    let bias = encoder.encode(params, &stage.bias, stage.scale, stage.level, false)?;
    Ok(EncodedCombine { base: stage.base, level: stage.level, terms, bias })
}
