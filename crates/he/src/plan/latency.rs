//! One sample spread over the slots.

use super::choose::{Choice, Demand, choices, droppable, too_deep};
use super::cost::Cost;
use super::image::{Grid, Pooled};
use super::throughput::{check, depths, marks};
use super::{Plan, PlanOptions, Work, largest_value};
use crate::Error;
use crate::circuit::{Circuit, Kind, Sparse, StepId};
use crate::linear::{Diagonals, Placement};
use crate::place::{FirstLayer, candidates, first_layers};
use crate::public::{Mark, Packing, PublicPlan};
use crate::slots::SlotMap;
use std::collections::{BTreeMap, BTreeSet};
use subrosa_lattice::Params;

/// What the server does, in order.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The step whose value it computes.
    pub result: StepId,
    /// How.
    pub kind: StageKind,
}

/// How a stage computes.
#[derive(Clone, Debug)]
pub enum StageKind {
    /// An affine map.
    Linear(LinearStage),
    /// The square of a step's value plus a shift, relinearised and rescaled.
    Square {
        /// The step squared.
        of: StepId,
        /// The shift, as an integer at the step's scale.
        shift: i64,
    },
    /// The product of two steps' values.
    Product(StepId, StepId),
    /// A sum of multiples.
    Combine(CombineStage),
}

/// `base + sum of factors x + bias`, slot by slot.
#[derive(Clone, Debug)]
pub struct CombineStage {
    /// The step that is taken as it is.
    pub base: StepId,
    /// Level of the result; the terms are multiplied one level higher.
    pub level: usize,
    /// `(step, factors, their scale)`.
    pub terms: Vec<(StepId, Vec<f64>, f64)>,
    /// `b` in its slots.
    pub bias: Vec<f64>,
    /// Scale of the result.
    pub scale: f64,
}

/// An affine map on several ciphertexts, giving one.
#[derive(Clone, Debug)]
pub struct LinearStage {
    /// The steps read; their ciphertexts one after another are the operands.
    pub steps: Vec<StepId>,
    /// Level of the operands; the result is one lower.
    pub level: usize,
    /// Rotate-and-sum stages of the operand, before anything else.
    pub pools: Vec<Vec<usize>>,
    /// Giant steps, that of rotation 0 included.
    pub giants: Vec<GiantStep>,
    /// Scale of the factors of each operand.
    pub scales: Vec<f64>,
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

impl Stage {
    /// Plaintext diagonals it holds.
    pub fn diagonals(&self) -> usize {
        match &self.kind {
            StageKind::Linear(linear) => linear.giants.iter().map(|g| g.terms.len()).sum(),
            StageKind::Combine(combine) => combine.terms.len(),
            StageKind::Square { .. } | StageKind::Product(..) => 0,
        }
    }
}

impl Stage {
    /// Memory that it takes: its diagonals, and the rotated operands that are there at a time.
    pub fn bytes(&self, params: &Params) -> u64 {
        let (level, extended, views) = match &self.kind {
            StageKind::Linear(linear) => (linear.level, linear.has_babies(), linear.views().len()),
            StageKind::Combine(combine) => (combine.level + 1, false, 0),
            StageKind::Square { .. } | StageKind::Product(..) => return 0,
        };
        let view = 2 * (level + params.special()) * params.n() * size_of::<u64>();
        (self.diagonals() * params.packed_bytes(level, extended) + views.min(VIEWS) * view) as u64
    }
}

impl LinearStage {
    /// Operands under baby steps.
    fn views(&self) -> BTreeSet<(usize, usize)> {
        self.giants.iter().flat_map(|g| &g.terms).map(|t| (t.0, t.1)).collect()
    }

    /// Whether operands are rotated before they are multiplied.
    pub fn has_babies(&self) -> bool {
        self.giants.iter().flat_map(|g| &g.terms).any(|t| t.1 != 0)
    }

