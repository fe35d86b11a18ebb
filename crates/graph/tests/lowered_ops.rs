//! Every operation lowered, run by the oracle on random and on extreme inputs, and
//! compared with what it means in f64. With truncations rounding either way, values stay
//! within their proven bits and results within the promised units.
#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic")]

#[expect(dead_code, reason = "shared with the import tests")]
#[path = "import/evaluator.rs"]
mod evaluator;

use evaluator::{Noise, evaluate};
use proptest::prelude::*;
use subrosa_core::{RingWidth, Shape, Tensor, fixed};
use subrosa_graph::op::{Conv, Reduction, Window};
use subrosa_graph::{Error, FixedOp, Graph, InputRange, LowerOptions, Lowered, Node, Op, Reveal, lower, oracle};

/// Builds a graph node by node; the last one is the output.
struct Build(Graph);

impl Build {
    fn new(shape: &[usize]) -> Self {
        let mut b = Self(Graph { nodes: vec![], inputs: vec![], outputs: vec![0] });
        b.input(shape);
        b
    }

    fn input(&mut self, shape: &[usize]) -> usize {
        let id = self.node(Op::Input, &[], shape);
        self.0.inputs.push(id);
        id
    }

    fn weight(&mut self, shape: &[usize], scale: f32, seed: u64) -> usize {
        let shape_ = Shape::new(shape).unwrap();
        let data = Noise(seed).floats(shape_.len()).iter().map(|v| v * scale).collect();
        self.node(Op::Weight(Tensor::new(shape_, data).unwrap()), &[], shape)
    }

    fn node(&mut self, op: Op, inputs: &[usize], shape: &[usize]) -> usize {
        let id = self.0.nodes.len();
        let shape = Shape::new(shape).unwrap();
        self.0.nodes.push(Node { name: format!("n{id}"), op, inputs: inputs.to_vec(), shape });
        self.0.outputs = vec![id];
        id
    }
}

fn lowered(graph: &Graph, range: InputRange, ring: Option<RingWidth>) -> Lowered {
    let options = LowerOptions {
        ring,
        inputs: vec![range; graph.inputs.len()],
        reveal: Reveal::Logits,
        ..LowerOptions::default()
    };
    let lowered = lower(graph, &options).unwrap();
    let k = lowered.program.ring.bits();
    for inst in &lowered.program.insts {
        if let FixedOp::Trunc { shift, .. } | FixedOp::TruncRelu { shift, .. } = inst.op {
            assert!(shift <= k - 2, "no protocol drops {shift} bits of {k}");
        }
    }
    lowered
}

/// Random samples, and corners of the range.
fn samples(len: usize, range: InputRange, batch: usize, seed: u64) -> Vec<f32> {
    let mut noise = Noise(seed);
    let (lo, hi) = (range.lo as f32, range.hi as f32);
    (0..batch * len)
        .map(|i| match i / len {
            0 => lo,
            1 => hi,
            s if s % 2 == 0 => [lo, hi][(noise.word() >> 60) as usize & 1],
            _ => (lo + (hi - lo) * ((noise.word() >> 40) as f32 / (1u64 << 24) as f32)).clamp(lo, hi),
        })
        .collect()
}

const BATCH: usize = 24;

/// Largest difference to f64 on the integers that were really computed with.
fn largest_error(graph: &Graph, lowered: &Lowered, range: InputRange, seed: u64) -> f64 {
    let inputs = |i: usize| samples(graph.nodes[graph.inputs[i]].shape.len(), range, BATCH, seed + i as u64);
    let encoded: Vec<Vec<i64>> = (0..graph.inputs.len()).map(|i| lowered.encode(i, &inputs(i)).unwrap()).collect();
    let values = oracle::run(&lowered.program, &lowered.weights, &encoded, BATCH).unwrap();
    check_rounding(lowered, &encoded, &values);
    let mut worst = 0f64;
    for s in 0..BATCH {
        let sample = |i: usize| {
            let frac = lowered.program.insts[lowered.program.inputs[i]].frac;
            let len = encoded[i].len() / BATCH;
            encoded[i][s * len..(s + 1) * len].iter().map(|&v| fixed::decode(v, frac)).collect()
        };
        let expected = evaluate(graph, &(0..encoded.len()).map(sample).collect::<Vec<_>>());
        for (o, expected) in expected.iter().enumerate() {
            let frac = lowered.program.insts[lowered.program.outputs[o]].frac;
            let got = &values[o][s * expected.data.len()..(s + 1) * expected.data.len()];
            let errs = got.iter().zip(&expected.data).map(|(&g, &e)| (fixed::decode(g, frac) - e).abs());
            worst = errs.fold(worst, f64::max);
        }
    }
    worst
}

