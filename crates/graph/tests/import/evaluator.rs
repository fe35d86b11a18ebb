//! A slow and simple evaluator of [`Graph`] in f64: what the operations *mean*. It shares
//! no code with the importer, so it can disagree.

use subrosa_core::Shape;
use subrosa_graph::op::{Reduction, Window};
use subrosa_graph::{Graph, Node, Op};

/// A tensor of doubles.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) dims: Vec<usize>,
    pub(crate) data: Vec<f64>,
}

/// Runs a graph on one sample; one flat slice an input.
pub(crate) fn evaluate(graph: &Graph, inputs: &[Vec<f64>]) -> Vec<Value> {
    let mut values: Vec<Value> = Vec::new();
    for (id, node) in graph.nodes.iter().enumerate() {
        let operands: Vec<&Value> = node.inputs.iter().map(|&i| &values[i]).collect();
        let input = graph.inputs.iter().position(|&i| i == id).map(|i| inputs[i].clone());
        let data = node_data(node, &operands, input);
        assert_eq!(data.len(), node.shape.len(), "{node:?}");
        values.push(Value { dims: node.shape.dims().to_vec(), data });
    }
    graph.outputs.iter().map(|&o| values[o].clone()).collect()
}

fn node_data(node: &Node, x: &[&Value], input: Option<Vec<f64>>) -> Vec<f64> {
    let map = |f: &dyn Fn(f64) -> f64| x[0].data.iter().map(|&v| f(v)).collect();
    let zip = |f: &dyn Fn(f64, f64) -> f64| zipped(x[0], x[1], node.shape.dims(), f);
    match &node.op {
        Op::Input => input.unwrap(),
        Op::Weight(t) => t.data().iter().map(|&v| f64::from(v)).collect(),
        Op::MatMul => matmul(x[0], x[1], node.shape.dims()),
        Op::Conv(conv) => convolution(x, &conv.window, conv.groups, node.shape.dims()),
        Op::Add => zip(&|a, b| a + b),
        Op::Sub => zip(&|a, b| a - b),
        Op::Mul => zip(&|a, b| a * b),
        Op::Div => zip(&|a, b| a / b),
        Op::Relu => map(&|v| v.max(0.0)),
        Op::LeakyRelu { alpha } => map(&|v| if v < 0.0 { v * f64::from(*alpha) } else { v }),
        Op::PRelu => zip(&|v, slope| if v < 0.0 { v * slope } else { v }),
        Op::Clip { min, max } => map(&|v| v.max(f64::from(*min)).min(f64::from(*max))),
        Op::Abs => map(&f64::abs),
        Op::Max => zip(&f64::max),
        Op::Min => zip(&f64::min),
        Op::MaxPool(w) => {
            pool(x[0], w, node.shape.dims(), |taps, _| taps.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max))
        }
        Op::AveragePool { window, count_include_pad } => pool(x[0], window, node.shape.dims(), |taps, area| {
            let inside = taps.iter().flatten().count();
            taps.iter().flatten().sum::<f64>() / if *count_include_pad { area } else { inside } as f64
        }),
        Op::Sigmoid => map(&|v| 1.0 / (1.0 + (-v).exp())),
        Op::Tanh => map(&f64::tanh),
        Op::Erf => map(&erf),
        Op::Gelu { tanh: false } => map(&|v| 0.5 * v * (1.0 + erf(v / 2f64.sqrt()))),
        Op::Gelu { tanh: true } => {
            let c = (2.0 / std::f64::consts::PI).sqrt();
            map(&|v| 0.5 * v * (1.0 + (c * (v + 0.044715 * v.powi(3))).tanh()))
        }
        Op::Softmax { axis } => softmax(x[0], *axis),
        Op::Exp => map(&f64::exp),
        Op::Sqrt => map(&f64::sqrt),
        Op::Reciprocal => map(&f64::recip),
        Op::Pow { exponent } => map(&|v| v.powi(*exponent as i32)),
        Op::Reduce { kind, axes } => reduce(x[0], *kind, axes, node.shape.dims()),
        Op::ArgMax { axis } => argmax(x[0], *axis),
        Op::Concat { axis } => concat(x, *axis),
        Op::Layout { map } => map.iter().map(|&i| x[0].data[i as usize]).collect(),
        Op::Transpose { perm } => transpose(x[0], perm, node.shape.dims()),
        Op::Pad { pads, value } => pad(x[0], pads, f64::from(*value), node.shape.dims()),
        Op::Reshape => x[0].data.clone(),
    }
}

/// Coordinates of flat position `i`.
fn coords(mut i: usize, dims: &[usize]) -> Vec<usize> {
    let mut c = vec![0; dims.len()];
    for (c, d) in c.iter_mut().zip(dims).rev() {
        *c = i % d;
        i /= d;
    }
    c
}