    /// Every rotation with the level it is used at.
    fn rotations(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let steps = self.giants.iter().flat_map(|g| g.terms.iter().map(|t| t.1).chain([g.rotation]));
        let sums = self.sums.iter().flatten().map(|&r| (r, self.level - 1));
        let steps = steps.chain(self.pools.iter().flatten().copied());
        steps.map(|r| (r, self.level)).chain(sums).filter(|&(r, _)| r != 0)
    }
}

/// Operands under baby steps that the server has in memory at a time: every giant step reads
/// them while they are in the cache.
pub(crate) const VIEWS: usize = 64;

/// Most bytes of a client's request that the planner fills, where it has the choice.
const UPLOAD_BYTES: usize = 1_500_000;

pub(super) fn plan(circuit: &Circuit, options: &PlanOptions) -> Result<Plan, Error> {
    check(circuit)?;
    let largest = largest_value(circuit, options);
    let widest = circuit.steps.iter().map(|s| s.len).max().unwrap_or(1);
    let depth = depths(circuit).into_iter().max().unwrap_or(0);
    let demand = Demand { depth, largest, slots: widest, attacker: options.attacker, least_scale: options.least_scale };
    for choice in choices(demand) {
        if let Some(plan) = try_plan(circuit, &choice?, options, largest)? {
            return Ok(plan);
        }
    }
    Err(too_deep(demand))
}

/// The plan that these parameters give.
pub(super) fn rebuild(circuit: &Circuit, choice: &Choice, options: &PlanOptions) -> Result<Option<Plan>, Error> {
    check(circuit)?;
    let depth = depths(circuit).into_iter().max().unwrap_or(0);
    if depth >= choice.params.levels() {
        return Ok(None);
    }
    try_plan(circuit, choice, options, 0.0)
}

/// The cheaper plan under these parameters; none if a matrix finds no place.
fn try_plan(circuit: &Circuit, choice: &Choice, options: &PlanOptions, largest: f64) -> Result<Option<Plan>, Error> {
    let mut best: Option<(Plan, f64)> = None;
    for images in [true, false] {
        let plan = laid_out(circuit, choice, options, largest, images)?;
        best = match (best, plan) {
            (Some(a), Some(b)) => Some(if a.1 <= b.1 { a } else { b }),
            (a, b) => a.or(b),
        };
        // Pooling without gaps was never beaten, and looking for all else takes long.
        if best.as_ref().is_some_and(|b| b.0.sums_before()) {
            break;
        }
    }
    Ok(best.map(|b| b.0))
}

/// A plan and its cost, with images laid out as such or like any vector.
fn laid_out(
    circuit: &Circuit,
    choice: &Choice,
    options: &PlanOptions,
    largest: f64,
    images: bool,
) -> Result<Option<(Plan, f64)>, Error> {
    let (marks, relinearise) = marks(circuit, choice);
    let (input, output) = (circuit.inputs[0], circuit.outputs[0]);
    if !matches!(circuit.steps[output].kind, Kind::Affine { .. }) {
        return Err(Error::Plan(
            "the model ends with an activation, which the latency packing does not take".to_owned(),
        ));
    }
    let slots = choice.params.n() / 2;
    let steps = circuit.steps.len();
    let (layouts, grids) = (vec![Vec::new(); steps], vec![None; steps]);
    let mut draft = Draft { circuit, choice, marks: &marks, slots, images, layouts, grids, cost: 0.0 };
    let mut stages = Vec::new();
    for (id, step) in circuit.steps.iter().enumerate() {
        let kind = match &step.kind {
            Kind::Input => continue,
            Kind::Affine { terms, bias } => match draft.linear(id, terms, bias, id == output) {
                Some(linear) => StageKind::Linear(linear),
                None => return Ok(None),
            },
            Kind::Square(x, shift) => {
                draft.elementwise(id, *x);
                StageKind::Square { of: *x, shift: (shift * marks[*x].scale).round() as i64 }
            }
            Kind::Product(x, y) => {
                draft.elementwise(id, *x);
                draft.same_slots(id, *y)?;
                StageKind::Product(*x, *y)
            }
            Kind::Combine { base, terms, bias } => {
                draft.elementwise(id, *base);
                terms.iter().try_for_each(|t| draft.same_slots(id, t.0))?;
                StageKind::Combine(draft.combine(id, *base, terms, bias))
            }
            Kind::Function(..) => return Err(Error::Plan("a function was left in the circuit".to_owned())),
        };
        stages.push(Stage { result: id, kind });
    }
    let Draft { layouts, cost, .. } = draft;
    let Some(answer) = layouts[output].first() else { return Ok(None) };
    let outputs = answer.positions(circuit.steps[output].len);
    let public = PublicPlan {
        params: choice.params.clone(),
        model: options.model.clone(),
        input_len: circuit.steps[input].len,
        input_range: options.input_range,
        output_len: circuit.steps[output].len,
        packing: Packing::Latency {
            outputs: outputs.iter().filter_map(|p| p.first().map(|&s| s as usize)).collect(),
            inputs: layouts[input].clone(),
        },
        fresh: marks[input],
        answer: marks[output],
        answer_drop: droppable(&choice.params, marks[output]),
        publish: None,
        relinearise,
        rotations: rotations(&stages),
    };
    Ok(Some((Plan { public, work: Work::Latency(stages), largest }, cost)))
}

/// A plan being made.
struct Draft<'a> {
    circuit: &'a Circuit,
    choice: &'a Choice,
    marks: &'a [Mark],
    slots: usize,
    /// Whether images are laid out as such.
    images: bool,
    /// Where each step's value stands, one map a ciphertext; empty while the client may
    /// lay it out as the first reader likes.
    layouts: Vec<Vec<SlotMap>>,
    /// The same of values that are images and laid out as such.
    grids: Vec<Option<Grid>>,
    /// Of the linear stages so far.
    cost: f64,
}

