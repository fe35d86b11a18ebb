//! How many fraction bits each value gets in a ring of `k` bits.
//!
//! A product of an activation with `f_x` and a weight with `f_w` fraction bits has
//! `f_x + f_w`, and must stay below `2^(k-2)` to be truncated. So where a product's real
//! magnitude may reach `2^b`, there are `k - 2 - b` fraction bits to share out: its
//! *budget*. Only `ceil(b)` enters, so that a program tells no more of the weights than
//! powers of two.

use super::real::Fact;
use crate::op::{Op, ValueId};
use crate::{Error, Graph, Node};
use subrosa_core::RingWidth;

/// What to do about values that are too large.
pub(super) const REMEDY: &str =
    "state a narrower input range (--input-range, or --calibrate with sample data) or rescale the model's weights";
/// What to do about a range that touches where a function is undefined.
pub(super) const NARROWER: &str = "state a narrower input range (--input-range, or --calibrate with sample data), or add a small constant in the model";

/// Fraction bits that lose no accuracy worth naming: over the models shipped, 8 bits
/// everywhere cost at most one test image in ten thousand (`models/accuracy.json`), 6 a
/// few.
pub(super) const GOOD: u32 = 8;
/// Fraction bits below which a plan is refused.
pub(super) const LEAST: u32 = 6;
/// Fraction bits of a weight beyond which nothing is gained, if it is not small.
const MOST_WEIGHT: u32 = 16;

/// Bits of its own that the largest of a product's weights needs. Fewer than [`LEAST`], as weights are below 1, as a rule.
const FAINT: u32 = 4;

/// More fraction bits that values up to `bound` need, where they are so small that what suffices for others
/// would leave them fewer than [`LEAST`] bits of their own.
fn finer(bound: f64) -> i64 {
    match bound > 0.0 {
        true => ((-bound.log2()).floor() as i64).saturating_sub(i64::from(LEAST)).clamp(0, MOST_FINER),
        false => 0,
    }
}

/// Whoever states a range of 1e-30 has another unit in mind.
const MOST_FINER: i64 = 24;

/// The bits that the largest of values up to `bound` has of its own; none for a bound of zero.
fn own_bits(bound: f64, frac: i64) -> Option<i64> {
    (bound > 0.0).then(|| frac.saturating_add(bound.log2().floor() as i64))
}

/// Fraction bits of an activation beyond which nothing is gained in this ring, if it is not small: room is
/// left for a product with a weight.
pub(super) fn most_activation(ring: RingWidth) -> u32 {
    match ring {
        RingWidth::W32 => 12,
        RingWidth::W48 => 14,
        RingWidth::W64 => 16,
    }
}

/// Fractions for every node in one ring.
#[derive(Clone, Debug)]
pub(super) struct Scales {
    pub(super) ring: RingWidth,
    /// Fraction bits with which a node's value is read by products, functions and
    /// comparisons.
    pub(super) target: Vec<u32>,
    /// For nodes that multiply: fraction bits of the product at most.
    pub(super) budget: Vec<u32>,
    /// For nodes that multiply a constant: its fraction bits at most.
    most_weight: Vec<u32>,
    /// Whether a node's value becomes an output without being truncated.
    pub(super) untruncated: Vec<bool>,
    /// The fewest fraction bits anywhere.
    pub(super) score: u32,
    /// The node that leaves the fewest.
    tightest: usize,
    /// What has the fewest bits of its own where it is multiplied, if that is too few.
    faintest: Option<Faint>,
}

/// A factor that would be told by few bits, or by none: a product with it would be silently wrong.
#[derive(Clone, Debug)]
struct Faint {
    /// The product.
    node: ValueId,
    /// The factor.
    factor: ValueId,
    /// What its largest value, or a divisor's least, has.
    bits: i64,
    /// And what it needs.
    needed: u32,
    /// Whether it is divided by.
    divisor: bool,
}

impl Scales {
    /// Shares out the bits of `ring`, keeping `slack` bits of each product in reserve for
    /// rounding.
    pub(super) fn new(graph: &Graph, facts: &[Fact], ring: RingWidth, slack: u32) -> Self {
        let reach = Reach::new(graph, facts);
        let k = ring.bits() as i64;
        let budget: Vec<i64> = (0..graph.nodes.len())
            .map(|id| k - 2 - i64::from(slack) - reach.bits[id] + i64::from(reach.final_product[id]))
            .collect();
        let target = targets(graph, facts, ring, &budget);
        let most_weight: Vec<i64> = (0..graph.nodes.len())
            .map(|id| i64::from(MOST_WEIGHT) + constant_factor(graph, facts, id).map_or(0, |(_, bound)| finer(bound)))
            .collect();
        let faintest = faintest(graph, facts, &target, &budget, &most_weight);
        let shared_out = score(graph, facts, &target, &budget);
        // Where nothing has enough, what is too large is to blame.
        let faintest = faintest.filter(|_| shared_out >= i64::from(LEAST));
        let score = if faintest.is_some() { 0 } else { shared_out };
        let unsigned = |v: &i64| u32::try_from(*v).unwrap_or(0);
        Self {
            ring,
            target: target.iter().map(unsigned).collect(),
            budget: budget.iter().map(unsigned).collect(),
            most_weight: most_weight.iter().map(unsigned).collect(),
            faintest,
            untruncated: reach.final_product,
            score: unsigned(&score),
            tightest: tightest(graph, facts, &budget),
        }
    }