/// The oracle checks `bits` itself; the distance is checked here.
fn check_rounding(lowered: &Lowered, encoded: &[Vec<i64>], values: &[Vec<i64>]) {
    for seed in 0..3 {
        let rounded = oracle::run_rounding(&lowered.program, &lowered.weights, encoded, BATCH, seed).unwrap();
        for ((a, b), ulps) in values.iter().zip(&rounded).zip(&lowered.output_ulps) {
            let Some(ulps) = ulps else { continue };
            let far = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
            assert!(far <= *ulps, "{far} units apart, {ulps} promised:\n{}", lowered.program);
        }
    }
}

fn check(name: &str, build: Build, (lo, hi): (f64, f64), tolerance: f64) {
    let range = InputRange { lo, hi };
    for ring in [None, Some(RingWidth::W48), Some(RingWidth::W64)] {
        let lowered = lowered(&build.0, range, ring);
        let error = largest_error(&build.0, &lowered, range, 5);
        assert!(error <= tolerance, "{name} in {}: {error} > {tolerance}\n{}", lowered.program.ring, lowered.program);
    }
}

fn unary(op: Op, shape: &[usize], out: &[usize]) -> Build {
    let mut b = Build::new(shape);
    b.node(op, &[0], out);
    b
}

fn binary(op: Op, x: &[usize], y: &[usize], out: &[usize]) -> Build {
    let mut b = Build::new(x);
    let y = b.input(y);
    b.node(op, &[0, y], out);
    b
}

/// A value and a weight, on whichever side.
fn weighted(op: Op, x: &[usize], w: &[usize], out: &[usize], weight_first: bool) -> Build {
    let mut b = Build::new(x);
    let w = b.weight(w, 1.0, 3);
    let inputs = if weight_first { [w, 0] } else { [0, w] };
    b.node(op, &inputs, out);
    b
}

fn window(kernel: usize, stride: usize, pads: usize, dilation: usize) -> Window {
    Window {
        kernel: (kernel, kernel),
        strides: (stride, stride),
        dilations: (dilation, dilation),
        pads_begin: (pads, pads),
        pads_end: (pads, pads),
        ceil: false,
    }
}

/// What 12-bit fractions round to, a few times.
const EXACT: f64 = 2e-3;

#[test]
fn products() {
    check("rows", weighted(Op::MatMul, &[1, 20], &[20, 7], &[1, 7], false), (-3.0, 2.0), 2e-2);
    check("vector", weighted(Op::MatMul, &[20], &[20], &[], false), (-3.0, 2.0), 2e-2);
    check("left weight", weighted(Op::MatMul, &[6, 4], &[5, 6], &[5, 4], true), (-3.0, 2.0), 1e-2);
    check("left weights", weighted(Op::MatMul, &[3, 6, 4], &[3, 5, 6], &[3, 5, 4], true), (-3.0, 2.0), 1e-2);
    check("weights", weighted(Op::MatMul, &[3, 4, 6], &[3, 6, 5], &[3, 4, 5], false), (-3.0, 2.0), 1e-2);
    check("values", binary(Op::MatMul, &[2, 4, 3], &[2, 3, 5], &[2, 4, 5]), (-3.0, 2.0), EXACT);
    check("shared value", binary(Op::MatMul, &[2, 4, 3], &[3, 5], &[2, 4, 5]), (-3.0, 2.0), EXACT);
    check("groups broadcast", binary(Op::MatMul, &[4, 3], &[2, 3, 5], &[2, 4, 5]), (-3.0, 2.0), EXACT);
}

