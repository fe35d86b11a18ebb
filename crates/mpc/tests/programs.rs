//! Lowered graphs on a cluster: results against the oracle, cost against the prediction.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;
use subrosa_core::{Shape, Tensor};
use subrosa_graph::op::{Conv, Reduction, Window};
use subrosa_graph::{Comparing, Graph, InputRange, LowerOptions, Lowered, Model, Node, Op, Reveal, lower, oracle};
use subrosa_mpc::{LocalCluster, Options, ProtocolKind, predict};

/// Values spread over the input's range, both ends included.
fn samples(lowered: &Lowered, input: usize, count: usize) -> Vec<f32> {
    let range = lowered.inputs[input];
    let at = |i: usize| range.lo + (range.hi - range.lo) * ((i * 7919) % 1000) as f64 / 999.0;
    (0..count).map(|i| at(i) as f32).collect()
}

/// Of each protocol for any number of parties the smallest.
const OF_EACH_KIND: &[ProtocolKind] =
    &[ProtocolKind::Rep3, ProtocolKind::Rep3Malicious, ProtocolKind::Rep4, ProtocolKind::Beaver2, ProtocolKind::Fss];

/// Runs `lowered` under these protocols, with secret and with public weights.
fn check(name: &str, lowered: &Lowered, batch: usize, kinds: &[ProtocolKind]) {
    let program = Arc::new(lowered.program.clone());
    let inputs: Vec<Vec<i64>> = (program.inputs.iter().enumerate())
        .map(|(i, &id)| lowered.encode(i, &samples(lowered, i, program.insts[id].shape.len() * batch)).unwrap())
        .collect();
    let expected = oracle::run(&program, &lowered.weights, &inputs, batch).unwrap();
    for &kind in kinds {
        let dealt = Options { threads: 1, ..Options::default() };
        let public = Options { public_weights: true, threads: 2, ..dealt };
        for options in [dealt, public, Options { exact: true, ..dealt }] {
            let at = format!("{name} under {} with {options:?}", kind.name());
            let mut cluster = LocalCluster::start(kind, program.clone(), lowered.weights.clone(), &options).unwrap();
            let got = cluster.infer(&inputs, batch).unwrap();
            let predicted = predict(kind, &program, batch, &options).unwrap();
            assert_eq!(cluster.setup().cost, predicted.setup, "{at}: setup");
            assert_eq!(got.offline.cost, predicted.offline, "{at}: offline");
            assert_eq!(got.online.cost, predicted.online, "{at}: online");
            for (o, (got, expected)) in got.outputs.iter().zip(&expected).enumerate() {
                assert_eq!(got.len(), expected.len(), "{at}");
                let worst = got.iter().zip(expected).map(|(g, e)| g.abs_diff(*e)).max().unwrap_or(0);
                if options.exact {
                    assert_eq!(worst, 0, "{at}: {worst} units off, though exact");
                } else if let Some(ulps) = lowered.output_ulps[o] {
                    assert!(worst <= ulps, "{at}: {worst} units off, {ulps} proven");
                }
            }
        }
    }
}

/// Those of `kinds` whose programs are lowered so.
fn lowered_so(kinds: &[ProtocolKind], comparing: Comparing) -> Vec<ProtocolKind> {
    kinds.iter().copied().filter(|kind| kind.comparing() == comparing).collect()
}

struct Builder(Graph);

impl Builder {
    fn new(shape: &[usize]) -> Self {
        let mut b = Self(Graph { nodes: vec![], inputs: vec![], outputs: vec![] });
        let input = b.push(Op::Input, &[], shape);
        b.0.inputs.push(input);
        b
    }

    fn push(&mut self, op: Op, inputs: &[usize], shape: &[usize]) -> usize {
        let name = format!("n{}", self.0.nodes.len());
        self.0.nodes.push(Node { name, op, inputs: inputs.to_vec(), shape: Shape::new(shape).unwrap() });
        self.0.nodes.len() - 1
    }

    fn weight(&mut self, shape: &[usize]) -> usize {
        let shape_of = Shape::new(shape).unwrap();
        let data = (0..shape_of.len()).map(|i| ((i * 37 % 101) as f32 - 50.0) / 60.0).collect();
        self.push(Op::Weight(Tensor::new(shape_of, data).unwrap()), &[], shape)
    }

    fn check(mut self, name: &str, output: usize) {
        self.0.outputs = vec![output];
        for comparing in [Comparing::Circuits, Comparing::Keys] {
            let inputs = vec![InputRange { lo: -2.0, hi: 2.0 }];
            let options = LowerOptions { inputs, comparing, ..LowerOptions::default() };
            check(name, &lower(&self.0, &options).unwrap(), 3, &lowered_so(ProtocolKind::ALL, comparing));
        }
    }
}

/// One input, one operation of the input's shape.
fn unary(name: &str, ops: &[Op]) {
    let mut b = Builder::new(&[1, 2, 6]);
    let last = ops.iter().fold(0, |x, op| b.push(op.clone(), &[x], &[1, 2, 6]));
    b.check(name, last);
}