impl Draft<'_> {
    /// The value of `id` stands as that of `of`.
    fn elementwise(&mut self, id: StepId, of: StepId) {
        if self.layouts[of].is_empty() {
            self.layouts[of] = vec![repeated(self.slots, self.circuit.steps[of].len)];
        }
        self.layouts[id] = self.layouts[of].clone();
        self.grids[id] = self.grids[of];
    }

    /// **Errors:** [`Error::Plan`] unless `x` stands in the slots of `id`.
    fn same_slots(&mut self, id: StepId, x: StepId) -> Result<(), Error> {
        if self.layouts[x].is_empty() {
            self.layouts[x] = vec![repeated(self.slots, self.circuit.steps[x].len)];
        }
        if self.layouts[id] == self.layouts[x] {
            return Ok(());
        }
        Err(Error::Plan("two branches of the model that are multiplied stand in different slots".to_owned()))
    }

    fn combine(&self, id: StepId, base: StepId, terms: &[(StepId, Vec<f64>)], bias: &[f64]) -> CombineStage {
        let (mark, slots) = (self.marks[id], &self.layouts[id][0]);
        let dropped = |level: usize| self.choice.params.modulus(level).value() as f64;
        let term = |(x, factors): &(StepId, Vec<f64>)| {
            (*x, slots.fill(factors), mark.scale * dropped(mark.level) / self.marks[*x].scale)
        };
        let terms = terms.iter().map(term).collect();
        CombineStage { base, level: mark.level, terms, bias: slots.fill(bias), scale: mark.scale }
    }

    /// The side of the cells over which the value of `id`, perhaps after an activation, is
    /// summed by whoever reads it.
    fn pooled_next(&self, id: StepId) -> usize {
        let mut same = vec![id];
        for (next, step) in self.circuit.steps.iter().enumerate().skip(id + 1) {
            match &step.kind {
                Kind::Affine { terms, .. } => {
                    let [(x, matrix)] = terms.as_slice() else { continue };
                    let image = self.circuit.steps[*x].image().filter(|_| same.contains(x));
                    if let Some(image) = image {
                        return Pooled::find(matrix, image).map_or(1, |p| p.cell());
                    }
                }
                Kind::Input => {}
                Kind::Square(..) | Kind::Product(..) | Kind::Combine { .. } | Kind::Function(..) => {
                    if step.operands().iter().any(|x| same.contains(x)) {
                        same.push(next);
                    }
                }
            }
        }
        1
    }

    /// The step as an image between images.
    fn image_layer(&mut self, id: StepId, terms: &[(StepId, Sparse)], last: bool) -> Option<ImageLayer> {
        let [(x, matrix)] = terms else { return None };
        let from = self.circuit.steps[*x].image().filter(|_| self.images)?;
        let to = self.circuit.steps[id].image().filter(|_| !last);
        if self.layouts[*x].is_empty() {
            let (grid, first) = Grid::first(self.slots, from, to?, self.pooled_next(id))?;
            return Some(ImageLayer { pools: Vec::new(), matrix: matrix.clone(), options: vec![(first, Some(grid))] });
        }
        let grid = self.grids[*x]?;
        let (mut pools, mut pooled, mut map) = (Vec::new(), grid, self.layouts[*x][0].clone());
        let mut reduced = matrix.clone();
        if let Some(found) = Pooled::find(matrix, from)
            && let Some((rotations, sums, slots)) = grid.pooled(self.slots, &found)
        {
            (pools, pooled, map, reduced) = (vec![rotations], sums, slots, found.matrix);
        }
        let layer = |place, grid| (FirstLayer { operands: vec![map.clone()], place, step: 1 }, grid);
        let mut options: Vec<_> = candidates(&map, &reduced, last).into_iter().map(|p| layer(p, None)).collect();
        if let Some(next) = to.and_then(|to| pooled.next(self.slots, to)) {
            // Known to be good; and searching all others takes long.
            options = vec![layer(next.placement(), Some(next))];
        }
        Some(ImageLayer { pools, matrix: reduced, options })
    }

    fn linear(&mut self, id: StepId, terms: &[(StepId, Sparse)], bias: &[f64], last: bool) -> Option<LinearStage> {
        let mark = self.marks[id];
        let (level, special) = (mark.level + 1, self.choice.params.special());
        let layer = match self.image_layer(id, terms, last) {
            Some(layer) => layer,
            None => {
                let matrix = beside(terms);
                let options = match terms {
                    [(x, _)] if self.layouts[*x].is_empty() => {
                        first_layers(self.slots, &matrix, upload_limit(self.choice), last)
                    }
                    _ => self.later_layers(terms, &matrix, last),
                };
                let options = options.into_iter().map(|o| (o, None)).collect();
                ImageLayer { pools: Vec::new(), matrix, options }
            }
        };
        let (found, operands, grid) = place(layer.options, &layer.matrix, self.slots, level, special, last)?;
        self.cost += found.cost + layer.pools.iter().map(|p| Cost::at(level, special).summed(p.len())).sum::<f64>();
        self.grids[id] = grid;
        if let [(x, _)] = terms
            && self.layouts[*x].is_empty()
        {
            self.layouts[*x] = operands;
        }
        let rows = found.place.layout(self.slots);
        let dropped = self.choice.params.modulus(level - 1).value() as f64;
        let scale = |x: StepId| mark.scale * dropped / self.marks[x].scale;
        let stage = LinearStage {
            steps: terms.iter().map(|t| t.0).collect(),
            level,
            pools: layer.pools,
            giants: found.giants,
            scales: terms.iter().flat_map(|(x, _)| vec![scale(*x); self.layouts[*x].len()]).collect(),
            sums: found.sums,
            bias: rows.fill(bias),
            result_scale: mark.scale,
        };
        self.layouts[id] = vec![rows];
        Some(stage)
    }

    /// Placements for operands that stand where they stand.
    fn later_layers(&mut self, terms: &[(StepId, Sparse)], matrix: &Sparse, last: bool) -> Vec<FirstLayer> {
        let mut operands = Vec::new();
        let mut offset = 0;
        for (x, part) in terms {
            if self.layouts[*x].is_empty() {
                self.layouts[*x] = vec![repeated(self.slots, part.cols)];
            }
            let shifted = |map: &SlotMap| SlotMap::new(self.slots, |s| map.at(s).map(|e| e + offset));
            operands.extend(self.layouts[*x].iter().map(shifted));
            offset += part.cols;
        }
        let Some(first) = operands.first() else { return Vec::new() };
        let layer = |place| FirstLayer { operands: operands.clone(), place, step: 1 };
        candidates(first, matrix, last).into_iter().map(layer).collect()
    }
}