#[test]
fn convolutions() {
    for (name, x, w, groups, window) in [
        ("plain", [1, 3, 7, 6], [4, 3, 3, 3], 1, window(3, 1, 0, 1)),
        ("padded, strided", [1, 3, 7, 6], [4, 3, 3, 3], 1, window(3, 2, 1, 1)),
        ("dilated", [1, 2, 9, 9], [2, 2, 3, 3], 1, window(3, 1, 2, 2)),
        ("grouped", [1, 4, 5, 5], [6, 2, 2, 2], 2, window(2, 1, 0, 1)),
        ("depthwise, two images", [2, 3, 5, 5], [3, 1, 3, 3], 3, window(3, 1, 1, 1)),
    ] {
        for bias in [false, true] {
            let mut b = Build::new(&x);
            let (oh, ow) = window.output(x[2], x[3]).unwrap();
            let kernel = b.weight(&w, 0.5, 1);
            let mut inputs = vec![0, kernel];
            if bias {
                inputs.push(b.weight(&[w[0]], 1.0, 2));
            }
            b.node(Op::Conv(Conv { window, groups }), &inputs, &[x[0], w[0], oh, ow]);
            check(name, b, (-1.0, 2.0), 1e-2);
        }
    }
}

#[test]
fn sums_and_products_of_values() {
    let shapes: [(&[usize], &[usize], &[usize]); 3] =
        [(&[2, 3], &[2, 3], &[2, 3]), (&[2, 3], &[3], &[2, 3]), (&[1, 3], &[2, 1], &[2, 3])];
    for (x, y, out) in shapes {
        check("add", binary(Op::Add, x, y, out), (-3.0, 2.0), EXACT);
        check("sub", binary(Op::Sub, x, y, out), (-3.0, 2.0), EXACT);
        check("mul", binary(Op::Mul, x, y, out), (-3.0, 2.0), EXACT);
        check("max", binary(Op::Max, x, y, out), (-3.0, 2.0), EXACT);
        check("min", binary(Op::Min, x, y, out), (-3.0, 2.0), EXACT);
        check("div", binary(Op::Div, x, y, out), (0.5, 4.0), 2e-2);
        for first in [false, true] {
            check("add weight", weighted(Op::Add, x, y, out, first), (-3.0, 2.0), EXACT);
            check("sub weight", weighted(Op::Sub, x, y, out, first), (-3.0, 2.0), EXACT);
            check("mul weight", weighted(Op::Mul, x, y, out, first), (-3.0, 2.0), EXACT);
            check("max weight", weighted(Op::Max, x, y, out, first), (-3.0, 2.0), EXACT);
            check("min weight", weighted(Op::Min, x, y, out, first), (-3.0, 2.0), EXACT);
        }
        check("weight by value", weighted(Op::Div, x, y, out, true), (0.5, 4.0), 2e-2);
        check("prelu", weighted(Op::PRelu, x, y, out, false), (-3.0, 2.0), EXACT);
    }
    check("square", unary(Op::Pow { exponent: 2 }, &[3], &[3]), (-3.0, 2.0), EXACT);
    check("fifth power", unary(Op::Pow { exponent: 5 }, &[3], &[3]), (-2.0, 1.5), 0.1);
}

#[test]
fn piecewise_linear() {
    let both = |op: Op, tolerance: f64| {
        check(&format!("{op:?}"), unary(op.clone(), &[9], &[9]), (-5.0, 7.0), tolerance);
        // Behind a product, where truncation may fuse.
        let mut b = weighted(Op::MatMul, &[1, 8], &[8, 9], &[1, 9], false);
        b.node(op, &[2], &[1, 9]);
        check("after a product", b, (-5.0, 7.0), 2e-2 + tolerance);
    };
    both(Op::Relu, EXACT);
    both(Op::Abs, EXACT);
    both(Op::LeakyRelu { alpha: 0.01 }, EXACT);
    both(Op::LeakyRelu { alpha: -1.5 }, EXACT);
    both(Op::Clip { min: 0.0, max: 6.0 }, EXACT);
    both(Op::Clip { min: -1.5, max: f32::INFINITY }, EXACT);
    both(Op::Clip { min: f32::NEG_INFINITY, max: 2.5 }, EXACT);
    both(Op::Clip { min: 3.0, max: 1.0 }, EXACT);
}

