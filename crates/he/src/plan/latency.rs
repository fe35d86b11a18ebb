//! One sample spread over the slots.

use super::chain::{Chain, ChainStep};
use super::choose::{Choice, Demand, choices, too_deep};
use super::cost::Cost;
use super::{Plan, PlanOptions, Work, largest_value, not_polynomial};
use crate::Error;
use crate::circuit::{Circuit, Kind, Sparse};
use crate::linear::{Diagonals, Placement};
use crate::place::{FirstLayer, candidates, first_layers};
use crate::public::{Mark, Packing, PublicPlan};
use crate::slots::SlotMap;
use std::collections::BTreeMap;

/// What the server does, in order.
#[derive(Clone, Debug)]
pub enum Stage {
    /// An affine map.
    Linear(LinearStage),
    /// Squares, relinearised and rescaled.
    Square,
}

/// An affine map on one or several ciphertexts, giving one.
#[derive(Clone, Debug)]
pub struct LinearStage {
    /// Level of the operands; the result is one lower.
    pub level: usize,
    /// Giant steps, that of rotation 0 included.
    pub giants: Vec<GiantStep>,
    /// Scale of the factors.
    pub scale: f64,
    /// Rotate-and-sum stages: the rotations added in each, after rescaling.
    pub sums: Vec<Vec<usize>>,
    /// `b` in its slots.
    pub bias: Vec<f64>,
    /// Scale of the result.
    pub result_scale: f64,
}

/// Products that are rotated together.
#[derive(Clone, Debug)]
pub struct GiantStep {
    /// Rotation of their sum, to the left.
    pub rotation: usize,
    /// `(operand, baby rotation, factors)`.
    pub terms: Vec<(usize, usize, Vec<f64>)>,
}

impl LinearStage {
    /// Whether operands are rotated before they are multiplied.
    pub fn has_babies(&self) -> bool {
        self.giants.iter().flat_map(|g| &g.terms).any(|t| t.1 != 0)
    }

    /// Every rotation with the level it is used at.
    fn rotations(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let steps = self.giants.iter().flat_map(|g| g.terms.iter().map(|t| t.1).chain([g.rotation]));
        let sums = self.sums.iter().flatten().map(|&r| (r, self.level - 1));
        steps.map(|r| (r, self.level)).chain(sums).filter(|&(r, _)| r != 0)
    }
}

/// Most bytes of a client's request that the planner fills, where it has the choice.
const UPLOAD_BYTES: usize = 1_500_000;

pub(super) fn plan(circuit: &Circuit, options: &PlanOptions) -> Result<Plan, Error> {
    let chain = Chain::of(circuit)?;
    if let Some(step) = circuit.steps.iter().find(|s| matches!(s.kind, Kind::Function(..))) {
        return Err(not_polynomial(&step.name));
    }
    let largest = largest_value(circuit, options);
    let widest = circuit.steps.iter().map(|s| s.len).max().unwrap_or(1);
    let demand = Demand { depth: chain.steps.len(), largest, slots: widest, attacker: options.attacker };
    for choice in choices(demand) {
        if let Some(plan) = try_plan(&chain, &choice?, options, largest)? {
            return Ok(plan);
        }
    }
    Err(too_deep(demand))
}

/// The plan that these parameters give.
pub(super) fn rebuild(circuit: &Circuit, choice: &Choice, options: &PlanOptions) -> Result<Option<Plan>, Error> {
    let chain = Chain::of(circuit)?;
    if chain.steps.len() >= choice.params.levels() {
        return Ok(None);
    }
    try_plan(&chain, choice, options, 0.0)
}

/// A plan under these parameters; none if a matrix finds no place.
fn try_plan(chain: &Chain<'_>, choice: &Choice, options: &PlanOptions, largest: f64) -> Result<Option<Plan>, Error> {
    let params = &choice.params;
    let target = f64::from(choice.scale_bits).exp2();
    let mut at = Mark { level: params.levels(), scale: target };
    let fresh = at;
    let mut layout = Layout::Free;
    let (mut stages, mut inputs) = (Vec::new(), Vec::new());
    let mut left = chain.affine_steps();
    for step in &chain.steps {
        let dropped = params.modulus(at.level - 1).value() as f64;
        match step {
            ChainStep::Affine(matrix, bias) => {
                left -= 1;
                let Some((found, operands)) =
                    place(&layout, matrix, params.n() / 2, at.level, left == 0, upload_limit(choice))
                else {
                    return Ok(None);
                };
                if inputs.is_empty() {
                    inputs = operands;
                }
                let slots = found.place.layout(params.n() / 2);
                stages.push(Stage::Linear(LinearStage {
                    level: at.level,
                    giants: found.giants,
                    scale: target * dropped / at.scale,
                    sums: found.sums,
                    bias: slots.fill(bias),
                    result_scale: target,
                }));
                layout = Layout::Placed(slots);
                at = Mark { level: at.level - 1, scale: target };
            }
            ChainStep::Square => {
                if inputs.is_empty() {
                    return Err(Error::Plan("the model begins with an activation".to_owned()));
                }
                stages.push(Stage::Square);
                at = Mark { level: at.level - 1, scale: at.scale * at.scale / dropped };
            }
            ChainStep::Function(_) => return Ok(None),
        }
    }
    let Layout::Placed(slots) = layout else { return Err(Error::Plan("the model computes nothing".to_owned())) };
    let outputs = slots.positions(chain.output_len).iter().filter_map(|p| p.first().map(|&s| s as usize)).collect();
    let public = PublicPlan {
        params: params.clone(),
        model: options.model.clone(),
        input_len: chain.input_len,
        input_range: options.input_range,
        output_len: chain.output_len,
        packing: Packing::Latency { inputs, outputs },
        fresh,
        answer: at,
        relinearise: relinearisation_level(&stages, fresh.level),
        rotations: rotations(&stages),
    };
    Ok(Some(Plan { public, work: Work::Latency(stages), largest }))
}