    /// Fraction bits of the weight that multiplies an activation with `frac` at `node`.
    pub(super) fn weight(&self, node: ValueId, frac: u32) -> u32 {
        self.budget[node].saturating_sub(frac).min(self.most_weight[node])
    }

    /// Whether a weight leaves an activation with `frac` bits, one more than its target, to
    /// `node` as it is: the weight then has one less, and a truncation is saved.
    pub(super) fn surplus(&self, node: ValueId, x: ValueId, frac: u32) -> bool {
        frac == self.target[x] + 1 && self.budget[node] >= frac + GOOD
    }

    /// That these fractions are too few, naming the tightest node.
    pub(super) fn refusal(&self, graph: &Graph, facts: &[Fact]) -> Error {
        if let Some(Faint { node, factor, bits, needed, divisor }) = &self.faintest {
            let (node, bound) = (graph.nodes[*node].name.clone(), facts[*node].bound());
            let has = format!("{} of the {needed} bits that are needed in {}", (*bits).max(0), self.ring);
            let factor = &graph.nodes[*factor].name;
            return match divisor {
                true => Error::Domain {
                    node,
                    why: format!("the divisor '{factor}' comes so near zero that its least value has {has}"),
                    remedy: NARROWER.to_owned(),
                },
                false => Error::Range {
                    node,
                    magnitude_bits: bound.max(f64::MIN_POSITIVE).log2(),
                    needed: format!("its factor '{factor}' is so small that its largest value has {has}"),
                    remedy: REMEDY.to_owned(),
                },
            };
        }
        let bound = facts[self.tightest].bound();
        Error::Range {
            node: graph.nodes[self.tightest].name.clone(),
            magnitude_bits: bound.max(f64::MIN_POSITIVE).log2(),
            needed: format!(
                "at least {LEAST} fraction bits are needed on both sides of a product, and {} offers {}",
                self.ring, self.score
            ),
            remedy: REMEDY.to_owned(),
        }
    }
}

/// Largest value of each product while it keeps both fractions.
struct Reach {
    /// `ceil(log2)` of it.
    bits: Vec<i64>,
    /// Whether it becomes an output without being truncated: then the bit reserved for
    /// truncation is free.
    final_product: Vec<bool>,
}

impl Reach {
    fn new(graph: &Graph, facts: &[Fact]) -> Self {
        let mut bound: Vec<f64> = facts.iter().map(Fact::bound).collect();
        let mut only_output = vec![true; graph.nodes.len()];
        for (id, node) in graph.nodes.iter().enumerate().rev() {
            // The value's own product scale also holds what is added before truncation.
            match keeps_scale(graph, id) {
                Some(factor) => {
                    for &input in node.inputs.iter().filter(|&&i| facts[i].constant.is_none()) {
                        bound[input] = bound[input].max(bound[id] * factor);
                        only_output[input] &= only_output[id];
                    }
                }
                None => node.inputs.iter().for_each(|&input| only_output[input] = false),
            }
        }
        Self { bits: bound.iter().map(|&b| ceil_log2(b)).collect(), final_product: only_output }
    }
}

/// Whether a node works on its input's product scale, and by how much its integers
/// are larger than its reals.
fn keeps_scale(graph: &Graph, id: ValueId) -> Option<f64> {
    /// A larger window would take too many bits from the product before it.
    const MOST_TAPS: usize = 16;
    match &graph.nodes[id].op {
        Op::Add | Op::Sub | Op::Reshape | Op::Layout { .. } | Op::Transpose { .. } => Some(1.0),
        Op::AveragePool { window, .. } => {
            let taps = window.kernel.0 * window.kernel.1;
            (taps.is_power_of_two() && taps <= MOST_TAPS).then_some(taps as f64)
        }
        Op::Input
        | Op::Weight(_)
        | Op::MatMul
        | Op::Conv(_)
        | Op::Mul
        | Op::Div
        | Op::Relu
        | Op::LeakyRelu { .. }
        | Op::PRelu
        | Op::Clip { .. }
        | Op::Abs
        | Op::Max
        | Op::Min
        | Op::MaxPool(_)
        | Op::Sigmoid
        | Op::Tanh
        | Op::Erf
        | Op::Gelu { .. }
        | Op::Softmax { .. }
        | Op::Exp
        | Op::Sqrt
        | Op::Reciprocal
        | Op::Pow { .. }
        | Op::Reduce { .. }
        | Op::ArgMax { .. }
        | Op::Concat { .. }
        | Op::Pad { .. } => None,
    }
}

