//! The shipped models, lowered: ring and fractions as documented, integer results close to
//! the plain ones, and nothing out of its proven range on real and on extreme inputs.
#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic")]

use flate2::read::GzDecoder;
use std::io::Read;
use subrosa_core::{RingWidth, Shape, Tensor};
use subrosa_graph::{
    Comparing, Error, FixedOp, Graph, InputRange, LowerOptions, Lowered, Model, Node, Op, Reveal, lower, oracle,
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn model(name: &str) -> Model {
    Model::from_bytes(&std::fs::read(format!("{ROOT}/models/{name}.onnx")).unwrap()).unwrap()
}

/// The first 100 test images, pixel / 255.
fn images() -> Vec<f32> {
    let path = format!("{ROOT}/data/mnist/t10k-first100-images-idx3-ubyte.gz");
    let mut bytes = Vec::new();
    GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes[16..].iter().map(|&b| f32::from(b) / 255.0).collect()
}

fn lowered(model: &Model, range: InputRange, reveal: Reveal) -> Lowered {
    lower(model.graph(), &LowerOptions { ring: None, inputs: vec![range], reveal, ..LowerOptions::default() }).unwrap()
}

const PIXELS: InputRange = InputRange { lo: 0.0, hi: 1.0 };

fn label(logits: &[f32]) -> usize {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap()
}

struct Expected {
    ring: RingWidth,
    max_abs_err: f32,
}

/// `(model, ring, largest difference to plain over the first 100 test images)`. The
/// tolerance is what these fraction bits give, with a margin of about two.
const MODELS: [(&str, Expected); 8] = [
    ("mlp", Expected { ring: RingWidth::W32, max_abs_err: 0.06 }),
    ("cnn", Expected { ring: RingWidth::W32, max_abs_err: 0.06 }),
    ("lenet", Expected { ring: RingWidth::W32, max_abs_err: 0.07 }),
    ("lenet5", Expected { ring: RingWidth::W32, max_abs_err: 0.14 }),
    ("mlp_square", Expected { ring: RingWidth::W48, max_abs_err: 0.13 }),
    ("cnn_square", Expected { ring: RingWidth::W48, max_abs_err: 0.03 }),
    ("lenet_square", Expected { ring: RingWidth::W64, max_abs_err: 0.06 }),
    ("lenet_poly", Expected { ring: RingWidth::W64, max_abs_err: 0.02 }),
];

#[test]
fn digits_agree_with_plain() {
    let images = images();
    for (name, expected) in MODELS {
        let model = model(name);
        let lowered = lowered(&model, PIXELS, Reveal::Logits);
        assert_eq!(lowered.program.ring, expected.ring, "{name}");
        let encoded = lowered.encode(0, &images).unwrap();
        let values = oracle::run(&lowered.program, &lowered.weights, &[encoded], 100).unwrap();
        let got = lowered.decode(0, &values[0]);
        let plain = model.plain(100).unwrap().run(&[&images]).unwrap().remove(0);
        let err = got.iter().zip(&plain).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let same = got.chunks(10).zip(plain.chunks(10)).filter(|(a, b)| label(a) == label(b)).count();
        assert!(same >= 99, "{name}: {same} of 100 labels agree");
        assert!(err <= expected.max_abs_err, "{name}: differs by {err}");
    }
}

/// Inputs that push single products to the ends of their intervals: a pixel is lit where
/// the first layer's weight for one neuron is positive (or negative).
#[test]
fn extreme_inputs_stay_within_their_bits() {
    for (name, _) in MODELS {
        let lowered = lowered(&model(name), PIXELS, Reveal::Logits);
        let first = &lowered.weights.tensors[0];
        let one = 1i64 << lowered.program.insts[lowered.program.inputs[0]].frac;
        let sample = |neuron: usize, sign: i64| {
            (0..784).map(move |i| if first[(i * 128 + neuron) % first.len()] * sign > 0 { one } else { 0 })
        };
        let batch: Vec<i64> = (0..8).flat_map(|n| sample(n, 1).chain(sample(n, -1))).collect();
        let exact = oracle::run(&lowered.program, &lowered.weights, std::slice::from_ref(&batch), 16).unwrap();
        for seed in 0..2 {
            let rounded =
                oracle::run_rounding(&lowered.program, &lowered.weights, std::slice::from_ref(&batch), 16, seed)
                    .unwrap();
            let far = exact[0].iter().zip(&rounded[0]).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(far <= lowered.output_ulps[0].unwrap(), "{name}: {far} units");
        }
    }
}

/// The interval proof is tight where it can be: lighting a neuron's positive weights
/// reaches the top of the first layer's proven interval, up to the bits' rounding.
#[test]
fn the_first_layers_bound_is_reached() {
    let lowered = lowered(&model("mlp"), PIXELS, Reveal::Logits);
    let insts = &lowered.program.insts;
    let product = insts.iter().position(|i| matches!(i.op, FixedOp::MatMul { .. })).unwrap();
    let (first, one) = (&lowered.weights.tensors[0], 1i64 << insts[0].frac);
    let sum = |n: usize, sign: i64| (0..784).map(|i| (first[i * 128 + n] * sign).max(0)).sum::<i64>() * one;
    let reached = (0..128).map(|n| sum(n, 1).max(sum(n, -1))).max().unwrap();
    let proven = lowered.magnitudes[product] * f64::from(insts[product].frac).exp2();
    assert_eq!(reached as f64, proven);
}

#[test]
fn tables_agree_with_plain() {
    let text = std::fs::read_to_string(format!("{ROOT}/data/breast_cancer/standardised_test.csv")).unwrap();
    let cells = |line: &str| line.split(',').map(|c| c.parse::<f32>().unwrap()).collect::<Vec<_>>();
    let rows: Vec<f32> = text.lines().skip(1).flat_map(|line| cells(line)[..30].to_vec()).collect();
    let range = InputRange { lo: -6.0, hi: 12.0 };
    for name in ["breast_cancer_mlp", "breast_cancer_logreg"] {
        let model = model(name);
        let lowered = lowered(&model, range, Reveal::Logits);
        assert_eq!(lowered.program.ring, RingWidth::W32, "{name}");
        let batch = rows.len() / 30;
        let encoded = lowered.encode(0, &rows).unwrap();
        let values = oracle::run(&lowered.program, &lowered.weights, &[encoded], batch).unwrap();
        let plain = model.plain(batch).unwrap().run(&[&rows]).unwrap().remove(0);
        let got = lowered.decode(0, &values[0]);
        let err = got.iter().zip(&plain).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(err <= 0.05, "{name}: differs by {err}");
    }
}

#[test]
fn labels_are_the_largest_logits() {
    let images = images();
    let model = model("lenet5");
    let lowered = lowered(&model, PIXELS, Reveal::Label);
    assert_eq!(lowered.output_ulps, [None]);
    let encoded = lowered.encode(0, &images).unwrap();
    let labels = lowered.decode(0, &oracle::run(&lowered.program, &lowered.weights, &[encoded], 100).unwrap()[0]);
    let plain = model.plain(100).unwrap().run(&[&images]).unwrap().remove(0);
    let same = plain.chunks(10).zip(&labels).filter(|&(logits, &l)| label(logits) == l as usize).count();
    assert_eq!(same, 100);
}

#[test]
fn a_ring_can_be_forced_or_refused() {
    let model = model("mlp_square");
    let with = |ring| {
        lower(
            model.graph(),
            &LowerOptions { ring, inputs: vec![PIXELS], reveal: Reveal::Logits, ..LowerOptions::default() },
        )
    };
    assert_eq!(with(Some(RingWidth::W64)).unwrap().program.ring, RingWidth::W64);
    let error = with(Some(RingWidth::W32)).err().unwrap();
    assert!(matches!(&error, Error::Range { magnitude_bits, .. } if *magnitude_bits > 20.0), "{error}");
    let text = error.to_string();
    assert!(text.contains("Z_2^32") && text.contains("--input-range"), "{text}");
}

#[test]
fn inputs_are_checked() {
    let lowered = lowered(&model("mlp"), InputRange { lo: 0.0, hi: 0.1 }, Reveal::Logits);
    let mut image = vec![0.1f32; 784];
    assert!(lowered.encode(0, &image).is_ok(), "0.1 as f32 is above 0.1, and is meant");
    for (bad, word) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (0.2, "outside the range 0..0.1"), (-0.1, "outside")]
    {
        image[700] = bad;
        let text = lowered.encode(0, &image).unwrap_err().to_string();
        assert!(text.contains("sample 0, position 700") && text.contains(word), "{text}");
    }
    assert!(lowered.encode(0, &image[1..]).unwrap_err().to_string().contains("multiple of 784"));
    assert!(lowered.encode(1, &image).is_err());
    assert!(oracle::run(&lowered.program, &lowered.weights, &[vec![0; 783]], 1).is_err());
}

