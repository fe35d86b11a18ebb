//! Every function through the oracle, densely over its range, against f64: the errors
//! stated in the docs hold.
#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic")]

use subrosa_core::{RingWidth, Shape, fixed};
use subrosa_graph::lower::{FLOOR, SMOOTH_ERROR, SOFTMAX_ERROR};
use subrosa_graph::{Graph, InputRange, LowerOptions, Lowered, Node, Op, Reveal, lower, oracle};

fn graph(op: Op, shape: &[usize]) -> Graph {
    let shape = Shape::new(shape).unwrap();
    let input = Node { name: "x".into(), op: Op::Input, inputs: vec![], shape: shape.clone() };
    let node = Node { name: "f".into(), op, inputs: vec![0], shape };
    Graph { nodes: vec![input, node], inputs: vec![0], outputs: vec![1] }
}

fn lowered(op: Op, shape: &[usize], lo: f64, hi: f64, ring: Option<RingWidth>) -> Lowered {
    let options =
        LowerOptions { ring, inputs: vec![InputRange { lo, hi }], reveal: Reveal::Logits, ..LowerOptions::default() };
    lower(&graph(op, shape), &options).unwrap()
}

/// `(x, f(x))` for every `step`-th integer of the range.
fn table(op: Op, lo: f64, hi: f64, ring: Option<RingWidth>) -> (Lowered, Vec<(f64, f64)>) {
    let lowered = lowered(op, &[1], lo, hi, ring);
    let program = &lowered.program;
    let frac = program.insts[program.inputs[0]].frac;
    let (from, to) = (fixed::encode(lo, frac).unwrap(), fixed::encode(hi, frac).unwrap());
    let step = ((to - from) / 100_000).max(1);
    let xs: Vec<i64> = (from..=to).step_by(step as usize).chain([to]).collect();
    let ys = oracle::run(program, &lowered.weights, std::slice::from_ref(&xs), xs.len()).unwrap().remove(0);
    let out = program.insts[program.outputs[0]].frac;
    let pairs = xs.iter().zip(ys).map(|(&x, y)| (fixed::decode(x, frac), fixed::decode(y, out))).collect();
    (lowered, pairs)
}

fn check(op: Op, range: (f64, f64), f: impl Fn(f64) -> f64, allowed: impl Fn(f64) -> f64) {
    for ring in [None, Some(RingWidth::W48), Some(RingWidth::W64)] {
        let (lowered, pairs) = table(op.clone(), range.0, range.1, ring);
        let worst = pairs
            .iter()
            .map(|&(x, y)| ((y - f(x)).abs() / allowed(x), x))
            .fold((0.0, 0.0), |a, b| if b.0 > a.0 { b } else { a });
        let program = &lowered.program;
        assert!(worst.0 <= 1.0, "{op:?} in {} at {}: {} of what is allowed", program.ring, worst.1, worst.0);
    }
}

/// Abramowitz and Stegun 7.1.26: |error| < 1.5e-7, independent of the library's series.
fn erf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.3275911 * x.abs());
    let p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    (1.0 - p * (-x * x).exp()).copysign(x)
}

#[test]
fn saturating_functions() {
    for range in [(-70.0, 70.0), (-1.0, 1.0), (-3.0, 12.0), (2.0, 5.0), (10.0, 20.0), (-2000.0, 1000.0), (0.0, 0.0)] {
        check(Op::Sigmoid, range, |x| 1.0 / (1.0 + (-x).exp()), |_| SMOOTH_ERROR);
        check(Op::Tanh, range, f64::tanh, |_| SMOOTH_ERROR);
        check(Op::Erf, range, erf, |_| SMOOTH_ERROR);
    }
}

#[test]
fn gelu() {
    for range in [(-70.0, 70.0), (-1.0, 1.0), (-9.0, -1.0), (5.0, 6.0), (-1000.0, 1000.0)] {
        let exact = |x: f64| x * 0.5 * (1.0 + erf(x / 2f64.sqrt()));
        // Where x is large the result has no more fraction bits than x.
        check(Op::Gelu { tanh: false }, range, exact, |_| SMOOTH_ERROR);
        let approx =
            |x: f64| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh());
        check(Op::Gelu { tanh: true }, range, approx, |_| SMOOTH_ERROR);
    }
}

#[test]
fn exponentials() {
    for range in [(-20.0, 0.0), (-3.0, 3.0), (0.0, 5.0), (-100.0, 1.0), (-50.0, -30.0)] {
        check(Op::Exp, range, f64::exp, |x| SMOOTH_ERROR * x.exp().max(1.0));
    }
}