#[test]
fn pooling() {
    for (w, x) in
        [(window(2, 2, 0, 1), [1, 3, 6, 6]), (window(3, 2, 1, 1), [2, 2, 7, 5]), (window(2, 1, 0, 2), [1, 1, 5, 5])]
    {
        let (oh, ow) = w.output(x[2], x[3]).unwrap();
        let out = [x[0], x[1], oh, ow];
        check("max pool", unary(Op::MaxPool(w), &x, &out), (-3.0, 2.0), EXACT);
        for count_include_pad in [false, true] {
            let op = Op::AveragePool { window: w, count_include_pad };
            check("average pool", unary(op, &x, &out), (-3.0, 2.0), EXACT);
        }
        let mut b = unary(Op::Relu, &x, &x);
        b.node(Op::MaxPool(w), &[1], &out);
        check("relu, max pool", b, (-3.0, 2.0), EXACT);
    }
}

#[test]
fn reductions_and_arrangements() {
    for (axes, out) in [(vec![1], vec![2, 1, 5]), (vec![0, 2], vec![1, 3, 1]), (vec![2], vec![2, 3, 1])] {
        for kind in [Reduction::Sum, Reduction::Mean, Reduction::Max] {
            check("reduce", unary(Op::Reduce { kind, axes: axes.clone() }, &[2, 3, 5], &out), (-3.0, 2.0), EXACT);
        }
    }
    check("transpose", unary(Op::Transpose { perm: vec![2, 0, 1] }, &[2, 3, 5], &[5, 2, 3]), (-3.0, 2.0), EXACT);
    check("layout", unary(Op::Layout { map: vec![3, 3, 0] }, &[4], &[3]), (-3.0, 2.0), EXACT);
    check("pad", unary(Op::Pad { pads: vec![(1, 0), (0, 2)], value: 1.5 }, &[2, 3], &[3, 5]), (-3.0, 2.0), EXACT);
    check("zeros", unary(Op::Pad { pads: vec![(1, 1)], value: 0.0 }, &[3], &[5]), (-3.0, 2.0), EXACT);
    check("reshape", unary(Op::Reshape, &[2, 3], &[6]), (-3.0, 2.0), EXACT);
    let mut b = weighted(Op::MatMul, &[2, 3], &[3, 2], &[2, 2], false);
    let w = b.weight(&[2, 4], 1.0, 9);
    b.node(Op::Concat { axis: 1 }, &[0, 2, w], &[2, 9]);
    check("concat", b, (-3.0, 2.0), 1e-2);
    check("softmax", unary(Op::Softmax { axis: 1 }, &[2, 3, 4], &[2, 3, 4]), (-9.0, 9.0), 2e-3);
}

fn constant(b: &mut Build, shape: &[usize], value: f32) -> usize {
    let shape_ = Shape::new(shape).unwrap();
    let data = vec![value; shape_.len()];
    b.node(Op::Weight(Tensor::new(shape_, data).unwrap()), &[], shape)
}

/// `x` and a constant, in this order or the other.
fn with_constant(op: Op, value: f32, first: bool) -> Build {
    let mut b = Build::new(&[1, 4]);
    let c = constant(&mut b, &[4], value);
    b.node(op, &if first { [c, 0] } else { [0, c] }, &[1, 4]);
    b
}