fn graph(nodes: Vec<(Op, Vec<usize>, usize)>) -> Graph {
    let node = |(i, (op, inputs, len)): (usize, (Op, Vec<usize>, usize))| Node {
        name: format!("n{i}"),
        op,
        inputs,
        shape: Shape::vector(len),
    };
    let nodes: Vec<Node> = nodes.into_iter().enumerate().map(node).collect();
    Graph { outputs: vec![nodes.len() - 1], inputs: vec![0], nodes }
}

fn refusal(graph: &Graph, lo: f64, hi: f64) -> Error {
    lower(
        graph,
        &LowerOptions {
            ring: None,
            inputs: vec![InputRange { lo, hi }],
            reveal: Reveal::Logits,
            ..LowerOptions::default()
        },
    )
    .err()
    .unwrap()
}

#[test]
fn what_cannot_be_computed_is_refused_by_name() {
    let unary = |op: Op| graph(vec![(Op::Input, vec![], 1), (op, vec![0], 1)]);
    for (op, lo, hi) in [(Op::Reciprocal, -1.0, 1.0), (Op::Reciprocal, 1e-9, 1.0), (Op::Sqrt, -1.0, 1.0)] {
        let error = refusal(&unary(op), lo, hi);
        assert!(matches!(&error, Error::Domain { node, .. } if node == "n1"), "{error}");
    }
    for (op, hi) in [(Op::Exp, 900.0), (Op::Exp, 60.0), (Op::Pow { exponent: 9 }, 1000.0)] {
        let error = refusal(&unary(op), 0.0, hi);
        assert!(matches!(&error, Error::Range { node, .. } if node == "n1"), "{error}");
    }
    assert!(matches!(refusal(&unary(Op::Relu), 1.0, 0.0), Error::Input(_)));
    assert!(matches!(refusal(&unary(Op::Relu), 0.0, f64::INFINITY), Error::Input(_)));
    let nan = Tensor::new(Shape::vector(1), vec![f32::NAN]).unwrap();
    let weighted = graph(vec![(Op::Input, vec![], 1), (Op::Weight(nan), vec![], 1), (Op::Add, vec![0, 1], 1)]);
    assert!(matches!(refusal(&weighted, 0.0, 1.0), Error::Malformed(text) if text.contains("n1")));
}