/// A vector over and over.
fn repeated(slots: usize, len: usize) -> SlotMap {
    SlotMap::new(slots, |s| Some(s % len.next_power_of_two()).filter(|&e| e < len))
}

/// The matrices side by side.
fn beside(terms: &[(StepId, Sparse)]) -> Sparse {
    let [(_, alone)] = terms else {
        let rows = terms.first().map_or(0, |t| t.1.rows.len());
        let row = |i: usize| {
            let mut offset = 0;
            let mut row = Vec::new();
            for (_, part) in terms {
                row.extend(part.rows[i].iter().map(|&(c, v)| (c + offset, v)));
                offset += part.cols as u32;
            }
            row
        };
        return Sparse { cols: terms.iter().map(|t| t.1.cols).sum(), rows: (0..rows).map(row).collect() };
    };
    alone.clone()
}

/// Ciphertexts that a request may have.
fn upload_limit(choice: &Choice) -> usize {
    let bits: u32 = (0..choice.params.levels()).map(|i| choice.params.modulus(i).bits()).sum();
    (UPLOAD_BYTES / (bits as usize * choice.params.n() / 8)).max(1)
}

fn rotations(stages: &[Stage]) -> Vec<(usize, usize)> {
    let mut levels = BTreeMap::new();
    for stage in stages {
        if let StageKind::Linear(linear) = &stage.kind {
            linear.rotations().for_each(|(r, level)| {
                let known: &mut usize = levels.entry(r).or_default();
                *known = level.max(*known);
            });
        }
    }
    levels.into_iter().collect()
}