/// Of what is large or small, results keep their first bits: a factor is never silently rounded away.
#[test]
fn small_factors_and_large_values_keep_their_bits() {
    for (range, tolerance) in [((-4000.0, 4000.0), 2.0), ((-1e5, 1e5), 50.0), ((-1e5, -5e4), 50.0)] {
        for alpha in [0.01, 0.2, 0.6, 0.5] {
            check("leaky", unary(Op::LeakyRelu { alpha }, &[1, 40], &[1, 40]), range, tolerance);
            let mut prelu = Build::new(&[1, 4]);
            let slope = constant(&mut prelu, &[4], alpha);
            prelu.node(Op::PRelu, &[0, slope], &[1, 4]);
            check("prelu", prelu, range, tolerance);
        }
    }
    for largest in [1.0, 255.0, 4000.0, 16_000.0] {
        let pool = Op::AveragePool { window: window(3, 1, 1, 1), count_include_pad: false };
        check("mean of what is there", unary(pool, &[1, 2, 6, 6], &[1, 2, 6, 6]), (0.0, largest), largest / 1000.0);
    }
    for n in [768, 12_544, 50_176, 150_528] {
        let mean = Op::Reduce { kind: Reduction::Mean, axes: vec![1] };
        check("mean of many", unary(mean, &[1, n], &[1, 1]), (0.0, 1.0), 0.002);
        let range = (-100.0, 300.0);
        let mean = Op::Reduce { kind: Reduction::Mean, axes: vec![1] };
        check("mean of many large ones", unary(mean, &[1, n], &[1, 1]), range, 0.3);
    }
    for (factor, largest) in [(1e-6, 1e6), (1e-5, 1e6), (1e-6, 1.0), (3e-4, 1.0), (1e-9, 1e6)] {
        let tolerance = f64::from(factor) * largest / 100.0;
        check("small factor", with_constant(Op::Mul, factor, false), (0.0, largest), tolerance);
        check("large divisor", with_constant(Op::Div, 1.0 / factor, false), (0.0, largest), tolerance);
    }
    for range in [(300.0, 1000.0), (1e4, 2e4), (1.0, 40.0)] {
        check("quotient", binary(Op::Div, &[1, 4], &[1, 4], &[1, 4]), range, 0.01 * range.1 / range.0);
        check("constant numerator", with_constant(Op::Div, range.1 as f32, true), range, 0.01 * range.1 / range.0);
    }
    // A reciprocal that is then multiplied.
    let mut b = Build::new(&[1, 4]);
    let y = b.node(Op::Reciprocal, &[0], &[1, 4]);
    let c = constant(&mut b, &[4], 1e4);
    b.node(Op::Mul, &[y, c], &[1, 4]);
    check("numerator apart", b, (9e3, 2e4), 0.01);
}

/// Where even the widest ring leaves too few, the plan is refused, and the node and its factor are named.
#[test]
fn what_would_be_rounded_away_is_refused() {
    let refusal = |b: &Build, (lo, hi): (f64, f64), ring: Option<RingWidth>| {
        let inputs = vec![InputRange { lo, hi }; b.0.inputs.len()];
        lower(&b.0, &LowerOptions { ring, inputs, ..LowerOptions::default() }).err().map(|e| e.to_string())
    };
    let scaled = with_constant(Op::Mul, 1e-6, false);
    let why = refusal(&scaled, (0.0, 1e6), Some(RingWidth::W32)).unwrap();
    assert!(why.contains("'n2'") && why.contains("'n1'") && why.contains("bits"), "{why}");
    let tiny = with_constant(Op::Mul, 1e-20, false);
    assert!(refusal(&tiny, (0.0, 1e6), None).unwrap().contains("'n1'"));
    let squared = binary(Op::Mul, &[1, 2], &[1, 2], &[1, 2]);
    assert!(refusal(&squared, (0.0, 1e-30), None).unwrap().contains("'n2'"));
    assert!(refusal(&with_constant(Op::Mul, 0.0, false), (0.0, 1.0), None).is_none(), "zeros are exact");
    let near_zero = unary(Op::Reciprocal, &[1, 2], &[1, 2]);
    assert!(refusal(&near_zero, (1e-9, 1.0), None).is_some());
}