fn flat(coords: &[usize], dims: &[usize]) -> usize {
    coords.iter().zip(dims).fold(0, |i, (c, d)| i * d + c)
}

/// The element of `x` that numpy's broadcast puts at `at`, which may have more axes.
fn broadcast_at(x: &Value, at: &[usize]) -> f64 {
    let tail = &at[at.len() - x.dims.len()..];
    let c: Vec<usize> = tail.iter().zip(&x.dims).map(|(&c, &d)| if d == 1 { 0 } else { c }).collect();
    x.data[flat(&c, &x.dims)]
}

fn zipped(x: &Value, y: &Value, dims: &[usize], f: &dyn Fn(f64, f64) -> f64) -> Vec<f64> {
    let len = dims.iter().product();
    (0..len).map(|i| coords(i, dims)).map(|c| f(broadcast_at(x, &c), broadcast_at(y, &c))).collect()
}

fn matmul(x: &Value, y: &Value, dims: &[usize]) -> Vec<f64> {
    let mut x = x.clone();
    let mut y = y.clone();
    let mut dims = dims.to_vec();
    if y.dims.len() == 1 {
        y.dims.push(1);
        dims.push(1);
    }
    if x.dims.len() == 1 {
        x.dims.insert(0, 1);
        dims.insert(dims.len() - 1, 1);
    }
    let (rank, k) = (dims.len(), *x.dims.last().unwrap());
    let cell = |i: usize| {
        let c = coords(i, &dims);
        let (lead, m, n) = (&c[..rank - 2], c[rank - 2], c[rank - 1]);
        let at = |v: &Value, a: usize, b: usize| {
            let mut c = lead.to_vec();
            c.extend([a, b]);
            broadcast_at(v, &c)
        };
        (0..k).map(|j| at(&x, m, j) * at(&y, j, n)).sum()
    };
    (0..dims.iter().product()).map(cell).collect()
}

fn convolution(x: &[&Value], w: &Window, groups: usize, dims: &[usize]) -> Vec<f64> {
    let (input, weights) = (x[0], x[1]);
    let [_, c, h, width] = *input.dims else { unreachable!() };
    let [o, cg, kh, kw] = *weights.dims else { unreachable!() };
    let mut out = vec![0.0; dims.iter().product()];
    for (i, value) in out.iter_mut().enumerate() {
        let [n, oc, y, xx] = *coords(i, dims) else { unreachable!() };
        let group = oc / (o / groups);
        *value = x.get(2).map_or(0.0, |bias| bias.data[oc]);
        for ic in 0..cg {
            let plane = (n * c + group * cg + ic) * h * width;
            for (k, tap) in w.taps((h, width), (y, xx)).enumerate() {
                let Some(tap) = tap else { continue };
                *value += input.data[plane + tap] * weights.data[((oc * cg) + ic) * kh * kw + k];
            }
        }
    }
    out
}

/// `f` sees the taps of each window (none for padding) and the number of them that lie
/// within the padded input.
fn pool(x: &Value, w: &Window, dims: &[usize], f: impl Fn(&[Option<f64>], usize) -> f64) -> Vec<f64> {
    let [_, _, h, width] = *x.dims else { unreachable!() };
    let padded = (h + w.pads_begin.0 + w.pads_end.0, width + w.pads_begin.1 + w.pads_end.1);
    let cell = |i: usize| {
        let [n, c, y, xx] = *coords(i, dims) else { unreachable!() };
        let plane = (n * dims[1] + c) * h * width;
        let taps: Vec<Option<f64>> = w.taps((h, width), (y, xx)).map(|t| t.map(|t| x.data[plane + t])).collect();
        let fit =
            |out: usize, k: usize, s: usize, d: usize, size: usize| (0..k).filter(|k| out * s + k * d < size).count();
        let rows = fit(y, w.kernel.0, w.strides.0, w.dilations.0, padded.0);
        let cols = fit(xx, w.kernel.1, w.strides.1, w.dilations.1, padded.1);
        f(&taps, rows * cols)
    };
    (0..dims.iter().product()).map(cell).collect()
}

/// Maclaurin series, or 1 where the rest is below 1e-17.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut sum, mut term) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

/// For each element of `dims`, the flat positions of `x` that differ from it in `axes`
/// only.
fn lines<'a>(x: &'a Value, axes: &[usize]) -> impl Fn(&[usize]) -> Vec<usize> + 'a {
    let axes = axes.to_vec();
    let sizes: Vec<usize> = axes.iter().map(|&a| x.dims[a]).collect();
    move |at| {
        let mut c = at.to_vec();
        (0..sizes.iter().product())
            .map(|i| {
                axes.iter().zip(coords(i, &sizes)).for_each(|(&a, v)| c[a] = v);
                flat(&c, &x.dims)
            })
            .collect()
    }
}