#[test]
fn inconsistent_graphs_are_refused() {
    for (op, inputs, len) in [
        (Op::Relu, vec![1], 1),
        (Op::Relu, vec![7], 1),
        (Op::Add, vec![0], 1),
        (Op::Layout { map: vec![3] }, vec![0], 1),
        (Op::Reshape, vec![0], 5),
        (Op::Softmax { axis: 4 }, vec![0], 1),
        (Op::Transpose { perm: vec![3] }, vec![0], 1),
    ] {
        let graph = graph(vec![(Op::Input, vec![], 1), (op, inputs, len)]);
        assert!(matches!(refusal(&graph, 0.0, 1.0), Error::Malformed(_)), "{graph:?}");
    }
}

#[test]
fn the_digest_sees_every_field() {
    let lowered = lowered(&model("lenet"), PIXELS, Reveal::Label);
    let program = lowered.program;
    let digest = program.digest();
    assert_eq!(digest, program.clone().digest());
    let changed = |change: &dyn Fn(&mut subrosa_graph::Program)| {
        let mut other = program.clone();
        change(&mut other);
        assert_ne!(other.digest(), digest);
    };
    changed(&|p| p.ring = RingWidth::W48);
    changed(&|p| p.outputs[0] -= 1);
    changed(&|p| p.weights[0].frac += 1);
    changed(&|p| p.weights[0].name.push('x'));
    changed(&|p| drop(p.insts.pop()));
    for i in 0..program.insts.len() {
        changed(&|p| p.insts[i].frac += 1);
        changed(&|p| p.insts[i].bits += 1);
        changed(&|p| p.insts[i].node += 1);
        changed(&|p| p.insts[i].batched ^= true);
        changed(&|p| p.insts[i].shape = Shape::vector(1_000_003));
        changed(&|p| match &mut p.insts[i].op {
            FixedOp::Input { index } | FixedOp::Weight { index } => *index += 1,
            FixedOp::Public { values } => values[0] += 1,
            FixedOp::MatMul { dims, .. } => dims.k += 1,
            FixedOp::Conv { geometry, .. } => geometry.pads.1 += 1,
            FixedOp::Mul { x, .. } | FixedOp::Add { x, .. } | FixedOp::Sub { x, .. } => *x += 1,
            FixedOp::MulPublic { by, .. } => *by += 1,
            FixedOp::Scale { by, .. } => by[0] += 1,
            FixedOp::Trunc { shift, .. } | FixedOp::TruncRelu { shift, .. } => *shift += 1,
            FixedOp::Relu { x } | FixedOp::Ltz { x } => *x += 1,
            FixedOp::Layout { map, .. } => map[0] += 1,
            FixedOp::Concat { xs } => xs[0] += 1,
            FixedOp::Sum { len, .. } => *len += 1,
        });
    }
}

#[test]
fn plans_print_an_instruction_a_line() {
    let text = lowered(&model("mlp"), PIXELS, Reveal::Logits).program.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "ring Z_2^32, 15 instructions");
    assert_eq!(lines.len(), 17);
    let relu = lines[6].split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(relu, "5 trunc_relu %4 13 (to 18 bits) [1, 128] frac 10 bits 17 node 6");
}

#[test]
fn keys_are_spared_wide_comparisons() {
    let model = model("lenet");
    let compared = |comparing| {
        let options =
            LowerOptions { inputs: vec![PIXELS], comparing, ring: Some(RingWidth::W48), ..LowerOptions::default() };
        let program = lower(model.graph(), &options).unwrap().program;
        let bits = |op: &FixedOp| {
            if let FixedOp::Relu { x } = op {
                program.insts[*x].bits as usize * program.insts[*x].shape.len()
            } else if let FixedOp::TruncRelu { x, bits_truncated, .. } = op {
                *bits_truncated as usize * program.insts[*x].shape.len()
            } else {
                0
            }
        };
        program.insts.iter().map(|inst| bits(&inst.op)).sum::<usize>()
    };
    let (circuits, keys) = (compared(Comparing::Circuits), compared(Comparing::Keys));
    assert!(10 * keys < 8 * circuits, "{keys} bits compared by keys, {circuits} by circuits");
}