/// A mean over many small numbers drops more bits than a protocol can at once.
#[test]
fn many_bits_are_dropped_in_steps() {
    let mut b = Build::new(&[1, 1, 64, 64]);
    let w = constant(&mut b, &[1, 1, 1, 1], 0.001);
    let window = Window { kernel: (1, 1), ..window(1, 1, 0, 1) };
    let y = b.node(Op::Conv(Conv { window, groups: 1 }), &[0, w], &[1, 1, 64, 64]);
    let mean = b.node(Op::Reduce { kind: Reduction::Mean, axes: vec![2, 3] }, &[y], &[1, 1, 1, 1]);
    let flat = b.node(Op::Reshape, &[mean], &[1, 1]);
    let head = b.weight(&[1, 3], 1.0, 4);
    b.node(Op::MatMul, &[flat, head], &[1, 3]);
    check("small mean", b, (-0.01, 0.01), 1e-4);
}

#[test]
fn residual_and_constant_outputs() {
    let mut b = weighted(Op::MatMul, &[1, 8], &[8, 8], &[1, 8], false);
    let sum = b.node(Op::Add, &[0, 2], &[1, 8]);
    b.node(Op::Relu, &[sum], &[1, 8]);
    check("residual", b, (-2.0, 2.0), 1e-2);
    let mut b = Build::new(&[3]);
    let w = b.weight(&[3], 2.0, 4);
    b.0.outputs = vec![w, 0];
    check("constant output", b, (-2.0, 2.0), EXACT);
}

#[test]
fn argmax_is_a_largest_element() {
    for n in [1, 2, 3, 7, 10] {
        let b = unary(Op::ArgMax { axis: 1 }, &[2, n], &[2, 1]);
        let range = InputRange { lo: -3.0, hi: 2.0 };
        let lowered = lowered(&b.0, range, None);
        let encoded = lowered.encode(0, &samples(2 * n, range, BATCH, n as u64)).unwrap();
        let labels =
            oracle::run(&lowered.program, &lowered.weights, std::slice::from_ref(&encoded), BATCH).unwrap().remove(0);
        assert_eq!(lowered.output_ulps, [Some(0)]);
        for (row, &label) in encoded.chunks(n).zip(&labels) {
            assert_eq!(row[label as usize], *row.iter().max().unwrap(), "{row:?} {label}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// Random stacks of layers, random ranges: lowered in some ring or refused, and what is
    /// lowered stays within its bits and its promised units on corners of the range.
    #[test]
    fn random_networks_keep_their_proofs(
        layers in prop::collection::vec(0u8..9, 1..6),
        seed in any::<u64>(),
        lo in -30.0f64..0.0,
        width in 0.0f64..60.0,
        scale in 0.01f32..4.0,
    ) {
        let mut b = Build::new(&[1, 6]);
        let mut x = 0;
        for (i, layer) in layers.iter().enumerate() {
            let weight = |b: &mut Build, shape: &[usize]| b.weight(shape, scale, seed ^ i as u64);
            x = match layer {
                0..=2 => {
                    let w = weight(&mut b, &[6, 6]);
                    let bias = weight(&mut b, &[6]);
                    let product = b.node(Op::MatMul, &[x, w], &[1, 6]);
                    b.node(Op::Add, &[product, bias], &[1, 6])
                }
                3 => b.node(Op::Relu, &[x], &[1, 6]),
                4 => b.node(Op::Sigmoid, &[x], &[1, 6]),
                5 => b.node(Op::LeakyRelu { alpha: 0.1 }, &[x], &[1, 6]),
                6 => b.node(Op::Mul, &[x, x], &[1, 6]),
                7 => b.node(Op::Gelu { tanh: false }, &[x], &[1, 6]),
                _ => {
                    let w = weight(&mut b, &[6]);
                    b.node(Op::Mul, &[x, w], &[1, 6])
                }
            };
        }
        let range = InputRange { lo, hi: lo + width };
        let options = LowerOptions { ring: None, inputs: vec![range], reveal: Reveal::Logits, ..LowerOptions::default() };
        match lower(&b.0, &options) {
            Ok(lowered) => { largest_error(&b.0, &lowered, range, seed); }
            Err(Error::Range { .. }) => prop_assert!(layers.len() > 1 || scale > 1.0),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}
