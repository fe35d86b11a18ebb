//! The server's role: the model and evaluation keys. Nothing here can name a secret key.

use crate::Error;
use crate::client::{EncryptedInput, EncryptedOutput};
use crate::encoder::Encoder;
use crate::plan::{LinearStage, Plan, Stage};
use crate::public::PublicPlan;
use std::collections::BTreeMap;
use subrosa_lattice::{Ciphertext, Digits, EvaluationKeys, Extended, Params, Poly};

/// Whoever owns the model.
pub struct Server {
    plan: PublicPlan,
    encoder: Encoder,
    stages: Vec<Encoded>,
}

/// A stage with its weights as polynomials.
enum Encoded {
    Linear(EncodedLinear),
    Square,
}

struct EncodedLinear {
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

impl Server {
    /// Encodes the weights.
    ///
    /// **Errors:** [`Error::Input`] for a weight that does not fit its scale.
    pub fn new(plan: &Plan) -> Result<Self, Error> {
        let encoder = Encoder::new(plan.public.params.n());
        let encode = |stage: &Stage| match stage {
            Stage::Linear(linear) => encode_linear(&encoder, &plan.public.params, linear).map(Encoded::Linear),
            Stage::Square => Ok(Encoded::Square),
        };
        let stages = plan.stages.iter().map(encode).collect::<Result<_, _>>()?;
        Ok(Self { plan: plan.public.clone(), encoder, stages })
    }

    /// The public half of the plan.
    pub fn plan(&self) -> &PublicPlan {
        &self.plan
    }

    /// Bytes of the encoded weights.
    pub fn weight_bytes(&self) -> usize {
        let linear = |l: &EncodedLinear| l.giants.iter().flat_map(|g| &g.terms).map(|t| t.2.bytes()).sum::<usize>();
        self.stages.iter().map(|s| if let Encoded::Linear(l) = s { linear(l) } else { 0 }).sum()
    }

    /// Computes the model on one request.
    ///
    /// **Errors:** [`Error::Input`] for a request of another form than the plan's,
    /// [`Error::Lattice`] for keys that are missing.
    pub fn evaluate(&self, keys: &EvaluationKeys, input: &EncryptedInput) -> Result<EncryptedOutput, Error> {
        let plan = &self.plan;
        let fits = input.ciphertexts.len() == plan.input_ciphertexts()
            && input.ciphertexts.iter().all(|c| c.level() == plan.fresh.level)
            && (1..=plan.batch()).contains(&input.samples);
        if !fits {
            return Err(Error::Input("the request is not of this plan's form".to_owned()));
        }
        let mut values: Vec<Ciphertext> = input.ciphertexts.iter().map(|c| c.expand(&plan.params)).collect();
        for stage in &self.stages {
            values = vec![match stage {
                Encoded::Linear(linear) => self.linear(linear, &values, keys)?,
                Encoded::Square => self.square(&values[0], keys)?,
            }];
        }
        Ok(EncryptedOutput { ciphertexts: values, samples: input.samples })
    }

    fn square(&self, x: &Ciphertext, keys: &EvaluationKeys) -> Result<Ciphertext, Error> {
        let params = &self.plan.params;
        let mut y = params.relinearise(params.tensor_square(x), keys)?;
        params.rescale(&mut y)?;
        Ok(y)
    }

    fn linear(&self, stage: &EncodedLinear, x: &[Ciphertext], keys: &EvaluationKeys) -> Result<Ciphertext, Error> {
        let params = &self.plan.params;
        let mut y =
            if stage.extended { self.products_extended(stage, x, keys)? } else { self.products(stage, x, keys)? };
        params.rescale(&mut y)?;
        for rotations in &stage.sums {
            y = self.sum(y, rotations, keys)?;
        }
        params.add(&mut y.c0, &stage.bias);
        Ok(y)
    }

    /// Without baby steps: products modulo `q`, giant steps with one division in the end.
    fn products(&self, stage: &EncodedLinear, x: &[Ciphertext], keys: &EvaluationKeys) -> Result<Ciphertext, Error> {
        let params = &self.plan.params;
        let level = x[0].level();
        let mut plain: Option<Ciphertext> = None;
        let mut rotated: Option<Extended> = None;
        for giant in &stage.giants {
            let part = |pick: fn(&Ciphertext) -> &Poly| {
                let pairs: Vec<_> =
                    giant.terms.iter().map(|(operand, _, factors)| (pick(&x[*operand]), factors)).collect();
                params.dot(level, false, &pairs)
            };
            let sum = Ciphertext { c0: part(|c| &c.c0), c1: part(|c| &c.c1) };
            match giant.element {
                None => plain = Some(sum),
                Some(g) => {
                    let key = keys.galois(g, level)?;
                    add_extended(
                        params,
                        &mut rotated,
                        params.automorphism_extended(&sum, &params.decompose(&sum.c1), key),
                    );
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
        &self,
        stage: &EncodedLinear,
        x: &[Ciphertext],
        keys: &EvaluationKeys,
    ) -> Result<Ciphertext, Error> {
        let params = &self.plan.params;
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
    fn sum(&self, x: Ciphertext, elements: &[usize], keys: &EvaluationKeys) -> Result<Ciphertext, Error> {
        let params = &self.plan.params;
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

    /// The encoder of this ring degree.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }
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