#[test]
fn reciprocals() {
    let ranges =
        [(1.0, 10.0), (0.1, 1.0), (1.0, 1000.0), (-8.0, -0.5), (0.01, 100.0), (300.0, 1000.0), (520.0, 2000.0)];
    for range in ranges.into_iter().chain([(1e4, 2e4), (-1000.0, -300.0), (4.0, 7.0), (1e5, 1e6)]) {
        let (lo, hi): (f64, f64) = range;
        let least = lo.abs().min(hi.abs()).max(1.0).log2().floor().exp2();
        check(Op::Reciprocal, range, f64::recip, |x| (SMOOTH_ERROR / x.abs()).max(FLOOR / least));
    }
}

/// Whatever a protocol rounds, it stays within the promise.
#[test]
fn promises_hold_however_truncations_round() {
    let gelu = || Op::Gelu { tanh: false };
    let wide = [(gelu(), -600_000.0, 600_000.0), (gelu(), -1.1e6, 2e6), (gelu(), -4000.0, 5000.0)];
    let others =
        [(Op::Reciprocal, 300.0, 1000.0), (Op::Reciprocal, 0.5, 9.0), (Op::Exp, -9.0, 4.0), (Op::Tanh, -5.0, 5.0)];
    for (op, lo, hi) in wide.into_iter().chain(others) {
        let lowered = lowered(op.clone(), &[1], lo, hi, None);
        let program = &lowered.program;
        let frac = program.insts[program.inputs[0]].frac;
        let near = |x: f64| fixed::encode(x.clamp(lo, hi), frac).unwrap();
        let middle = (near(lo.max(-8.0))..=near(hi.min(8.0))).step_by(7);
        let whole = (near(lo)..=near(hi)).step_by(((near(hi) - near(lo)) / 20_000).max(1) as usize);
        let xs: Vec<i64> = middle.chain(whole).take(60_000).collect();
        let run = |seed| oracle::run_rounding(program, &lowered.weights, std::slice::from_ref(&xs), xs.len(), seed);
        let exact = oracle::run(program, &lowered.weights, std::slice::from_ref(&xs), xs.len()).unwrap().remove(0);
        for seed in 0..4 {
            let rounded = run(seed).unwrap().remove(0);
            let apart = exact.iter().zip(&rounded).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            let promised = lowered.output_ulps[0].unwrap();
            assert!(apart <= promised, "{op:?} on {lo}..{hi}: {apart} units, {promised} promised\n{program}");
        }
    }
}

#[test]
fn square_roots() {
    for range in [(0.0, 1.0), (0.0, 100.0), (1.0, 2.0), (0.001, 4.0)] {
        let (lowered, _) = table(Op::Sqrt, range.0, range.1, None);
        let unit = 2f64.powi(-(lowered.program.insts[0].frac as i32));
        check(Op::Sqrt, range, f64::sqrt, |x| 4.0 * (SMOOTH_ERROR / 4.0).max(unit / (2.0 * x.max(unit).sqrt())));
    }
}

#[test]
fn softmax() {
    for (n, bound) in [(2, 3.0), (10, 30.0), (64, 8.0), (10, 1000.0)] {
        let lowered = lowered(Op::Softmax { axis: 1 }, &[1, n], -bound, bound, None);
        let mut state = 7u64;
        let mut random = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f64 / (1u64 << 24) as f64
        };
        let samples: Vec<f32> = (0..2000 * n)
            .map(|i| ((random() * 2.0 - 1.0) * bound * if i / n % 3 == 0 { 0.02 } else { 1.0 }) as f32)
            .collect();
        let encoded = lowered.encode(0, &samples).unwrap();
        let frac = lowered.program.insts[0].frac;
        let values =
            oracle::run(&lowered.program, &lowered.weights, std::slice::from_ref(&encoded), 2000).unwrap().remove(0);
        let got = lowered.decode(0, &values);
        let mut worst = 0f64;
        for (x, y) in encoded.chunks(n).zip(got.chunks(n)) {
            let x: Vec<f64> = x.iter().map(|&v| fixed::decode(v, frac)).collect();
            let max = x.iter().copied().fold(f64::MIN, f64::max);
            let sum: f64 = x.iter().map(|v| (v - max).exp()).sum();
            let errs = x.iter().zip(y).map(|(v, &y)| ((v - max).exp() / sum - f64::from(y)).abs());
            worst = worst.max(errs.fold(0.0, f64::max));
        }
        assert!(worst <= SOFTMAX_ERROR, "{n} {bound}: {worst}");
    }
}