/// `ceil(log2 b)`; magnitudes below 1 do not buy more fraction bits than 2^-4 would.
fn ceil_log2(b: f64) -> i64 {
    b.max(1.0 / 16.0).log2().ceil() as i64
}

/// Each value's fraction bits: what its readers allow, and its own magnitude.
fn targets(graph: &Graph, facts: &[Fact], ring: RingWidth, budget: &[i64]) -> Vec<i64> {
    // Three bits are kept for the sign, one truncation, and a difference of two values.
    let own = |id: ValueId| i64::from(ring.bits()) - 3 - ceil_log2(facts[id].bound());
    let most = |id: ValueId| i64::from(most_activation(ring)) + finer(facts[id].bound());
    let mut target: Vec<i64> = (0..graph.nodes.len()).map(|id| own(id).min(most(id))).collect();
    let products_only = read_by_products_only(graph, facts);
    for (id, node) in graph.nodes.iter().enumerate().rev() {
        let allowed = match free_bits(graph, id).filter(|_| products_only[id]) {
            // The mean then has one bit more than its target: see `Scales::surplus`.
            Some(free) => (target[id] + 1 - free).max(target[id].min(i64::from(GOOD))),
            None => allowed(graph, facts, ring, id, target[id], budget[id]),
        };
        // A divisor is not multiplied, its reciprocal is.
        let multiplied = if matches!(node.op, Op::Div) { 1 } else { node.inputs.len() };
        for &input in node.inputs.iter().take(multiplied) {
            target[input] = target[input].min(allowed);
        }
    }
    target
}

/// The fraction bits that a mean over a power of two gains without any work.
fn free_bits(graph: &Graph, id: ValueId) -> Option<i64> {
    match (&graph.nodes[id].op, keeps_scale(graph, id)) {
        (Op::AveragePool { .. }, Some(taps)) if taps > 1.0 => Some(taps.log2() as i64),
        _ => None,
    }
}

/// For each value, whether only products with weights read it, if reshaped.
fn read_by_products_only(graph: &Graph, facts: &[Fact]) -> Vec<bool> {
    let mut only = vec![true; graph.nodes.len()];
    graph.outputs.iter().for_each(|&id| only[id] = false);
    for (id, node) in graph.nodes.iter().enumerate().rev() {
        let fine = multiplies_a_weight(graph, facts, id) || matches!(node.op, Op::Reshape) && only[id];
        node.inputs.iter().for_each(|&input| only[input] &= fine);
    }
    only
}

/// How many fraction bits node `id` lets its inputs have.
fn allowed(graph: &Graph, facts: &[Fact], ring: RingWidth, id: ValueId, target: i64, budget: i64) -> i64 {
    match &graph.nodes[id].op {
        Op::MatMul | Op::Conv(_) | Op::Mul | Op::Div => budget.div_euclid(2),
        Op::Pow { exponent } => {
            let input = graph.nodes[id].inputs.first().map_or(0.0, |&i| facts[i].bound());
            let largest = input.max(1.0).powf(f64::from(*exponent));
            (i64::from(ring.bits()) - 2 - ceil_log2(largest)).min(budget).div_euclid(2)
        }
        Op::Add
        | Op::Sub
        | Op::Relu
        | Op::LeakyRelu { .. }
        | Op::PRelu
        | Op::Clip { .. }
        | Op::Abs
        | Op::Max
        | Op::Min
        | Op::MaxPool(_)
        | Op::AveragePool { .. }
        | Op::Reduce { .. }
        | Op::Concat { .. }
        | Op::Layout { .. }
        | Op::Transpose { .. }
        | Op::Pad { .. }
        | Op::Reshape => target,
        // Functions work on as many bits as the value itself can have.
        Op::Sigmoid
        | Op::Tanh
        | Op::Erf
        | Op::Gelu { .. }
        | Op::Softmax { .. }
        | Op::Exp
        | Op::Sqrt
        | Op::Reciprocal
        | Op::ArgMax { .. }
        | Op::Input
        | Op::Weight(_) => i64::MAX,
    }
}