/// How a layer may be computed.
struct ImageLayer {
    /// Sums of the operand first.
    pools: Vec<Vec<usize>>,
    /// The matrix on those.
    matrix: Sparse,
    /// Placements, with the grid that the rows then are.
    options: Vec<(FirstLayer, Option<Grid>)>,
}

/// A placed matrix.
struct Found {
    place: Placement,
    giants: Vec<GiantStep>,
    sums: Vec<Vec<usize>>,
    cost: f64,
}

/// The cheapest placement, the operands it assumes, and the grid that its rows are.
fn place(
    options: Vec<(FirstLayer, Option<Grid>)>,
    matrix: &Sparse,
    slots: usize,
    level: usize,
    special: usize,
    last: bool,
) -> Option<(Found, Vec<SlotMap>, Option<Grid>)> {
    let fits = |o: &FirstLayer| o.place.base.len() <= slots && (!last || o.place.is_cyclic(slots));
    let priced = options.into_iter().filter(|o| fits(&o.0)).filter_map(|(o, grid)| {
        let diagonals = Diagonals::find(&o.operands, matrix, &o.place, o.step)?;
        Some((arrange(&o, diagonals, slots, level, special), o.operands, grid))
    });
    priced.min_by(|a, b| a.0.cost.total_cmp(&b.0.cost))
}

fn arrange(first: &FirstLayer, diagonals: Diagonals, slots: usize, level: usize, special: usize) -> Found {
    let cost = Cost::at(level, special);
    let split = diagonals.split(slots, |babies, giants| {
        // Several operands are each decomposed; then only giants are cheap.
        cost.steps(babies * first.operands.len(), giants)
    });
    let (stages, sums_cost) = Cost::at(level.saturating_sub(1).max(1), special).sums(first.place.strides.len());
    let terms = diagonals.by_view.len();
    let mut giants: BTreeMap<usize, GiantStep> = BTreeMap::new();
    let mut babies = BTreeSet::new();
    for ((operand, rotation), factors) in diagonals.by_view {
        let (baby, giant) = split.of(rotation, slots);
        if baby != 0 {
            babies.insert((operand, baby));
        }
        let step = giants.entry(giant).or_insert_with(|| GiantStep { rotation: giant, terms: Vec::new() });
        step.terms.push((operand, baby, unrotated(&factors, giant)));
    }
    let giant_count = giants.keys().filter(|&&g| g != 0).count();
    Found {
        place: first.place.clone(),
        giants: giants.into_values().collect(),
        sums: sum_stages(&first.place.strides, &stages),
        cost: cost.steps(babies.len(), giant_count) + terms as f64 * cost.product() + sums_cost,
    }
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