#[test]
fn activations_and_functions() {
    unary("relu", &[Op::Relu]);
    unary("leaky relu", &[Op::LeakyRelu { alpha: 0.1 }]);
    unary("clip", &[Op::Clip { min: -0.5, max: 1.0 }]);
    unary("abs", &[Op::Abs]);
    unary("pow", &[Op::Pow { exponent: 3 }]);
    unary("sigmoid", &[Op::Sigmoid]);
    unary("tanh", &[Op::Tanh]);
    unary("gelu", &[Op::Gelu { tanh: false }]);
    unary("exp", &[Op::Exp]);
    unary("softmax", &[Op::Softmax { axis: 2 }]);
}

#[test]
fn linear_layers() {
    let mut b = Builder::new(&[1, 12]);
    let (w, c, v) = (b.weight(&[12, 7]), b.weight(&[7]), b.weight(&[7, 3]));
    let x = b.push(Op::MatMul, &[0, w], &[1, 7]);
    let x = b.push(Op::Add, &[x, c], &[1, 7]);
    let x = b.push(Op::Relu, &[x], &[1, 7]);
    let x = b.push(Op::MatMul, &[x, v], &[1, 3]);
    b.check("two dense layers", x);
}

#[test]
fn convolutions_and_pools() {
    let window = |k: usize, s: usize, p: usize| Window {
        kernel: (k, k),
        strides: (s, s),
        dilations: (1, 1),
        pads_begin: (p, p),
        pads_end: (p, p),
        ceil: false,
    };
    let mut b = Builder::new(&[1, 2, 9, 9]);
    let (w, c) = (b.weight(&[4, 1, 3, 3]), b.weight(&[4]));
    let x = b.push(Op::Conv(Conv { window: window(3, 1, 1), groups: 2 }), &[0, w, c], &[1, 4, 9, 9]);
    let x = b.push(Op::MaxPool(window(3, 2, 0)), &[x], &[1, 4, 4, 4]);
    let x = b.push(Op::Relu, &[x], &[1, 4, 4, 4]);
    let x = b.push(Op::AveragePool { window: window(2, 2, 0), count_include_pad: true }, &[x], &[1, 4, 2, 2]);
    let x = b.push(Op::Reduce { kind: Reduction::Mean, axes: vec![2, 3] }, &[x], &[1, 4, 1, 1]);
    b.check("a small convolutional net", x);
}

#[test]
fn shapes_and_comparisons() {
    let mut b = Builder::new(&[1, 2, 6]);
    let t = b.push(Op::Transpose { perm: vec![0, 2, 1] }, &[0], &[1, 6, 2]);
    let r = b.push(Op::Reshape, &[t], &[1, 2, 6]);
    let m = b.push(Op::Max, &[0, r], &[1, 2, 6]);
    let n = b.push(Op::Min, &[0, r], &[1, 2, 6]);
    let s = b.push(Op::Mul, &[m, n], &[1, 2, 6]);
    let c = b.push(Op::Concat { axis: 1 }, &[s, m], &[1, 4, 6]);
    let p = b.push(Op::Pad { pads: vec![(0, 0), (1, 0), (0, 2)], value: 0.5 }, &[c], &[1, 5, 8]);
    let x = b.push(Op::Reduce { kind: Reduction::Max, axes: vec![2] }, &[p], &[1, 5, 1]);
    b.check("shapes", x);
}

#[test]
fn attention_like_products() {
    let mut b = Builder::new(&[2, 3, 4]);
    let t = b.push(Op::Transpose { perm: vec![0, 2, 1] }, &[0], &[2, 4, 3]);
    let x = b.push(Op::MatMul, &[0, t], &[2, 3, 3]);
    b.check("x x^T", x);
}

#[test]
fn shipped_models_keep_their_plan() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "onnx") {
            continue;
        }
        let model = Model::from_bytes(&std::fs::read(&path).unwrap()).unwrap();
        for reveal in [Reveal::Logits, Reveal::Label] {
            let tabular = path.to_string_lossy().contains("breast");
            let range = if tabular { InputRange { lo: -16.0, hi: 16.0 } } else { InputRange { lo: 0.0, hi: 1.0 } };
            for comparing in [Comparing::Circuits, Comparing::Keys] {
                let options = LowerOptions { inputs: vec![range], reveal, comparing, ..LowerOptions::default() };
                let name = format!("{} {reveal:?}", path.file_name().unwrap().to_string_lossy());
                let lowered = lower(model.graph(), &options);
                // Four squares one after another: no bound that holds for every input fits a ring.
                if name.starts_with("lenet5_square") {
                    assert!(matches!(lowered, Err(subrosa_graph::Error::Range { .. })), "{name}");
                    continue;
                }
                check(&name, &lowered.unwrap(), 2, &lowered_so(OF_EACH_KIND, comparing));
            }
        }
        seen += 1;
    }
    assert!(seen >= 10, "only {seen} models found");
}