/// Ciphertexts that a request may have.
fn upload_limit(choice: &Choice) -> usize {
    let bits: u32 = (0..choice.params.levels()).map(|i| choice.params.modulus(i).bits()).sum();
    (UPLOAD_BYTES / (bits as usize * choice.params.n() / 8)).max(1)
}

fn relinearisation_level(stages: &[Stage], fresh: usize) -> Option<usize> {
    let first = stages.iter().position(|s| matches!(s, Stage::Square))?;
    Some(fresh - first)
}

fn rotations(stages: &[Stage]) -> Vec<(usize, usize)> {
    let mut levels = BTreeMap::new();
    for stage in stages {
        if let Stage::Linear(linear) = stage {
            linear.rotations().for_each(|(r, level)| {
                let known: &mut usize = levels.entry(r).or_default();
                *known = level.max(*known);
            });
        }
    }
    levels.into_iter().collect()
}

/// Where the operand stands.
enum Layout {
    /// The client can lay it out as we like.
    Free,
    /// In one ciphertext.
    Placed(SlotMap),
}

/// A placed matrix.
struct Found {
    place: Placement,
    giants: Vec<GiantStep>,
    sums: Vec<Vec<usize>>,
}

/// The cheapest placement, and the operands it assumes.
fn place(
    layout: &Layout,
    matrix: &Sparse,
    slots: usize,
    level: usize,
    last: bool,
    most: usize,
) -> Option<(Found, Vec<SlotMap>)> {
    let options: Vec<FirstLayer> = match layout {
        Layout::Free => first_layers(slots, matrix, most, last),
        Layout::Placed(map) => candidates(map, matrix, last)
            .into_iter()
            .map(|place| FirstLayer { operands: vec![map.clone()], place, step: 1 })
            .collect(),
    };
    let priced = options.into_iter().filter(|o| o.place.base.len() <= slots && (!last || o.place.is_cyclic(slots)));
    let priced = priced.filter_map(|o| {
        let diagonals = Diagonals::find(&o.operands, matrix, &o.place, o.step)?;
        let (found, cost) = arrange(&o, diagonals, slots, level);
        Some((cost, found, o.operands))
    });
    let best = priced.min_by(|a, b| a.0.total_cmp(&b.0))?;
    Some((best.1, best.2))
}

fn arrange(first: &FirstLayer, diagonals: Diagonals, slots: usize, level: usize) -> (Found, f64) {
    let cost = Cost::at(level);
    let split = diagonals.split(slots, |babies, giants| {
        // Several operands are each decomposed; then only giants are cheap.
        cost.steps(babies * first.operands.len(), giants)
    });
    let (stages, sums_cost) = Cost::at(level.saturating_sub(1).max(1)).sums(first.place.strides.len());
    let terms = diagonals.by_view.len();
    let mut giants: BTreeMap<usize, GiantStep> = BTreeMap::new();
    let mut babies = std::collections::BTreeSet::new();
    for ((operand, rotation), factors) in diagonals.by_view {
        let (baby, giant) = split.of(rotation, slots);
        if baby != 0 {
            babies.insert((operand, baby));
        }
        let step = giants.entry(giant).or_insert_with(|| GiantStep { rotation: giant, terms: Vec::new() });
        step.terms.push((operand, baby, unrotated(&factors, giant)));
    }
    let giant_count = giants.keys().filter(|&&g| g != 0).count();
    let total = cost.steps(babies.len(), giant_count) + terms as f64 * cost.product() + sums_cost;
    let found = Found {
        place: first.place.clone(),
        giants: giants.into_values().collect(),
        sums: sum_stages(&first.place.strides, &stages),
    };
    (found, total)
}

/// Factors that, rotated by `giant` with their products, stand where they should.
fn unrotated(factors: &[f64], giant: usize) -> Vec<f64> {
    let slots = factors.len();
    (0..slots).map(|s| factors[(s + slots - giant) % slots]).collect()
}

/// The rotations of each stage: all sums of its strides but the empty one.
fn sum_stages(strides: &[usize], bits: &[usize]) -> Vec<Vec<usize>> {
    let mut rest = strides;
    bits.iter()
        .map(|&n| {
            let (now, later) = rest.split_at(n.min(rest.len()));
            rest = later;
            (1..1 << now.len()).map(|k| k * now.first().copied().unwrap_or(0)).collect()
        })
        .collect()
}