/// The fewest fraction bits that any product, function or comparison reads.
fn score(graph: &Graph, facts: &[Fact], target: &[i64], budget: &[i64]) -> i64 {
    let mut least = i64::from(MOST_WEIGHT);
    for (id, node) in graph.nodes.iter().enumerate() {
        let values = || node.inputs.iter().filter(|&&i| facts[i].constant.is_none()).map(|&i| target[i]);
        least = values().fold(least, i64::min);
        if multiplies_a_weight(graph, facts, id) {
            least = least.min(budget[id] - values().max().unwrap_or(0));
        }
    }
    least
}

/// The constant that a node multiplies by, and the largest magnitude that it is encoded with: of a divisor its
/// reciprocals are.
fn constant_factor(graph: &Graph, facts: &[Fact], id: ValueId) -> Option<(ValueId, f64)> {
    let node = &graph.nodes[id];
    let constant = |at: usize| node.inputs.get(at).copied().filter(|&i| facts[i].constant.is_some());
    let divides = matches!(node.op, Op::Div) && facts[id].constant.is_none();
    match (divides, multiplies_a_weight(graph, facts, id), constant(1)) {
        (true, _, Some(by)) => Some((by, facts[by].least().recip())),
        (false, true, Some(by)) => Some((by, facts[by].bound())),
        (true, _, None) | (false, true, None) => constant(0).map(|by| (by, facts[by].bound())),
        (false, false, _) => None,
    }
}

/// The factor with the fewest bits of its own, if these are too few.
fn faintest(graph: &Graph, facts: &[Fact], target: &[i64], budget: &[i64], most_weight: &[i64]) -> Option<Faint> {
    let mut all = Vec::new();
    for (node, Node { op, inputs, .. }) in graph.nodes.iter().enumerate() {
        if facts[node].constant.is_some() {
            continue;
        }
        let mut found = |factor: ValueId, (divisor, needed): (bool, u32), bound: f64, frac: i64| {
            all.extend(own_bits(bound, frac).map(|bits| Faint { node, factor, bits, needed, divisor }));
        };
        let (value, divided, weight) = ((false, LEAST), (true, LEAST), (false, FAINT));
        let variable = |at: usize| inputs.get(at).copied().filter(|&i| facts[i].constant.is_none());
        let (both, divides) = (matches!(op, Op::MatMul | Op::Mul), matches!(op, Op::Div));
        let one = divides || matches!(op, Op::Conv(_) | Op::Pow { .. });
        let multiplied: Vec<ValueId> = (0..2).take(if both { 2 } else { one.into() }).filter_map(variable).collect();
        multiplied.iter().for_each(|&x| found(x, value, facts[x].bound(), target[x]));
        let mut other = multiplied.iter().map(|&x| target[x]).max();
        let divisor = if matches!(op, Op::Reciprocal) { variable(0) } else { variable(1).filter(|_| divides) };
        if let Some(y) = divisor {
            // What it is divided by has to be told from zero and from its neighbours.
            found(y, divided, facts[y].least(), target[y]);
        }
        if let Some(y) = divisor.filter(|_| divides) {
            let reciprocal = other.map_or(budget[node].div_euclid(2), |x| budget[node] - x);
            found(y, value, facts[y].least().recip(), reciprocal);
            other = other.max(Some(reciprocal));
        }
        if let Some((factor, bound)) = constant_factor(graph, facts, node) {
            found(factor, weight, bound, (budget[node] - other.unwrap_or(0)).min(most_weight[node]));
        }
    }
    all.into_iter().filter(|faint| faint.bits < i64::from(faint.needed)).min_by_key(|faint| faint.bits)
}

/// The product with the smallest budget, or, without products, the largest value: what
/// has to shrink before anything gains a bit.
fn tightest(graph: &Graph, facts: &[Fact], budget: &[i64]) -> usize {
    let shares =
        |id: &usize| matches!(graph.nodes[*id].op, Op::MatMul | Op::Conv(_) | Op::Mul | Op::Div | Op::Pow { .. });
    let secret = || (0..graph.nodes.len()).filter(|&id| facts[id].constant.is_none());
    let largest = || secret().max_by(|&a, &b| facts[a].bound().total_cmp(&facts[b].bound()));
    secret().filter(shares).min_by_key(|&id| budget[id]).or_else(largest).unwrap_or(0)
}

fn multiplies_a_weight(graph: &Graph, facts: &[Fact], id: ValueId) -> bool {
    let node = &graph.nodes[id];
    let product = matches!(node.op, Op::MatMul | Op::Conv(_) | Op::Mul);
    product && node.inputs.iter().take(2).any(|&i| facts[i].constant.is_some()) && facts[id].constant.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_round_up() {
        assert_eq!((ceil_log2(2339.0), ceil_log2(2048.0), ceil_log2(0.9), ceil_log2(0.0)), (12, 11, 0, -4));
    }
}