fn softmax(x: &Value, axis: usize) -> Vec<f64> {
    let line = lines(x, &[axis]);
    let cell = |i: usize| {
        let line = line(&coords(i, &x.dims));
        let top = line.iter().map(|&j| x.data[j]).fold(f64::NEG_INFINITY, f64::max);
        (x.data[i] - top).exp() / line.iter().map(|&j| (x.data[j] - top).exp()).sum::<f64>()
    };
    (0..x.data.len()).map(cell).collect()
}

fn reduce(x: &Value, kind: Reduction, axes: &[usize], dims: &[usize]) -> Vec<f64> {
    let line = lines(x, axes);
    let cell = |i: usize| {
        let line: Vec<f64> = line(&coords(i, dims)).into_iter().map(|j| x.data[j]).collect();
        match kind {
            Reduction::Sum => line.iter().sum(),
            Reduction::Mean => line.iter().sum::<f64>() / line.len() as f64,
            Reduction::Max => line.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    };
    (0..dims.iter().product()).map(cell).collect()
}

fn argmax(x: &Value, axis: usize) -> Vec<f64> {
    let mut dims = x.dims.clone();
    dims[axis] = 1;
    let line = lines(x, &[axis]);
    let cell = |i: usize| {
        let line = line(&coords(i, &dims));
        let best = (0..line.len()).fold(0, |best, j| if x.data[line[j]] > x.data[line[best]] { j } else { best });
        best as f64
    };
    (0..dims.iter().product()).map(cell).collect()
}

fn concat(xs: &[&Value], axis: usize) -> Vec<f64> {
    let outer: usize = xs[0].dims[..axis].iter().product();
    let mut out = Vec::new();
    for o in 0..outer {
        for x in xs {
            let run = x.data.len() / outer;
            out.extend(&x.data[o * run..(o + 1) * run]);
        }
    }
    out
}

fn transpose(x: &Value, perm: &[usize], dims: &[usize]) -> Vec<f64> {
    let cell = |i: usize| {
        let mut c = vec![0; perm.len()];
        perm.iter().zip(coords(i, dims)).for_each(|(&p, v)| c[p] = v);
        x.data[flat(&c, &x.dims)]
    };
    (0..x.data.len()).map(cell).collect()
}

fn pad(x: &Value, pads: &[(usize, usize)], value: f64, dims: &[usize]) -> Vec<f64> {
    let cell = |i: usize| {
        let inner: Option<Vec<usize>> = coords(i, dims)
            .iter()
            .zip(pads)
            .zip(&x.dims)
            .map(|((&c, &(before, _)), &d)| c.checked_sub(before).filter(|&c| c < d))
            .collect();
        inner.map_or(value, |c| x.data[flat(&c, &x.dims)])
    };
    (0..Shape::new(dims).unwrap().len()).map(cell).collect()
}

/// Pseudo-random numbers in `[-1, 1)`, the same on every machine.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn float(&mut self) -> f32 {
        (self.word() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub(crate) fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }
}

/// Imports `bytes`, runs it by tract and by this evaluator on `batch` random samples,
/// and returns the largest difference, relative to the output's largest value where that
/// is above 1 (squares of squares of noise reach millions).
pub(crate) fn largest_difference(bytes: &[u8], batch: usize, seed: u64) -> f64 {
    let model = subrosa_graph::Model::from_bytes(bytes).unwrap();
    let mut noise = Noise(seed);
    let inputs: Vec<Vec<f32>> = model.inputs().iter().map(|p| noise.floats(p.shape.len() * batch)).collect();
    let slices: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let plain = model.plain(batch).unwrap().run(&slices).unwrap();
    let mut worst = 0f64;
    for sample in 0..batch {
        let of_sample = |x: &Vec<f32>| {
            let len = x.len() / batch;
            x[sample * len..(sample + 1) * len].iter().map(|&v| f64::from(v)).collect()
        };
        let ours = evaluate(model.graph(), &inputs.iter().map(of_sample).collect::<Vec<_>>());
        for (ours, plain) in ours.iter().zip(plain.iter().map(of_sample)) {
            assert_eq!(ours.data.len(), plain.len());
            let scale = plain.iter().fold(1.0, |m: f64, v: &f64| m.max(v.abs()));
            worst = ours.data.iter().zip(&plain).map(|(a, b)| (a - b).abs() / scale).fold(worst, f64::max);
        }
    }
    worst
}
